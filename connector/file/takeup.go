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
	var s state
	var err error
	if o.kind == plain {
		s, err = o.lastWhole(size)
	} else {
		s, err = o.lastMember(size)
	}
	if err != nil {
		return err
	}
	if s.whole < size {
		if err := o.saveTorn(s.whole, size); err != nil {
			return err
		}
		if err := o.f.Truncate(s.whole); err != nil {
			return err
		}
		// Before anything is written there: else a power cut could bring the torn end back in front of it.
		if err := o.f.Sync(); err != nil {
			return o.sink.fail(o.writing, err)
		}
	}
	if s.addEnd {
		o.buf = append(o.buf, '\n')
	}
	o.written, o.durable, o.records = s.whole, s.whole, s.records
	c, ok := o.enc.(penstock.Continuer)
	if !ok || s.whole == 0 {
		return nil
	}
	src, err := o.content(s.whole)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	first, err := io.ReadAll(io.LimitReader(src, 1<<20))
	if err != nil {
		return err
	}
	if err := c.Continue(first); err != nil {
		return &penstock.Error{Code: penstock.CodeOf(err), Op: "file.write", Path: o.name, Err: err}
	}
	return nil
}

// state is how a file was found.
type state struct {
	whole   int64 // bytes up to the end of the last whole record, or compressed member
	records int64 // 0 if nobody needs it
	addEnd  bool  // the last record is whole, but has no line end
}

// content reads the first size bytes of the file, decompressed.
func (o *output) content(size int64) (io.ReadCloser, error) {
	return o.kind.reader(io.NewSectionReader(o.f, 0, size))
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

// lastWhole finds where the last whole record of a file ends that is not compressed. A record without a line end is
// whole only if that shows by itself, as with a JSON object.
func (o *output) lastWhole(size int64) (state, error) {
	codec := o.sink.codec
	head := make([]byte, min(size, 1<<20))
	if _, err := o.f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return state{}, err
	}
	if t, ok := codec.(penstock.Transcoder); ok && t.Transcode(head[:min(len(head), 4)]) != nil {
		return state{}, &penstock.Error{Code: penstock.Config, Op: "file.write", Path: o.name, Err: errors.New("the file is not UTF-8, so it can't be appended to"), Hint: "write to a new file, or rotate"}
	}
	end, err := o.hole(size)
	if err != nil {
		return state{}, err
	}
	framer := codec.NewFramer(o.name)
	start := int64(0)
	if s, ok := codec.(penstock.Splitter); ok && o.sink.config.Rotate.Records == 0 {
		if start, err = o.splitNear(s, end); err != nil {
			return state{}, err
		}
		for rest := head; start > 0; { // it needs to have seen the head, up to the first record
			n, record, err := framer.Frame(rest, false)
			if n == 0 || record != nil || err != nil {
				break
			}
			rest = rest[n:]
		}
	}
	n, records, rest, err := frameAll(framer, io.NewSectionReader(o.f, start, end-start))
	if err != nil {
		return state{}, &penstock.Error{Code: penstock.Config, Op: "file.write", Path: o.name, Err: fmt.Errorf("the file can't be gone on with: %w", err), Hint: "check that format is that of the file, or write to a new one"}
	}
	s := state{whole: start + n, records: records}
	if exact(codec) {
		return s, nil // what is not whole is no record, whatever it is
	}
	switch tail := bytes.TrimRight(rest, " \t\r\n"); {
	case len(tail) == 0:
		s.whole = end
	case selfContained(framer, tail):
		s.whole = end
		s.records++
	}
	if s.whole > 0 {
		var last [1]byte
		if _, err := o.f.ReadAt(last[:], s.whole-1); err != nil && !errors.Is(err, io.EOF) {
			return state{}, err
		}
		s.addEnd = last[0] != '\n' && last[0] != '\r'
	}
	return s, nil
}

// exact says that the format has no line ends of its own between records.
func exact(c penstock.Codec) bool {
	e, ok := c.(penstock.Exact)
	return ok && e.Exact()
}

// selfContained reports whether a record shows by itself that it is whole.
func selfContained(framer penstock.Framer, record []byte) bool {
	var d jsonview.Doc
	framer.Bind(&d, record)
	return d.Format() == jsonview.JSON && d.Parse(jsonview.Limits{}) == nil && (d.Kind(0) == jsonview.Object || d.Kind(0) == jsonview.Array)
}

// lastMember finds where the last whole member of a compressed file ends. What this sink wrote ends with a whole record there.
func (o *output) lastMember(size int64) (state, error) {
	whole, err := o.kind.wholePart(o.f, size)
	if err != nil || whole == 0 {
		return state{}, err
	}
	src, err := o.content(whole)
	if err != nil {
		return state{}, err
	}
	defer func() { _ = src.Close() }()
	last := &lastByte{r: src}
	_, records, rest, err := frameAll(o.sink.codec.NewFramer(o.name), last)
	if err != nil {
		return state{}, &penstock.Error{Code: penstock.Config, Op: "file.write", Path: o.name, Err: fmt.Errorf("the file can't be gone on with: %w", err), Hint: "check that format is that of the file, or write to a new one"}
	}
	if exact(o.sink.codec) {
		if len(rest) > 0 {
			return state{}, &penstock.Error{Code: penstock.Config, Op: "file.write", Path: o.name, Err: errors.New("the file can't be gone on with: it ends in the middle of a record"), Hint: "check that format is that of the file, or write to a new one"}
		}
		return state{whole: whole, records: records}, nil
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		records++
	}
	return state{whole: whole, records: records, addEnd: last.any && last.b != '\n' && last.b != '\r'}, nil
}

// lastByte remembers the last byte that was read.
type lastByte struct {
	r   io.Reader
	b   byte
	any bool
}

// Read implements io.Reader.
func (l *lastByte) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.b, l.any = p[n-1], true
	}
	return n, err
}

// frameAll frames a stream whose end may be torn: it gives how many bytes belong to whole records, how many those
// are, and what is left.
func frameAll(framer penstock.Framer, src io.Reader) (whole, records int64, rest []byte, err error) {
	buf := make([]byte, 0, bufferSize)
	rest = buf
	for {
		n, record, err := framer.Frame(rest, false)
		if n > 0 {
			rest = rest[n:]
			whole += int64(n)
			if record != nil || err != nil { // one that can't be read is whole too: somebody wrote it
				records++
			}
			continue
		}
		if err != nil {
			return 0, 0, nil, err
		}
		if len(rest) == cap(buf) {
			buf = make([]byte, 0, 2*cap(buf))
		}
		buf = append(buf[:0], rest...)
		n, err = io.ReadAtLeast(src, buf[len(buf):cap(buf)], 1)
		buf = buf[:len(buf)+n]
		rest = buf
		switch {
		case n > 0:
		case errors.Is(err, io.EOF):
			return whole, records, rest, nil
		default:
			return 0, 0, nil, err
		}
	}
}

// splitNear finds a place near the end of a file at which a record begins: 0 if there is none but the beginning.
func (o *output) splitNear(s penstock.Splitter, size int64) (int64, error) {
	for window := int64(64 << 10); window < size; window *= 4 {
		from := size - window
		data := make([]byte, window)
		if _, err := o.f.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if at := s.Split(data); at >= 0 {
			return from + int64(at), nil
		}
		if window > 64<<20 {
			break
		}
	}
	return 0, nil
}

// syncEvery is after how many bytes the sink syncs by itself, so that a power cut can tear no more than the end of a file.
const syncEvery = 64 << 20

// pageSize is what file systems write at once: parts of it are not lost alone.
const pageSize = 4096

// hole finds the first hole near the end of a file, which a power cut may leave there: the length of the file was
// stored, and what was written later too, but not this part, which reads as zeros. It gives size if there is none.
// Text has no zeros; so that a stray one in somebody's data is left alone, a hole is long, or reaches to the end of a page or of the file.
func (o *output) hole(size int64) (int64, error) {
	buf := make([]byte, bufferSize)
	start := int64(-1) // of the zeros that are being read
	for pos := max(0, size-2*syncEvery); pos < size; {
		n, err := o.f.ReadAt(buf[:min(int64(len(buf)), size-pos)], pos)
		if n == 0 {
			if errors.Is(err, io.EOF) {
				break
			}
			return 0, err
		}
		for i := 0; i < n; {
			if start < 0 {
				k := bytes.IndexByte(buf[i:n], 0)
				if k < 0 {
					break
				}
				i += k
				start = pos + int64(i)
			}
			for i < n && buf[i] == 0 {
				i++
			}
			if end := pos + int64(i); i < n {
				if end-start >= 64 || end%pageSize == 0 {
					return start, nil
				}
				start = -1
			}
		}
		pos += int64(n)
	}
	if start >= 0 {
		return start, nil
	}
	return size, nil
}
