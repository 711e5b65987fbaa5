package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"penstock.dev/penstock"
)

// SourceConfig is the configuration of the source.
type SourceConfig struct {
	// The file to read, or a pattern: * stands for any characters of a name, ? for one, [a-z] for one of a set, ** for any
	// number of folders. What matches is read in the order of the names; names that begin with a point match only
	// where the pattern has it.
	Path penstock.Template `json:"path" penstock:"required"`
	// How a file is cut into messages and read. Default: by the suffix of the name, .json, .jsonl and .ndjson are json,
	// .csv is csv, .txt and .log are text.
	Format penstock.Format `json:"format"`
	// How the file is compressed: auto (by the suffix: .gz is gzip, .zst is zstd, all else is none), none, gzip or zstd.
	Compression string `json:"compression" penstock:"enum=auto|none|gzip|zstd,default=auto"`
	// The largest record; one that is larger fails.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,default=16Mi"`
	// Take it that a pattern matches nothing, or that the file is not there: the flow ends at once. Otherwise
	// that is an error.
	AllowEmpty bool `json:"allowEmpty"`
}

type source struct {
	config SourceConfig
	env    penstock.Env
	codec  penstock.Codec
	path   string
	part   int64 // size from which a range is worth its own reader; tests make it small

	files  []string // still to be read
	cur    *opened
	ranged *ranges
	resume map[string]penstock.Position // by stream

	mu      sync.Mutex
	settled map[string]int64 // by stream: everything before is settled
}

var (
	_ penstock.Source     = (*source)(nil)
	_ penstock.Positioned = (*source)(nil)
)

func newSource(r *penstock.Registry, c SourceConfig, env penstock.Env) (*source, error) {
	path, err := fixed(c.Path, env)
	if err != nil {
		return nil, err
	}
	codec, err := codecFor(r, c.Format, path, env, c.MaxRecord)
	if err != nil {
		return nil, err
	}
	return &source{config: c, env: env, codec: codec, path: path, part: minPart,
		resume: map[string]penstock.Position{}, settled: map[string]int64{}}, nil
}

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	files, err := expand(s.path)
	if err != nil {
		if s.config.AllowEmpty && penstock.CodeOf(err) == penstock.NotFound {
			return nil
		}
		return err
	}
	for _, name := range files {
		f, err := openRegular(name)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return failure("file.open", name, err)
		}
	}
	s.files = files
	return nil
}

// Resume implements penstock.Positioned.
func (s *source) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		s.resume[p.Stream] = p
	}
	return nil
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		switch {
		case s.ranged != nil:
			if err = s.ranged.next(ctx, into); errors.Is(err, io.EOF) {
				s.ranged = nil
			}
		case s.cur != nil:
			if err = s.cur.records.Next(into); err == nil {
				return nil
			}
			if errors.Is(err, io.EOF) {
				err = s.cur.close()
				s.cur = nil
				if err == nil {
					continue
				}
			}
		case len(s.files) > 0:
			err = s.begin(s.files[0])
			s.files = s.files[1:]
			if err == nil {
				continue
			}
		default:
			return io.EOF
		}
		if err == nil || !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// begin opens a file and goes to where reading is to go on.
func (s *source) begin(name string) error {
	if s.parallel() {
		r, err := s.newRanges(name)
		if err != nil {
			return err
		}
		if r != nil {
			s.ranged = r
			return nil
		}
	}
	o, err := s.open(name)
	if err != nil {
		return err
	}
	if p, ok := s.resume[name]; ok {
		if err := o.goTo(p); err != nil {
			_ = o.close()
			return err
		}
	}
	s.cur = o
	return nil
}

// Settle implements penstock.Source. The positions are the engine's to keep; the source remembers them to be asked.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outcomes {
		s.settled[o.Pos.Stream] = max(s.settled[o.Pos.Stream], o.Pos.Next)
	}
	return nil
}

// Close implements penstock.Source.
func (s *source) Close(context.Context) error {
	var err error
	if s.ranged != nil {
		s.ranged.stop()
		s.ranged = nil
	}
	if s.cur != nil {
		err = s.cur.close()
		s.cur = nil
	}
	s.files = nil
	return err
}

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
	read    int64 // bytes of the file that were read
	chain   io.ReadCloser
	direct  bool // offsets of records are offsets of the file
	wrap    func(io.Reader) io.Reader
	records penstock.Records
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
	o.size = info.Size()
	o.records = penstock.Records{
		Framer: s.codec.NewFramer(name), Read: o.readChain, Fill: true, Stream: name, Name: name, MetaName: "file", MetaLine: "line",
	}
	if err := o.start(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return o, nil
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
	return 0, io.EOF
}

// readChain is the Read of the records.
func (o *opened) readChain(p []byte) (int, error) {
	n, err := o.chain.Read(p)
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

// goTo goes on after the record at p.
func (o *opened) goTo(p penstock.Position) error {
	if err := o.records.Head(); err != nil {
		return err
	}
	if o.direct && p.Next > o.size {
		return o.shorter(p, o.size)
	}
	line := max(p.Line, 1)
	if o.direct {
		n, err := lines(io.NewSectionReader(o.f, p.Offset, p.Next-p.Offset))
		if err != nil {
			return o.failed(err)
		}
		if _, err := o.f.Seek(p.Next, io.SeekStart); err != nil {
			return o.failed(err)
		}
		o.read = p.Next
		o.records.SetPosition(p.Next, line+n)
		return nil
	}
	if err := o.rewind(); err != nil {
		return err
	}
	_ = o.chain.Close()
	if err := o.start(); err != nil {
		return err
	}
	skipped, err := io.CopyN(io.Discard, o.chain, p.Offset)
	var n int64
	if err == nil {
		counted := io.LimitedReader{R: o.chain, N: p.Next - p.Offset}
		n, err = lines(&counted)
		skipped += p.Next - p.Offset - counted.N
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return o.failed(err)
	}
	if skipped < p.Next {
		return o.shorter(p, skipped)
	}
	o.records.SetPosition(p.Next, line+n)
	return nil
}

func (o *opened) shorter(p penstock.Position, size int64) error {
	return &penstock.Error{Code: penstock.Conflict, Op: "file.read", Path: o.name,
		Err:  fmt.Errorf("reading is to go on at byte %d, but there are only %d bytes", p.Next, size),
		Hint: "the file was replaced; reset the position of this flow to read it from the beginning"}
}

// lines counts the line ends of r.
func lines(r io.Reader) (n int64, err error) {
	buf := make([]byte, 32<<10)
	for {
		k, err := r.Read(buf)
		for _, c := range buf[:k] {
			if c == '\n' {
				n++
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (o *opened) close() error {
	_ = o.chain.Close()
	if err := o.f.Close(); err != nil {
		return failure("file.close", o.name, err)
	}
	return nil
}
