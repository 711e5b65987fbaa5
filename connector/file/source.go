package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"sync"

	"penstock.dev/penstock"
)

// source reads files one after the other. What it does beside that is optional, and lies in files of its own: reading a file in
// ranges (ranges.go), going on where another run stopped (resume.go, account.go), watching (watch.go), and
// what becomes of a file that is done (after.go).
type source struct {
	config  SourceConfig
	env     penstock.Env
	codec   penstock.Codec
	path    string
	pattern pattern
	part    int64 // size from which a range is worth its own reader; tests make it small

	files  []string // still to be read
	cur    *opened
	ranged *ranges
	watch  *watcher // nil: read what is there and end
	disk   disk

	mu      sync.Mutex // Settle, Over and the mover come from other goroutines
	account account
	mover   mover
}

var (
	_ penstock.Source     = (*source)(nil)
	_ penstock.Positioned = (*source)(nil)
	_ penstock.Forgetter  = (*source)(nil)
	_ penstock.Resolver   = SourceConfig{}
	_ penstock.Stateful   = SourceConfig{}
)

func newSource(r *penstock.Registry, c SourceConfig, env penstock.Env) (*source, error) {
	if errs := c.Validate(); len(errs) > 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "file", Path: c.Path.Pos.String(), Err: errors.Join(errs...)}
	}
	path, err := fixed(c.Path, env)
	if err != nil {
		return nil, err
	}
	codec, err := codecFor(r, c.Format, path, env, c.MaxRecord)
	if err != nil {
		return nil, err
	}
	s := &source{config: c, env: env, codec: codec, path: path, pattern: newPattern(path), part: minPart, disk: osDisk{}}
	s.account.init()
	if c.Watch != nil {
		s.watch = newWatcher(*c.Watch)
	}
	return s, nil
}

// tracks says whether the source keeps account of what became of each file.
func (s *source) tracks() bool {
	return s.env.Resumes || s.config.Watch != nil || s.config.After != nil
}

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	if err := s.openAfter(); err != nil {
		return err
	}
	files, err := s.find(nil)
	if err != nil {
		if penstock.CodeOf(err) == penstock.NotFound && (s.config.AllowEmpty || s.watch != nil) {
			s.gone(nil)
			return nil
		}
		return err
	}
	if s.watch != nil {
		return nil
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
	s.gone(files)
	return nil
}

// find lists the files that are to be read. tell is that of expand.
func (s *source) find(tell func(name string, err error)) ([]string, error) {
	skip := ""
	if s.config.After != nil {
		skip = s.config.After.Mark
	}
	return expand(s.path, skip, tell)
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case s.ranged != nil:
			err := s.ranged.next(ctx, into)
			if !errors.Is(err, io.EOF) {
				return err
			}
			s.ranged = nil
		case s.cur != nil:
			err := s.cur.next(into)
			if err == nil {
				return nil
			}
			if err := s.end(err); err != nil {
				return err
			}
		case len(s.files) > 0:
			name := s.files[0]
			s.files = s.files[1:]
			if err := s.begin(ctx, name); err != nil {
				return err
			}
		case s.watch != nil:
			var err error
			if s.files, err = s.poll(ctx); err != nil {
				return err
			}
		default:
			return io.EOF
		}
	}
}

// begin opens a file and goes to where reading is to go on.
func (s *source) begin(ctx context.Context, name string) error {
	if s.tracks() {
		err := s.beginTracked(ctx, name)
		if err != nil && s.watch != nil && ctx.Err() == nil {
			s.unreadable(name, err)
			return nil
		}
		return err
	}
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
	s.cur = o
	return nil
}

// end closes the file that was read until err, which is io.EOF at its end.
func (s *source) end(err error) error {
	o := s.cur
	s.cur = nil
	if cerr := o.close(); errors.Is(err, io.EOF) && cerr != nil {
		err = cerr
	}
	if errors.Is(err, io.EOF) {
		s.ended(o)
		return nil
	}
	s.failed(o)
	if s.watch == nil {
		return err
	}
	s.unreadable(o.name, err)
	return nil
}

// Close implements penstock.Source. What is still to be done with files that are done is done first.
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
	err = errors.Join(err, s.closeAfter())
	if s.watch != nil && s.env.Once {
		err = errors.Join(err, s.watch.unread())
	}
	return err
}

func (s *source) logger() *slog.Logger {
	if s.env.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.env.Logger
}

// unreadable notes that a file of a watched folder could not be read. It is told once, until something else is wrong with it.
func (s *source) unreadable(name string, err error) {
	if errors.Is(err, errVanished) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	if s.watch.note(name, err) {
		s.logger().Error("a file can't be read; the others are read on", "file", name, "error", err.Error(),
			"hint", "it stays where it is, and is tried again when it changes")
	}
}
