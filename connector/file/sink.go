package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
)

const (
	partialSuffix = ".partial"
	tornSuffix    = ".torn"
	defaultOpen   = 64
)

type sink struct {
	config SinkConfig
	env    penstock.Env
	fs     fsys
	codec  penstock.Codec
	append bool
	upward bool // the path begins with a fixed part, which may begin with .. or at the root

	mu      sync.Mutex // Flush and the clock of rotation come from other goroutines
	outputs map[string]*output
	open    []*output // those with an open file
	last    *output   // the one that was written to last
	turn    int64     // counts uses, to know which output was not used for longest
	broken  error     // an I/O error ends the sink: what was not flushed is in doubt
	path    []byte
	begun   chan struct{} // a file got its first record: for the clock of rotation
	stop    context.CancelFunc
	ticking sync.WaitGroup
}

var (
	_ penstock.Sink    = (*sink)(nil)
	_ penstock.Flusher = (*sink)(nil)
)

func newSink(r *penstock.Registry, c SinkConfig, env penstock.Env, fs fsys) (*sink, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	name := c.Path.Source
	if _, known := formats[strings.ToLower(filepath.Ext(bare(name)))]; !known {
		name = ".jsonl"
	}
	codec, err := codecFor(r, c.Format, name, env, 0)
	if err != nil {
		return nil, err
	}
	s := &sink{config: c, env: env, fs: fs, codec: codec, append: c.Mode == "append" || c.Mode == "" && env.Resumes, upward: beginsFixed(c.Path.Source),
		outputs: map[string]*output{}, begun: make(chan struct{}, 1)}
	if s.config.MaxOpen <= 0 {
		s.config.MaxOpen = defaultOpen
	}
	if s.append && len(codec.NewEncoder().End(nil)) > 0 {
		hint := "use mode: replace, or a format of single records"
		if env.Resumes {
			hint = "use a format of single records: this run keeps state, so it goes on with the files that it has written"
		}
		return nil, &penstock.Error{Code: penstock.Config, Op: "file", Path: c.Path.Pos.String(), Err: errors.New("this format has an end, so a file in it can't be appended to"), Hint: hint}
	}
	return s, nil
}

// constant says whether all messages go to one path.
func (s *sink) constant() bool { return s.config.Path.Program == nil || s.config.Path.Constant }

// Open implements penstock.Sink. A file whose name is known is begun at once, so that what is wrong with it shows
// before anything is read; it is there in the end even when no message came.
func (s *sink) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = nil
	if s.env.Resumes && !s.append {
		return &penstock.Error{Code: penstock.Config, Op: "file", Path: s.config.Path.Pos.String(),
			Err:  errors.New("mode: replace in a run that keeps state would lose what earlier runs wrote, since their inputs are not read again"),
			Hint: "use mode: append, which is the default here; with rotate, files of an hour or of a size"}
	}
	if s.config.Rotate.Interval > 0 && s.stop == nil {
		var tick context.Context
		tick, s.stop = context.WithCancel(context.WithoutCancel(ctx))
		s.ticking.Add(1)
		go s.tick(tick)
	}
	if !s.constant() {
		return nil
	}
	path, err := fixed(s.config.Path, s.env)
	if err != nil {
		return err
	}
	o, err := s.output(path)
	if err != nil {
		return err
	}
	s.last = o
	return nil
}

// Write implements penstock.Sink. It hands over: what is written is durable after Flush.
func (s *sink) Write(_ context.Context, b *penstock.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	now := s.env.Clock.Now()
	var errs map[int]error
	constant := s.constant()
	for i, m := range b.Msgs {
		if errs[i] != nil {
			continue
		}
		o := s.last
		var err error
		if !constant || o == nil {
			o, err = s.route(b, m)
		}
		if err == nil {
			err = o.append(m, now)
		}
		switch {
		case err == nil:
		case s.broken != nil:
			return s.broken
		default:
			if errs == nil {
				errs = map[int]error{}
			}
			errs[i] = err
		}
		if err != nil && penstock.CodeOf(err).Transient() {
			// Those of the same key will be written again behind it.
			for j := i + 1; j < len(b.Msgs); j++ {
				if _, failed := errs[j]; !failed && b.Msgs[j].Key == m.Key {
					errs[j] = err
				}
			}
		}
	}
	if errs != nil {
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// route finds the output for a message.
func (s *sink) route(b *penstock.Batch, m *penstock.Message) (*output, error) {
	if b.Runtime == nil {
		b.Runtime = s.env.Runtime
	}
	v := s.config.Path.Program.Eval(b.Frame(m))
	if v.IsError() {
		return nil, v.Err()
	}
	var err error
	if s.path, err = v.AppendText(s.path[:0]); err != nil {
		return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "file.write", Path: s.config.Path.Source, Err: err}
	}
	if o := s.last; o != nil && o.given == string(s.path) {
		return o, nil
	}
	o, ok := s.outputs[string(s.path)]
	if !ok {
		given := string(s.path)
		if err := s.checkPath(given); err != nil {
			return nil, err
		}
		if o, err = s.output(given); err != nil {
			return nil, err
		}
	}
	s.last = o
	return o, nil
}

// checkPath refuses what a message must not say: a path that leads out of the folder it was meant for.
func (s *sink) checkPath(path string) error {
	bad := ""
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		bad = "the path has no file name"
	case strings.ContainsRune(path, 0):
		bad = "the path has a zero byte"
	case !s.upward && (filepath.IsAbs(path) || path[0] == '/'):
		bad = "the path of a message may not begin at the root"
	default:
		beginning := s.upward
		for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == filepath.Separator }) {
			if part == ".." && !beginning {
				bad = "the path of a message may not lead upwards"
			}
			beginning = beginning && part == ".."
		}
	}
	if bad == "" {
		return nil
	}
	return &penstock.Error{Code: penstock.Unprocessable, Op: "file.write", Path: fmt.Sprintf("%.100q", path), Err: errors.New(bad), Hint: "check what the message puts into the path"}
}

// output makes the output for a path and claims its name for this sink.
func (s *sink) output(path string) (*output, error) {
	clean := filepath.Clean(path)
	if err := s.claim(clean); err != nil {
		return nil, err
	}
	o := &output{sink: s, given: path, base: clean, kind: compressionOf(s.config.Compression, clean)}
	if err := o.begin(); err != nil {
		return nil, err
	}
	s.outputs[path] = o
	return o, nil
}

// claims are the files that the sinks of a run write.
type claims struct {
	mu    sync.Mutex
	owner map[string]*sink
}

// claim makes sure that no other sink of this run writes the same file: each would destroy what the other writes.
func (s *sink) claim(name string) error {
	if s.env.Shared == nil {
		return nil
	}
	v, err := s.env.Shared("file.sink", func() (any, error) { return &claims{owner: map[string]*sink{}}, nil })
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return failure("file.write", name, err)
	}
	c := v.(*claims)
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.owner[abs]; other != nil && other != s {
		return &penstock.Error{Code: penstock.Conflict, Op: "file.write", Path: name, Err: fmt.Errorf("%s writes this file already", other.env.Name),
			Hint: "give each its own file, or send both through one channel to one flow that writes"}
	}
	c.owner[abs] = s
	return nil
}

// release gives the names up.
func (s *sink) release() {
	if s.env.Shared == nil {
		return
	}
	v, err := s.env.Shared("file.sink", func() (any, error) { return &claims{owner: map[string]*sink{}}, nil })
	if err != nil {
		return
	}
	c := v.(*claims)
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, owner := range c.owner {
		if owner == s {
			delete(c.owner, name)
		}
	}
}

// makeRoom closes the output that was not used for longest, if as many as allowed are open.
func (s *sink) makeRoom() error {
	if len(s.open) < s.config.MaxOpen {
		return nil
	}
	oldest := s.open[0]
	for _, o := range s.open {
		if o.used < oldest.used {
			oldest = o
		}
	}
	return oldest.suspend()
}

// Flush implements penstock.Flusher.
func (s *sink) Flush(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	for _, o := range s.open { // one that was closed for want of room is durable
		if err := o.sync(); err != nil {
			return err
		}
	}
	return nil
}

// tick completes files whose interval is over, also when no message comes. While no file has a record, it waits
// for one and sets no timer.
func (s *sink) tick(ctx context.Context) {
	defer s.ticking.Done()
	for {
		wait, any := s.complete()
		var due <-chan time.Time
		stop := func() {}
		if any {
			due, stop = s.env.Clock.NewTimer(wait)
		}
		select {
		case <-ctx.Done():
			stop()
			return
		case <-s.begun:
		case <-due:
		}
		stop()
	}
}

// complete completes what is due, and says how long the next file has still to wait, if there is one.
func (s *sink) complete() (wait time.Duration, any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Clock.Now()
	for _, o := range s.outputs {
		if s.broken != nil {
			return 0, false // the next call of the sink tells it
		}
		if !o.begun || o.records == 0 {
			continue
		}
		if err := o.rotateIfDue(now); err != nil {
			s.logger().Error("a file could not be completed", "file", o.name, "error", err)
			_ = s.fail(o.name, err) // it stays broken, so that the run hears of it
			return 0, false
		}
		if o.begun {
			left := o.since.Add(s.config.Rotate.Interval.Std()).Sub(now)
			if !any || left < wait {
				wait, any = left, true
			}
		}
	}
	return wait, any
}

func (s *sink) logger() *slog.Logger {
	if s.env.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.env.Logger
}

// fail ends the sink. What was flushed is safe; what was not was never acknowledged.
func (s *sink) fail(name string, err error) error {
	if s.broken == nil {
		s.broken = failure("file.write", name, err)
	}
	return s.broken
}

// Close implements penstock.Sink: every file is completed and gets its name. After an I/O error files that are not
// complete keep the name of a part, and Close tells the error.
func (s *sink) Close(context.Context) error {
	s.mu.Lock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	s.mu.Unlock()
	s.ticking.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(s.outputs)) { // in an order that can be relied on
		o := s.outputs[path]
		if s.broken != nil {
			o.abandon()
			continue
		}
		if err := o.finish(); err != nil {
			errs = append(errs, err)
			o.abandon()
		}
	}
	if len(errs) == 0 && s.broken != nil && len(s.outputs) > 0 {
		errs = append(errs, s.broken)
	}
	s.outputs, s.last, s.open = map[string]*output{}, nil, nil
	s.release()
	return errors.Join(errs...)
}
