package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// takeUp goes on with a file of size bytes that is there already: it finds its last whole record, and moves away
// what was torn by a crash behind it.
func (o *output) takeUp(size int64) error {
	whole := size
	var head io.Reader
	if o.kind == plain {
		kept, addEnd, err := o.lastWhole(size)
		if err != nil {
			return err
		}
		whole = kept
		if addEnd {
			o.buf = append(o.buf, '\n')
		}
		head = io.NewSectionReader(o.f, 0, whole)
	} else {
		var err error
		if whole, err = o.kind.wholePart(o.f, size); err != nil {
			return err
		}
		if whole > 0 {
			z, err := o.kind.reader(io.NewSectionReader(o.f, 0, whole))
			if err != nil {
				return err
			}
			defer func() { _ = z.Close() }()
			head = z
		}
	}
	if whole < size {
		if err := o.saveTorn(whole, size); err != nil {
			return err
		}
		if err := o.f.Truncate(whole); err != nil {
			return err
		}
	}
	o.written, o.durable, o.newName = whole, whole, false
	c, ok := o.enc.(penstock.Continuer)
	if !ok || whole == 0 {
		return nil
	}
	first, err := io.ReadAll(io.LimitReader(head, 1<<20))
	if err != nil {
		return err
	}
	return c.Continue(first)
}

// saveTorn keeps what is cut off beside the file: it may be somebody's last line, written without a line end.
func (o *output) saveTorn(from, to int64) error {
	o.sink.logger().Warn("the end of the file is no whole record; it was moved away", "file", o.name, "bytes", to-from, "moved to", o.name+tornSuffix)
	f, _, err := o.sink.fs.OpenFile(o.name+tornSuffix, os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, io.NewSectionReader(o.f, from, to-from)); err == nil && o.kind == plain {
		_, err = f.Write([]byte{'\n'})
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// lastWhole finds where the last whole record ends. A record without a line end is whole only if it shows by
// itself, as a JSON object does; then addEnd says that the line end is to be added.
func (o *output) lastWhole(size int64) (whole int64, addEnd bool, err error) {
	codec := o.sink.codec
	var head [4]byte
	n, err := o.f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	if t, ok := codec.(penstock.Transcoder); ok && t.Transcode(head[:n]) != nil {
		return 0, false, &penstock.Error{Code: penstock.Config, Op: "file.write", Path: o.name, Err: errors.New("the file is not UTF-8, so it can't be appended to"), Hint: "write to a new file, or rotate"}
	}
	framer := codec.NewFramer(o.name)
	src := io.NewSectionReader(o.f, 0, size)
	buf := make([]byte, 0, bufferSize)
	rest := buf
	for {
		n, _, err := framer.Frame(rest, false)
		if n > 0 {
			rest = rest[n:]
			whole += int64(n)
			continue
		}
		if err != nil {
			return 0, false, fmt.Errorf("the file can't be gone on with: %w", err)
		}
		if len(rest) == cap(buf) {
			buf = make([]byte, 0, 2*cap(buf))
		}
		buf = append(buf[:0], rest...)
		n, err = src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest = buf
		if n > 0 {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		break
	}
	tail := bytes.TrimRight(rest, " \t\r\n")
	if len(tail) == 0 {
		return whole, false, nil
	}
	var d jsonview.Doc
	framer.Bind(&d, tail)
	if d.Format() == jsonview.JSON && d.Parse(jsonview.Limits{}) == nil && (d.Kind(0) == jsonview.Object || d.Kind(0) == jsonview.Array) {
		return size, true, nil
	}
	return whole, false, nil
}
