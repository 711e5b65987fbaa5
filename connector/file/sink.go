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

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The file to write. It may vary by message, as in `out/${body.day}.jsonl`: each message goes to the file that its own path names.
	// Missing folders are made. What a message puts into the path can't lead upwards: `..` is allowed only at the beginning,
	// before anything that varies by message.
	Path penstock.Template `json:"path" penstock:"required,place=plain"`
	// How messages are written. Default: by the suffix of the name, .json, .jsonl and .ndjson are json, .csv is csv, .txt
	// and .log are text; with any other suffix, JSON documents, one a line.
	Format penstock.Format `json:"format"`
	// How the file is compressed: auto (by the suffix: .gz is gzip, .zst is zstd, all else is none), none, gzip or zstd. A file that is
	// appended to gets a gzip member or zstd frame for each time that it is made durable; readers take them for one stream.
	Compression string `json:"compression" penstock:"enum=auto|none|gzip|zstd,default=auto"`
	// What becomes of a file that is there already.
	//
	// replace: what this run writes takes the place of the file, in one step, when it is complete: when it is rotated, else when the run
	// ends. Until then it is called `<name>.partial`, in the same folder, and what was flushed is safe there. A run that was killed leaves that
	// file lying; the next run reads its inputs again from the beginning and begins it anew, so that nothing is lost and nothing is there twice.
	//
	// append: go on after the last whole record of the file. What a crash tore behind it is moved to `<name>.torn`, with a warning.
	// Formats with an end (a JSON array) and other character encodings than UTF-8 can't be appended to.
	Mode string `json:"mode" penstock:"enum=replace|append,default=replace"`
	// When to begin another file. The files are then numbered, before the suffix: orders-000001.jsonl, orders-000002.jsonl. Numbers go on
	// after the highest that is there, so that no run touches the complete files of another; with mode append the file with the highest number is
	// gone on with, unless it is complete by these rules.
	Rotate Rotate `json:"rotate"`
	// How many files may be open at a time, where the path varies. One more makes the one that was not written to
	// for longest durable and closes it; it is opened again when needed, and completed like all others. Every path takes some hundred
	// bytes of memory until the run ends.
	MaxOpen int `json:"maxOpen" penstock:"min=1,default=64"`
}

// Rotate says when a file is complete. What comes first counts.
type Rotate struct {
	// The size in bytes, after compression, at which a file is complete: it ends with the record with which it reaches it. A
	// compressed file may go over by what the compressor holds back.
	Size penstock.Size `json:"size" penstock:"min=1"`
	// How long after its first record a file is complete, also when no more messages come.
	Interval penstock.Duration `json:"interval" penstock:"min=1s"`
	// How many records make a file complete.
	Records int64 `json:"records" penstock:"min=1"`
}

func (r Rotate) isZero() bool { return r == Rotate{} }

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
	upward bool // the fixed part of the path may begin with ..

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
	s := &sink{config: c, env: env, fs: fs, codec: codec, append: c.Mode == "append", upward: beginsFixed(c.Path.Source),
		outputs: map[string]*output{}, begun: make(chan struct{}, 1)}
	if s.config.MaxOpen <= 0 {
		s.config.MaxOpen = defaultOpen
	}
	if s.append && len(codec.NewEncoder().End(nil)) > 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "file", Path: c.Path.Pos.String(), Err: errors.New("this format has an end, so a file in it can't be appended to"),
			Hint: "use mode: replace, or a format of single records"}
	}
	return s, nil
}

// check looks at what the compiler has checked already, for those who make a sink without it.
func (c *SinkConfig) check() error {
	bad := func(path, msg string) error { return penstock.E(penstock.Config, "file", path, msg) }
	switch c.Compression {
	case "", "auto", "none", "gzip", "zstd":
	default:
		return bad("compression", fmt.Sprintf("%q is not auto, none, gzip or zstd", c.Compression))
	}
	switch c.Mode {
	case "", "replace", "append":
	default:
		return bad("mode", fmt.Sprintf("%q is not replace or append", c.Mode))
	}
	if c.Rotate.Size < 0 || c.Rotate.Interval < 0 || c.Rotate.Records < 0 {
		return bad("rotate", "a rule is negative")
	}
	return nil
}

// beginsFixed reports whether a template begins with something that is the same for all messages.
func beginsFixed(source string) bool {
	return !strings.HasPrefix(source, "${") || strings.HasPrefix(strings.TrimLeft(source[2:], " \t"), "params.")
}

// constant says whether all messages go to one path.
func (s *sink) constant() bool { return s.config.Path.Program == nil || s.config.Path.Constant }

// Open implements penstock.Sink. A file whose name is known is begun at once, so that what is wrong with it shows
// before anything is read; it is there in the end even when no message came.
func (s *sink) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = nil
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
