package file

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"penstock.dev/penstock"
)

// output is one path that is written: a file, or the current one of a sequence.
type output struct {
	sink  *sink
	given string // as the template gave it
	base  string // the same, cleaned
	kind  compression

	number   int    // of the file, where there is a sequence
	name     string // what the file is called when it is complete
	writing  string // what it is called until then
	enc      penstock.Encoder
	f        file // nil while closed for want of room, or before the first record of the next of a sequence
	begun    bool // the file exists and is not complete
	z        compressor
	inMember bool      // z was given something since the last member was ended
	buf      []byte    // encoded and not written
	written  int64     // bytes in the file
	durable  int64     // bytes in the file that Flush or the like made durable: all of them whole records
	synced   int64     // bytes in the file that are synced
	records  int64     // in this file
	since    time.Time // of the first record
	dirty    bool      // something was written since the last sync
	newName  bool      // the folder was not synced since the file was created
	used     int64
}

// bufferSize is how much is encoded before it is written.
const bufferSize = 256 << 10

// begin prepares the first file. One that is not of a sequence is created at once.
func (o *output) begin() error {
	o.number = 1
	o.name = o.base
	if !o.sink.config.Rotate.isZero() {
		last, err := o.lastNumber()
		if err != nil {
			return failure("file.write", filepath.Dir(o.base), err)
		}
		o.number = last + 1
		if o.sink.append && last > 0 {
			o.number = last
		}
		o.name = o.numbered()
		if !o.sink.append || last == 0 {
			return o.probe()
		}
	}
	return o.create()
}

// probe makes the folder of a file that is created with its first record.
func (o *output) probe() error {
	if err := o.sink.fs.Prepare(o.name); err != nil {
		return failure("file.write", o.name, err)
	}
	return nil
}

// create opens the file anew. A failure is that of the message which needed the file: nothing is in doubt yet.
func (o *output) create() error {
	s := o.sink
	if err := s.makeRoom(); err != nil {
		return err
	}
	if err := s.fs.Prepare(o.name); err != nil {
		return failure("file.write", o.name, err)
	}
	o.enc = s.codec.NewEncoder()
	o.buf, o.written, o.durable, o.synced, o.records, o.dirty, o.newName = o.buf[:0], 0, 0, 0, 0, true, true
	flag := os.O_RDWR | os.O_CREATE | os.O_APPEND
	if o.writing = o.name; !s.append {
		o.writing += partialSuffix
		flag |= os.O_TRUNC
	}
	f, size, err := s.fs.OpenFile(o.writing, flag)
	if err != nil {
		return failure("file.write", o.writing, err)
	}
	o.f = f
	if size > 0 {
		err = o.takeUp(size)
	}
	if err == nil {
		err = o.compress()
	}
	if err != nil {
		_ = f.Close()
		o.f = nil
		return failure("file.write", o.writing, err)
	}
	o.begun = true
	s.open = append(s.open, o)
	o.touch()
	if o.written == 0 {
		o.buf = o.enc.Begin(o.buf)
	}
	if o.records > 0 && !s.config.Rotate.isZero() { // it was taken up
		o.since = s.env.Clock.Now()
		return o.rotateIfDue(o.since)
	}
	return nil
}

// compress prepares the compressor for another member.
func (o *output) compress() (err error) {
	o.inMember = false
	if o.z != nil {
		o.z.Reset(outputFile{o})
		return nil
	}
	o.z, err = o.kind.writer(outputFile{o})
	return err
}

// touch notes that the output was used.
func (o *output) touch() {
	o.sink.turn++
	o.used = o.sink.turn
}

// append encodes a message.
func (o *output) append(m *penstock.Message, now time.Time) error {
	for o.f == nil { // a file that is taken up may turn out to be complete
		if err := o.reopen(); err != nil {
			return err
		}
	}
	o.touch()
	var err error
	if o.buf, err = o.enc.Append(o.buf, m.Body); err != nil {
		return err
	}
	if o.records == 0 {
		o.since = now
		select {
		case o.sink.begun <- struct{}{}:
		default:
		}
	}
	o.records++
	o.dirty = true
	if len(o.buf) >= bufferSize {
		if err := o.spill(); err != nil {
			return err
		}
	}
	if o.sink.config.Rotate.isZero() {
		return nil
	}
	return o.rotateIfDue(now)
}

// reopen goes on with a file that was closed for want of room, or begins the next of a sequence.
func (o *output) reopen() error {
	if !o.begun {
		return o.create()
	}
	s := o.sink
	if err := s.makeRoom(); err != nil {
		return err
	}
	f, size, err := s.fs.OpenFile(o.writing, os.O_RDWR|os.O_APPEND)
	if err != nil {
		return s.fail(o.writing, err)
	}
	if size != o.written {
		_ = f.Close()
		return s.fail(o.writing, fmt.Errorf("somebody else changed the file: it has %d bytes, %d were written", size, o.written))
	}
	if err := o.compress(); err != nil {
		_ = f.Close()
		return s.fail(o.writing, err)
	}
	o.f = f
	s.open = append(s.open, o)
	return nil
}

// outputFile writes to the file of an output and counts.
type outputFile struct{ o *output }

// Write implements io.Writer.
func (w outputFile) Write(p []byte) (int, error) {
	n, err := w.o.f.Write(p)
	w.o.written += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// spill hands what was encoded to the compressor or the operating system.
func (o *output) spill() error {
	if len(o.buf) == 0 {
		return nil
	}
	w := io.Writer(outputFile{o})
	if o.z != nil {
		w, o.inMember = o.z, true
	}
	if _, err := w.Write(o.buf); err != nil {
		return o.sink.fail(o.writing, err)
	}
	if o.buf = o.buf[:0]; cap(o.buf) > 4*bufferSize {
		o.buf = nil
	}
	if o.written-o.synced >= syncEvery {
		if err := o.f.Sync(); err != nil {
			return o.sink.fail(o.writing, err)
		}
		o.synced = o.written
	}
	return nil
}
