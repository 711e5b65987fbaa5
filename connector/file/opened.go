package file

import (
	"errors"
	"fmt"
	"io"
	"os"

	"penstock.dev/penstock"
)

// openRegular opens a file to read it. Opening a pipe would wait for its writer, and what is read from one or from a
// device can't be read again.
func openRegular(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, failure("file.open", name, err)
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &penstock.Error{Code: penstock.Config, Op: "file.open", Path: name, Err: errNotRegular, Hint: "the connector stdin reads pipes: penstock run … < " + name}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, failure("file.open", name, err)
	}
	return f, nil
}

// opened is a file that is being read.
type opened struct {
	s       *source
	name    string
	f       *os.File
	size    int64 // when it was opened
	stamp   stamp // when it was opened; when it was read to its end, then
	read    int64 // bytes of the file that were read
	chain   io.ReadCloser
	direct  bool // offsets of records are offsets of the file
	wrap    func(io.Reader) io.Reader
	records penstock.Records
	version *reading        // nil where nobody keeps account
	ledger  *ledger         // likewise
	left    *penstock.Batch // read already, while the place was looked for where reading goes on
}

// open opens a file at its beginning.
func (s *source) open(name string) (*opened, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	o := &opened{s: s, name: name, f: f}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("this is a folder")
	}
	if err != nil {
		_ = f.Close()
		return nil, failure("file.open", name, err)
	}
	o.size, o.stamp = info.Size(), stampOf(info)
	o.records = penstock.Records{
		Framer: s.codec.NewFramer(name), Read: o.readChain, Fill: true, Stream: name, Name: name, MetaName: "file", MetaLine: "line",
		MaxMessages: s.env.Batch,
	}
	if err := o.start(); err != nil {
		_ = f.Close()
		return nil, err
	}
	if s.tracks() {
		o.ledger = &ledger{base: o.stamp.tag()}
		if o.direct {
			o.ledger.base |= direct
		}
	}
	return o, nil
}

// next appends the next messages to into.
func (o *opened) next(into *penstock.Batch) error {
	start := len(into.Msgs)
	if b := o.left; b != nil {
		o.left = nil
		move(into, b)
	} else {
		if err := o.records.Next(into); err != nil {
			return err
		}
		if o.ledger == nil {
			return nil
		}
		o.ledger.mark(into, start)
	}
	if o.version != nil {
		o.s.took(o.version, into.Msgs[len(into.Msgs)-1].Pos)
	}
	return nil
}

// start makes the chain of readers from the beginning of the file.
func (o *opened) start() error {
	kind := compressionOf(o.s.config.Compression, o.name)
	transcoder, _ := o.s.codec.(penstock.Transcoder)
	o.direct = kind == plain
	chain, err := kind.reader(fileReader{o})
	if err != nil {
		return o.failed(err)
	}
	if transcoder != nil {
		head := make([]byte, 4)
		n, err := io.ReadFull(chain, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return o.failed(err)
		}
		// The head was only looked at: begin again.
		if err := o.rewind(); err != nil {
			return err
		}
		_ = chain.Close()
		if chain, err = kind.reader(fileReader{o}); err != nil {
			return o.failed(err)
		}
		if o.wrap = transcoder.Transcode(head[:n]); o.wrap != nil {
			o.direct = false
			chain = struct {
				io.Reader
				io.Closer
			}{o.wrap(chain), chain}
		}
	}
	o.chain = chain
	return nil
}

func (o *opened) rewind() error {
	if _, err := o.f.Seek(0, io.SeekStart); err != nil {
		return o.failed(err)
	}
	o.read = 0
	return nil
}

// fileReader reads the file itself, and notices when it is cut short under its reader.
type fileReader struct{ o *opened }

// Read implements io.Reader.
func (r fileReader) Read(p []byte) (int, error) {
	o := r.o
	n, err := o.f.Read(p)
	o.read += int64(n)
	if n > 0 || err == nil {
		return n, err
	}
	if !errors.Is(err, io.EOF) {
		return 0, o.failed(err)
	}
	info, serr := o.f.Stat()
	if serr != nil {
		return 0, o.failed(serr)
	}
	if size := info.Size(); size < o.read || o.read < o.size {
		return 0, o.failed(fmt.Errorf("the file was cut short while it was read: it had %d bytes and has %d", max(o.size, o.read), size))
	}
	o.stamp = stampOf(info)
	o.stamp.size = o.read // what came since is new
	return 0, io.EOF
}

// readChain is the Read of the records.
func (o *opened) readChain(p []byte) (int, error) {
	n, err := o.chain.Read(p)
	if o.ledger != nil {
		o.ledger.took(p[:n])
		o.ledger.ended = o.ledger.ended || errors.Is(err, io.EOF)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = o.failed(err)
	}
	return n, err
}

// failed adds the file and how far it was read to an error.
func (o *opened) failed(err error) error {
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	e := failure("file.read", fmt.Sprintf("%s: byte %d", o.name, o.read), err)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &penstock.Error{Code: penstock.Invalid, Op: "file.read", Path: fmt.Sprintf("%s: byte %d", o.name, o.read),
			Err: errors.New("the compressed file ends too early"), Hint: "it may still be being written, or its transfer was cut off"}
	}
	return e
}

func (o *opened) close() error {
	if o.chain != nil {
		_ = o.chain.Close()
	}
	if err := o.f.Close(); err != nil {
		return failure("file.close", o.name, err)
	}
	return nil
}
