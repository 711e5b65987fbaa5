package file

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// numbered is the name of the file with the present number.
func (o *output) numbered() string {
	stem, suffix := o.stem()
	return fmt.Sprintf("%s-%06d%s", stem, o.number, suffix)
}

// stem parts the path before its suffixes: orders, .jsonl.gz.
func (o *output) stem() (stem, suffix string) {
	inner := bare(o.base)
	ext := filepath.Ext(inner)
	return strings.TrimSuffix(inner, ext), ext + o.base[len(inner):]
}

// lastNumber is the highest number of the sequence that is there already.
func (o *output) lastNumber() (int, error) {
	stem, suffix := o.stem()
	names, err := o.sink.fs.List(filepath.Dir(o.base))
	if err != nil {
		return 0, err
	}
	last := 0
	for _, name := range names {
		middle, ok := strings.CutPrefix(name, filepath.Base(stem)+"-")
		if !ok {
			continue
		}
		if middle, ok = strings.CutSuffix(middle, suffix); !ok {
			continue
		}
		if n, err := strconv.Atoi(middle); err == nil {
			last = max(last, n)
		}
	}
	return last, nil
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

// endMember completes the compressed member or frame, so that what stands before is readable whatever becomes of
// what is written after it.
func (o *output) endMember() error {
	if o.z == nil || !o.inMember && o.written > 0 { // an empty file has an empty member
		return nil
	}
	if err := o.z.Close(); err != nil {
		return o.sink.fail(o.writing, err)
	}
	return o.compress()
}

// sync makes what was appended so far durable.
func (o *output) sync() error {
	if o.f == nil || !o.dirty {
		return nil
	}
	if err := o.spill(); err != nil {
		return err
	}
	switch {
	case o.sink.append:
		if err := o.endMember(); err != nil {
			return err
		}
	case o.inMember:
		if err := o.z.Flush(); err != nil {
			return o.sink.fail(o.writing, err)
		}
	}
	return o.fsync()
}

// fsync syncs the file and, where its name is new, the folder.
func (o *output) fsync() error {
	if err := o.f.Sync(); err != nil {
		return o.sink.fail(o.writing, err)
	}
	if o.newName {
		if err := o.sink.fs.SyncDir(filepath.Dir(o.writing)); err != nil {
			return o.sink.fail(filepath.Dir(o.writing), err)
		}
		o.newName = false
	}
	o.durable, o.synced, o.dirty = o.written, o.written, false
	return nil
}

// suspend closes the file for want of room; it goes on with reopen.
func (o *output) suspend() error {
	if err := o.spill(); err != nil {
		return err
	}
	if err := o.endMember(); err != nil {
		return err
	}
	if err := o.fsync(); err != nil {
		return err
	}
	o.buf, o.z = nil, nil // there may be very many
	return o.closeFile()
}

// forget takes the output off the list of those that are open.
func (o *output) forget() {
	s := o.sink
	if i := slices.Index(s.open, o); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
	o.f = nil
}

func (o *output) closeFile() error {
	err := o.f.Close()
	o.forget()
	if err != nil {
		return o.sink.fail(o.writing, err)
	}
	return nil
}

// rotateIfDue completes the file if it is time for the next of the sequence.
func (o *output) rotateIfDue(now time.Time) error {
	r := o.sink.config.Rotate
	size := o.written
	if o.z == nil {
		size += int64(len(o.buf))
	}
	switch {
	case !o.begun || o.records == 0:
		return nil
	case r.Records > 0 && o.records >= r.Records:
	case r.Size > 0 && size >= int64(r.Size):
	case r.Interval > 0 && now.Sub(o.since) >= r.Interval.Std():
	default:
		return nil
	}
	if err := o.complete(); err != nil {
		return err
	}
	o.number++
	o.name = o.numbered()
	return nil
}

// complete ends the file and gives it its name. Only then does it appear under it.
func (o *output) complete() error {
	if o.f == nil {
		if err := o.reopen(); err != nil {
			return err
		}
	}
	o.buf = o.enc.End(o.buf)
	if err := o.spill(); err != nil {
		return err
	}
	if err := o.endMember(); err != nil {
		return err
	}
	if err := o.fsync(); err != nil {
		return err
	}
	if err := o.closeFile(); err != nil {
		return err
	}
	o.begun = false
	if o.writing == o.name {
		return nil
	}
	if err := o.sink.fs.Rename(o.writing, o.name); err != nil {
		return o.sink.fail(o.name, err)
	}
	if err := o.sink.fs.SyncDir(filepath.Dir(o.name)); err != nil {
		return o.sink.fail(filepath.Dir(o.name), err)
	}
	return nil
}

// finish completes what was begun, at the end of the run.
func (o *output) finish() error {
	if !o.begun {
		return nil
	}
	return o.complete()
}

// abandon closes the file after a failure. Of a file that is appended to, what was not flushed is taken back, as far
// as that is possible: it was never acknowledged.
func (o *output) abandon() {
	if o.f == nil {
		return
	}
	if o.sink.append && o.written > o.durable {
		if err := o.f.Truncate(o.durable); err != nil {
			o.sink.logger().Warn("the end of the file is not whole; the next start will take it back", "file", o.writing, "error", err)
		}
	}
	_ = o.f.Close()
	o.forget()
}
