package sql

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// cursor is where a row stands: its watermark and key as the database writes them, with the kind of each, where that matters.
type cursor struct {
	Watermark string `json:"w"`
	Kind      string `json:"t,omitempty"`
	Key       string `json:"k,omitempty"`
	KeyKind   string `json:"kt,omitempty"`
	By        string `json:"by"` // the columns
}

// source reads what is new in a table.
type source struct {
	config SourceConfig
	env    penstock.Env
	db     database
	by     string // what cursors are made of
	base   string // of the stream's name: what is read
	stream string
	next   int64 // number of the next row of the stream, where the watermark is none

	polls  *polls
	opened bool
	failed error // told by the next Read, after what was read before it

	at      cursor // the last row that was read
	started bool   // at is set

	// With settle, rows are read up to a bound: a watermark that was the highest when it was seen long enough ago.
	bound, coming *cursor
	seen          time.Time // when coming was
	last          bool      // once: there is no bound after this one

	mu      sync.Mutex
	old     []string // streams of runs before, needed until this one has a position
	over    []string
	settled bool
}

var (
	_ penstock.Positioned = (*source)(nil)
	_ penstock.Forgetter  = (*source)(nil)
)

// since stands in the name of a stream before the time at which its run began.
const since = " since "

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	if c.Key == "" {
		c.Key = c.Watermark
	}
	s := &source{config: c, env: env, by: c.Watermark, base: "table " + c.Table}
	if c.Table == "" {
		s.base = "query"
	}
	s.stream = s.base
	if !c.exact() {
		s.by += ", " + c.Key
		// Rows are numbered as they come. Numbers mean nothing to another run, so it has a stream of its own.
		s.stream += since + strconv.FormatInt(env.Clock.Now().UnixMicro(), 36)
	}
	return s, nil
}

// Resume implements penstock.Positioned.
func (s *source) Resume(_ context.Context, from []penstock.Position) error {
	var newest *penstock.Position
	for i := range from {
		p := &from[i]
		numbered := strings.HasPrefix(p.Stream, s.base+since)
		if p.Stream == s.base && !s.config.exact() || numbered && s.config.exact() {
			return s.changed(p.Stream == s.base)
		}
		if !s.config.exact() {
			s.old = append(s.old, p.Stream)
		}
		if p.Stream == s.base || numbered && (newest == nil || later(p.Stream, newest.Stream)) {
			newest = p
		}
	}
	switch {
	case newest == nil:
		return nil
	case s.config.exact():
		s.at, s.started = cursor{Watermark: strconv.FormatInt(newest.Offset, 10), Kind: "integer", By: s.by}, true
		return nil
	}
	if err := json.Unmarshal([]byte(newest.Mark), &s.at); err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("the kept position can't be read: %w", err)}
	}
	if s.at.By != s.by {
		return s.changed(false)
	}
	s.started = true
	return nil
}

// later says that a stream of the same table began after another.
func later(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// changed is the error of a watermark or key that is not that of the runs before.
func (s *source) changed(alone bool) error {
	was := cmp.Or(s.at.By, "a watermark and a key")
	if alone {
		was = "a watermark alone"
	}
	return &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("what was read so far was read by %s, and is now to be read by %s", was, s.by),
		Hint: "take the change back, give the flow another name, or begin anew: penstock run --from start"}
}

// Open implements penstock.Source. Opened again, it goes on.
func (s *source) Open(ctx context.Context) (err error) {
	if s.db, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	var text string
	if s.config.Table != "" {
		name, err := tableName(s.config.Table)
		if err != nil {
			return config(s.env.Name, err.Error(), "")
		}
		text = "SELECT * FROM " + quoteAll(name, ".")
	} else if text, err = textOf(s.config.Query, s.env); err != nil {
		return err
	}
	text = strings.TrimRight(text, "; \t\r\n")
	s.polls = s.db.polls(text, s.config.Watermark, s.config.Key, max(s.config.Batch, 1)+1)
	if s.opened {
		return s.disconnected(s.db.check(ctx, s.polls.top))
	}
	if err := s.inspect(ctx, text); err != nil {
		return err
	}
	s.opened = true
	return nil
}

// inspect makes sure that the columns are there, and that the watermark is what it must be.
func (s *source) inspect(ctx context.Context, text string) error {
	if err := s.db.check(ctx, newStatement(text)); err != nil {
		return err
	}
	if s.config.Table != "" {
		name, err := tableName(s.config.Table)
		if err != nil {
			return err
		}
		t, err := s.db.table(ctx, name)
		if err != nil {
			return err
		}
		if err := s.fits(t); err != nil {
			return err
		}
	}
	for _, st := range []*statement{s.polls.next(true, true), s.polls.top} {
		if err := s.db.check(ctx, st); err != nil {
			var e *penstock.Error
			if errors.As(err, &e) && e.Code == penstock.Config {
				e.Hint = fmt.Sprintf("the columns %s and %s (watermark and key) must be among those that are read", s.config.Watermark, s.config.Key)
			}
			return err
		}
	}
	return nil
}

// fits looks at the columns of a table.
func (s *source) fits(t *table) error {
	wrong := func(hint, format string, args ...any) error {
		return &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("table "+s.config.Table+": "+format, args...), Hint: hint}
	}
	for _, name := range []string{s.config.Watermark, s.config.Key} {
		c := t.column(name)
		if c == nil {
			hint := "check the name"
			if near := t.near(name); near != "" {
				hint = "there is " + near
			}
			return wrong(hint, "there is no column %s", name)
		}
		if name == s.config.Watermark && s.config.exact() && c.class != classInt && c.class != classAny {
			return wrong("name a `key`, such as the primary key", "the watermark %s is %s: two rows may have the same one", name, c.typ)
		}
	}
	for _, u := range t.unique {
		if len(u) == 1 && u[0] == s.config.Watermark || !s.config.exact() {
			return nil
		}
	}
	if s.config.exact() {
		return wrong("name a `key`, such as the primary key, or make the index: CREATE UNIQUE INDEX", "no unique index is on the watermark %s: two rows may have the same one", s.config.Watermark)
	}
	return nil
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if s.failed != nil {
			return s.failed
		}
		wait := s.config.Every.Std()
		if s.config.Settle == 0 || s.bound != nil {
			n, err := s.poll(ctx, into)
			if n > 0 || err != nil {
				return err
			}
			if s.env.Once && (s.config.Settle == 0 || s.last) {
				return io.EOF
			}
		}
		if s.config.Settle > 0 {
			moved, left, err := s.advance(ctx)
			switch {
			case err != nil:
				return err
			case moved:
				continue
			case s.env.Once && s.coming == nil:
				return io.EOF
			case s.coming != nil:
				wait = left
			}
		}
		fired, stop := s.env.Clock.NewTimer(wait)
		select {
		case <-fired:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

// advance moves the bound to the watermark that was the highest long enough ago; left is how long that takes yet.
func (s *source) advance(ctx context.Context) (moved bool, left time.Duration, err error) {
	now := s.env.Clock.Now()
	if s.coming == nil && !s.last {
		out := &rows{hidden: 2}
		if _, err := s.db.run(ctx, s.polls.top, nil, out); err != nil {
			return false, 0, s.disconnected(err)
		}
		if len(out.ends) == 1 && out.extra[0] != nil {
			top := &cursor{Watermark: string(out.extra[0]), Kind: string(out.extra[1])}
			if s.bound == nil || *top != *s.bound {
				s.coming, s.seen = top, now
			}
		}
	}
	if s.coming == nil {
		return false, 0, nil
	}
	if left = s.config.Settle.Std() - now.Sub(s.seen); left > 0 {
		return false, left, nil
	}
	s.bound, s.coming, s.last = s.coming, nil, s.env.Once
	return true, 0, nil
}

// poll reads the next rows.
func (s *source) poll(ctx context.Context, into *penstock.Batch) (int, error) {
	out := &rows{typ: s.env.Type, hidden: 4}
	out.reset(into.Arena().Alloc(1024))
	var args []penstock.Value
	if s.started {
		args = append(args, s.polls.value(s.at.Watermark, s.at.Kind))
		if !s.config.exact() {
			args = append(args, s.polls.value(s.at.Key, s.at.KeyKind))
		}
	}
	if s.bound != nil {
		args = append(args, s.polls.value(s.bound.Watermark, s.bound.Kind))
	}
	if _, err := s.db.run(ctx, s.polls.next(s.started, s.bound != nil), args, out); err != nil {
		return 0, s.disconnected(err)
	}
	n := 0
	for i := range out.ends {
		c := cursor{Watermark: string(out.extra[4*i]), Kind: string(out.extra[4*i+1]), By: s.by}
		if !s.config.exact() {
			c.Key, c.KeyKind = string(out.extra[4*i+2]), string(out.extra[4*i+3])
		}
		var pos penstock.Position
		switch {
		case !s.config.exact() && out.extra[4*i+2] == nil:
			s.failed = penstock.E(penstock.Config, "sql", s.env.Name, "the key "+s.config.Key+" is NULL in a row")
		case s.started && c == s.at:
			s.failed = &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("two rows have the same %s", s.by),
				Hint: "name a `key` that no two rows of a watermark share"}
		case n == max(s.config.Batch, 1): // asked for only to be compared
			return n, nil
		default:
			pos, s.failed = s.position(c)
		}
		if s.failed != nil {
			if n == 0 {
				return 0, s.failed
			}
			return n, nil
		}
		m := into.Append()
		m.Pos = pos
		m.Body.Reset(jsonview.JSON, out.row(i))
		m.Time = stamp(c.Watermark)
		s.at, s.started = c, true
		n++
	}
	return n, nil
}

// position is where the row of a cursor stands.
func (s *source) position(c cursor) (penstock.Position, error) {
	if s.config.exact() {
		n, err := strconv.ParseInt(c.Watermark, 10, 64)
		if err != nil || n == 1<<63-1 {
			return penstock.Position{}, &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("the watermark %s is %q, which is no whole number", s.config.Watermark, c.Watermark),
				Hint: "name a `key`, such as the primary key"}
		}
		return penstock.Position{Stream: s.stream, Offset: n, Next: n + 1}, nil
	}
	mark, err := json.Marshal(c)
	if err != nil {
		return penstock.Position{}, err
	}
	n := s.next
	s.next++
	return penstock.Position{Stream: s.stream, Offset: n, Next: n + 1, Mark: string(mark)}, nil
}

// stamp is the time that a watermark is, where it is one.
func stamp(text string) time.Time {
	if len(text) < len("2006-01-02 15:04:05") || text[4] != '-' {
		return time.Time{}
	}
	var t time.Time
	quoted := appendTime(nil, text)
	if t.UnmarshalJSON(quoted) != nil {
		return time.Time{}
	}
	return t
}

// disconnected asks for a new Open where the other side is away.
func (s *source) disconnected(err error) error {
	if err == nil || !penstock.CodeOf(err).Transient() {
		return err
	}
	s.env.Logger.Warn("the database can't be asked; trying again", "error", err)
	return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
}

// Settle implements penstock.Source: once this run has a position of its own, those of the runs before are over.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.settled && len(outcomes) > 0 {
		s.settled = true
		s.over = s.old
	}
	return nil
}

// Over implements penstock.Forgetter.
func (s *source) Over() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.over
	s.over = nil
	return over
}

// Close implements penstock.Source. The database is closed at the end of the run.
func (s *source) Close(context.Context) error { return nil }
