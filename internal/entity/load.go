package entity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

type eventType = *plan.EventType

// head is where an entity of a key stands.
type head struct {
	version  int64
	position int64  // of its last event
	token    uint64 // of the command that made it
}

func (h head) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(h.version))
	dst = binary.AppendUvarint(dst, uint64(h.position))
	return binary.LittleEndian.AppendUint64(dst, h.token)
}

var errEntry = errors.New("an entry of the entity is damaged; `penstock store check` says what else is")

// head reads where an entity stands; the zero head is that of a new one.
func (l *lane) head(st store.State, key string) (h head, err error) {
	e, ok, err := st.Get(l.n.head, []byte(key))
	if err != nil || !ok {
		return h, err
	}
	r := record.Fields{Rest: e.Value}
	h.version, h.position = int64(r.Uvarint()), int64(r.Uvarint())
	if r.Bad || len(r.Rest) != 8 {
		return h, errEntry
	}
	h.token = binary.LittleEndian.Uint64(r.Rest)
	return h, nil
}

// chain is how far the chain of hashes of a part goes.
type chain struct {
	next int64 // position behind its last event
	hash Hash  // of that
}

var chainKey = []byte("end")

func (c chain) append(dst []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(c.next)), c.hash[:]...)
}

func (l *lane) chain(st store.State) (c chain, err error) {
	e, ok, err := st.Get(l.n.chain, chainKey)
	if err != nil || !ok {
		return c, err
	}
	r := record.Fields{Rest: e.Value}
	c.next = int64(r.Uvarint())
	if r.Bad || len(r.Rest) != len(c.hash) {
		return c, errEntry
	}
	copy(c.hash[:], r.Rest)
	return c, nil
}

// appendDone appends what a command did: to which key, and which events of it.
func appendDone(dst []byte, key string, version int64, n int) []byte {
	return appendText(binary.AppendUvarint(binary.AppendUvarint(dst, uint64(version)), uint64(n)), key)
}

// snapshot is a state at a version.
type snapshot struct {
	version int64
	fold    string // what it was made by
	state   []byte
}

func (s snapshot) append(dst []byte) []byte {
	return append(appendText(binary.AppendUvarint(dst, uint64(s.version)), s.fold), s.state...)
}

func readSnapshot(b []byte) (s snapshot, ok bool) {
	r := record.Fields{Rest: b}
	s.version, s.fold = int64(r.Uvarint()), text(r.Bytes())
	s.state = r.Rest
	return s, !r.Bad
}

// load reads what is known of a key into a stream, which the caller has locked.
func (l *lane) load(ctx context.Context, b *bench, x *plan.Entity, key string, s *stream) error {
	if s.last != nil { // what it was evaluated on may have come to nothing; what is behind it in the store, too, then
		_ = wait(ctx, s.last.commit)
		s.last = nil
	}
	var h head
	var at snapshot
	err := l.st.View(ctx, func(v store.View) (err error) {
		if h, err = l.head(v.State(), key); err != nil {
			return err
		}
		at, err = l.snapshot(v.State(), x, key)
		return err
	})
	if err != nil {
		return err
	}
	if at.version > h.version {
		at = snapshot{state: x.Initial}
	}
	state, _, err := l.fold(ctx, b, x, key, at, until{version: h.version})
	if err != nil {
		return err
	}
	s.version, s.token, s.state, s.fold, s.known = h.version, h.token, state, x.Fold, true
	l.keep(key, s)
	return nil
}

// snapshot reads the snapshot of a key that the present code can use, or the beginning.
func (l *lane) snapshot(st store.State, x *plan.Entity, key string) (snapshot, error) {
	e, ok, err := st.Get(l.n.snap, []byte(key))
	if err != nil {
		return snapshot{}, err
	}
	if ok {
		if s, good := readSnapshot(e.Value); good && (s.fold == x.Fold || mutation.On("snapshot-of-other-code")) {
			return s, nil
		}
	}
	return snapshot{state: x.Initial}, nil
}

// until is how far a history is folded: to a version, and only what happened by then.
type until struct {
	version int64
	time    int64 // Unix nanoseconds; 0: whenever
}

// fold makes the state out of a snapshot and the events behind it, and says which version it has come to.
func (l *lane) fold(ctx context.Context, b *bench, x *plan.Entity, key string, at snapshot, to until) ([]byte, int64, error) {
	state, version := at.state, at.version
	rt := l.e.r.rt.Load()
	err := l.history(ctx, key, version+1, to.version, func(e *Event) (bool, error) {
		if to.time != 0 && e.Time > to.time {
			return false, nil
		}
		next, err := l.stepOver(b, x, rt, e, state)
		if err != nil {
			return false, err
		}
		state, version = next, e.Version
		return true, nil
	})
	if err == nil && to.time == 0 && version != to.version {
		err = &penstock.Error{Code: penstock.Internal, Op: "read entity " + x.Name, Path: key,
			Err: fmt.Errorf("version %d is the last that is there, and %d was written", version, to.version), Hint: "`penstock events verify` says what is missing"}
	}
	return state, version, err
}

// stepOver is the state behind an event.
func (l *lane) stepOver(b *bench, x *plan.Entity, rt *penstock.Runtime, e *Event, state []byte) ([]byte, error) {
	t, err := b.current(x, rt, e)
	if err == nil {
		var next []byte
		if next, err = b.step(nil, rt, t, e, state, e.Version-1); err == nil {
			return next, nil
		}
	}
	if mutation.On("unreadable-event-skipped") {
		return state, nil
	}
	return nil, l.unreadable(e, err)
}

// unreadable is the error of an event that can't be read any more.
func (l *lane) unreadable(e *Event, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "read entity " + l.e.name, Path: e.Key,
		Err:  &UnreadableError{Event: e.ID(l.n.events), Type: e.Type, Key: e.Key, Err: err},
		Hint: "have the configuration know the event again (`events`, `version`, `upcast`); nothing of it is lost"}
}

// entriesAt is how many entries of `at` are read at a time, and so about how many commands of a history.
const entriesAt = 256

// history reads the events of a key from one version to another, in order, with their personal fields, until each returns false.
func (l *lane) history(ctx context.Context, key string, from, to int64, each func(*Event) (bool, error)) error {
	if from > to {
		return nil
	}
	after := before(atKey(key, from))
	prefix := atKey(key, 0)
	prefix = prefix[:len(prefix)-8]
	expect := from
	for {
		var events []Event
		more := false
		err := l.st.View(ctx, func(v store.View) error {
			events = events[:0]
			page, err := v.State().Scan(l.n.at, after, entriesAt)
			if err != nil {
				return err
			}
			more = len(page) == entriesAt
			read := segments{log: v.Log(), channel: l.n.events}
			for _, e := range page {
				if len(e.Key) != len(prefix)+8 || string(e.Key[:len(prefix)]) != string(prefix) {
					more = false
					break
				}
				r := record.Fields{Rest: e.Value}
				base, n := int64(r.Uvarint()), int64(r.Uvarint())
				if r.Bad {
					return errEntry
				}
				for i := range n {
					rec, err := read.at(base + i)
					if err != nil {
						return err
					}
					ev := Event{Part: l.n.part, Position: base + i}
					if err := ev.parse(rec); err != nil {
						return l.unreadable(&Event{Part: l.n.part, Position: base + i, Key: key}, err)
					}
					ev.hash = hashOf(rec)
					if err := l.reveal(v.State(), &ev); err != nil {
						return err
					}
					events = append(events, ev)
				}
				after = e.Key
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range events {
			e := &events[i]
			if e.Version > to {
				return nil
			}
			if e.Version != expect || e.Key != key {
				return l.unreadable(e, fmt.Errorf("it stands where version %d of %s is expected", expect, key))
			}
			expect++
			if ok, err := each(e); err != nil || !ok {
				return err
			}
		}
		if !more || expect > to {
			return nil
		}
	}
}

// before is a key that stands before k, and behind all others that do, as far as histories go.
func before(k []byte) []byte {
	k = slices.Clone(k)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]--; k[i] != 0xff {
			break
		}
	}
	return k
}

// reveal puts the personal fields of an event back into it, where they can still be read. An error that is no UnreadableError is the store's.
func (l *lane) reveal(st store.State, e *Event) error {
	if e.Subject == nil {
		return nil
	}
	entry, ok, err := st.Get(l.n.keys, idKey(e.Subject))
	if err != nil {
		return err
	}
	if !ok {
		e.Erased = true
		return nil
	}
	s, err := readSecret(entry.Value)
	if err == nil {
		err = s.open(e)
	}
	if err != nil {
		return l.unreadable(e, err)
	}
	return nil
}

// segments reads single messages of a channel, and keeps what it has read last.
type segments struct {
	log     store.Log
	channel string
	held    []store.Segment
	seg     store.Segment
	rest    []byte
	pos     int64
}

// readAhead is how many bytes are read where one message is wanted: its neighbours may be, too.
const readAhead = 64 << 10

func (s *segments) at(pos int64) ([]byte, error) {
	if s.seg.N == 0 || pos < s.seg.Base || pos >= s.seg.End() {
		if err := s.seek(pos); err != nil {
			return nil, err
		}
	}
	if s.rest == nil || pos < s.pos {
		s.rest, s.pos = s.seg.Data, s.seg.Base
	}
	for {
		rec, rest, err := store.NextFrame(s.rest)
		if err != nil {
			return nil, err
		}
		s.rest = rest
		if s.pos++; s.pos-1 == pos {
			return rec, nil
		}
	}
}

func (s *segments) seek(pos int64) error {
	s.rest = nil
	for _, g := range s.held {
		if g.Base <= pos && pos < g.End() {
			s.seg = g
			return nil
		}
	}
	held, err := s.log.Segments(s.channel, pos, readAhead)
	if err != nil {
		return err
	}
	if len(held) == 0 || held[0].Base > pos || pos >= held[0].End() {
		return &penstock.Error{Code: penstock.Internal, Op: "read " + s.channel, Path: fmt.Sprint(pos), Err: errors.New("the event is not there"), Hint: "`penstock events verify` says what is missing"}
	}
	s.held, s.seg = held, held[0]
	return nil
}

// repeat appends what a command answered that was done before.
func (l *lane) repeat(ctx context.Context, b *bench, x *plan.Entity, q *Request, dst, done []byte) ([]byte, error) {
	r := record.Fields{Rest: done}
	version, n, key := int64(r.Uvarint()), int64(r.Uvarint()), string(r.Bytes())
	if r.Bad {
		return dst, errEntry
	}
	if key != q.Key {
		return dst, penstock.E(penstock.Conflict, "command "+q.Command, x.Name+" "+q.Key, "a command that is known by the same identity was done to another key")
	}
	last := version + n - 1
	state, events, err := l.since(ctx, b, x, key, version, last)
	if err != nil {
		return dst, err
	}
	return appendReply(dst, last, events, state), nil
}

// since is the state at a version, with the events from one on.
func (l *lane) since(ctx context.Context, b *bench, x *plan.Entity, key string, from, to int64) (state []byte, events []Event, err error) {
	at, err := l.nearest(ctx, x, key, from-1)
	if err != nil {
		return nil, nil, err
	}
	state = at.state
	rt := l.e.r.rt.Load()
	err = l.history(ctx, key, at.version+1, to, func(e *Event) (bool, error) {
		next, err := l.stepOver(b, x, rt, e, state)
		if err != nil {
			return false, err
		}
		state = next
		if e.Version >= from {
			events = append(events, *e)
		}
		return true, nil
	})
	return state, events, err
}

// nearest is the snapshot from which a version can be reached.
func (l *lane) nearest(ctx context.Context, x *plan.Entity, key string, version int64) (at snapshot, err error) {
	err = l.st.View(ctx, func(v store.View) (err error) {
		at, err = l.snapshot(v.State(), x, key)
		return err
	})
	if at.version > version {
		at = snapshot{state: x.Initial}
	}
	return at, err
}

// AsOf says as of when a state is asked for: the zero AsOf is now.
type AsOf struct {
	Version int64     // 0: the newest
	Time    time.Time // what had happened by then; zero: whenever
	Start   bool      // before the first event: version 0
}

// Query appends {"version", "state"} to dst: the state of a key, as it is or as it was, durable in any case.
func (e *Entity) Query(ctx context.Context, dst []byte, key string, as AsOf) ([]byte, error) {
	state, version, err := e.State(ctx, key, as)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"version":`...)
	dst = fmt.Appendf(dst, "%d", version)
	return append(append(append(dst, `,"state":`...), state...), '}'), nil
}

// State is the state of a key, and its version.
func (e *Entity) State(ctx context.Context, key string, as AsOf) ([]byte, int64, error) {
	o, err := e.store()
	if err != nil {
		return nil, 0, err
	}
	x := e.plan.Load()
	if err := usable(x, key); err != nil {
		return nil, 0, err
	}
	l := o.lane(key)
	var h head
	var at snapshot
	err = l.st.View(ctx, func(v store.View) (err error) {
		if h, err = l.head(v.State(), key); err != nil {
			return err
		}
		at, err = l.snapshot(v.State(), x, key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	to := until{version: h.version}
	if as.Version > h.version {
		return nil, 0, penstock.E(penstock.NotFound, "query", x.Name+" "+key, fmt.Sprintf("it has no version %d yet: the newest is %d", as.Version, h.version))
	}
	switch {
	case as.Start:
		return x.Initial, 0, nil
	case as.Version > 0:
		to.version = as.Version
	case !as.Time.IsZero():
		to.time = as.Time.UnixNano()
	default:
		if state, ok := l.cached(x, key, h); ok {
			return state, h.version, nil
		}
	}
	if at.version > to.version || to.time != 0 {
		at = snapshot{state: x.Initial}
	}
	b := benches.Get().(*bench)
	defer benches.Put(b)
	return l.fold(ctx, b, x, key, at, to)
}

// cached is the state in memory, where it is that of a head.
func (l *lane) cached(x *plan.Entity, key string, h head) ([]byte, bool) {
	l.mu.Lock()
	s := l.streams[key]
	l.mu.Unlock()
	if s == nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.holds(x) && s.version == h.version && s.token == h.token
}
