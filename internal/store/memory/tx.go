package memory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// root is everything. Nothing below it ever changes.
type root struct {
	spaces   tree[*space]
	channels tree[*channel]
}

type space struct {
	entries tree[store.Entry]
	due     tree[store.Entry] // by due and key
	n       int64
	bytes   int64
}

type channel struct {
	segments []store.Segment // older roots see less of the same array
	next     int64
	bytes    int64
}

type view struct{ log, state root }

func (v view) Log() store.Log     { return logs{v.log} }
func (v view) State() store.State { return states{&v.state} }

// maxKey is the longest key of an entry, in bytes.
const maxKey = 4096

// tx is a transaction: it works on a root of its own.
type tx struct {
	view
	now   root
	added []store.Segment
}

func (t *tx) State() store.State { return states{&t.now} }

func (t *tx) Append(name string, b store.Bundle) (int64, error) {
	n := 0
	for rest := b.Data; len(rest) > 0; n++ {
		var err error
		if _, rest, err = store.NextFrame(rest); err != nil {
			return 0, invalid(name, err)
		}
	}
	if n == 0 || n != b.N {
		return 0, invalid(name, fmt.Errorf("a bundle of %d messages has %d frames", b.N, n))
	}
	var c channel
	if old, ok := t.now.channels.get(name); ok {
		c = *old
	}
	g := store.Segment{Channel: name, Base: c.next, N: b.N, MinTime: b.MinTime, MaxTime: b.MaxTime, Data: bytes.Clone(b.Data)}
	c.segments = append(c.segments, g)
	c.next += int64(b.N)
	c.bytes += int64(len(b.Data))
	t.now.channels = t.now.channels.put(name, &c)
	t.added = append(t.added, g)
	return g.Base, nil
}

func invalid(where string, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "store", Path: where, Err: err}
}

func (t *tx) Drop(name string, before int64) (int, error) {
	old, ok := t.now.channels.get(name)
	if !ok {
		return 0, nil
	}
	c, n := *old, 0
	for n < len(c.segments) && c.segments[n].End() <= before {
		c.bytes -= int64(len(c.segments[n].Data))
		n++
	}
	if n == 0 {
		return 0, nil
	}
	c.segments = append([]store.Segment(nil), c.segments[n:]...)
	t.now.channels = t.now.channels.put(name, &c)
	return n, nil
}

func (t *tx) Put(name string, e store.Entry) error {
	if len(e.Key) > maxKey {
		return invalid(name, fmt.Errorf("a key of %d bytes; at most %d are possible", len(e.Key), maxKey))
	}
	key := string(e.Key)
	e.Key, e.Value = []byte(key), append([]byte{}, e.Value...)
	p := t.without(name, key)
	p.entries = p.entries.put(key, e)
	if e.Due != 0 {
		p.due = p.due.put(dueKey(e.Due, key), e)
	}
	p.n++
	p.bytes += int64(len(e.Key) + len(e.Value))
	t.now.spaces = t.now.spaces.put(name, p)
	return nil
}

func (t *tx) Delete(name string, key []byte) error {
	switch p := t.without(name, string(key)); {
	case p.n > 0:
		t.now.spaces = t.now.spaces.put(name, p)
	default:
		t.now.spaces = t.now.spaces.delete(name)
	}
	return nil
}

func (t *tx) Clear(name string) error {
	t.now.spaces = t.now.spaces.delete(name)
	return nil
}

// without is a new version of a space, without a key.
func (t *tx) without(name, key string) *space {
	p := new(space)
	if old, ok := t.now.spaces.get(name); ok {
		*p = *old
	}
	if e, ok := p.entries.get(key); ok {
		p.entries = p.entries.delete(key)
		if e.Due != 0 {
			p.due = p.due.delete(dueKey(e.Due, key))
		}
		p.n--
		p.bytes -= int64(len(e.Key) + len(e.Value))
	}
	return p
}

// dueKey sorts by due, then by key.
func dueKey(due int64, key string) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(due)^1<<63)
	return string(b[:]) + key
}

type logs struct{ root }

func (l logs) Channels() ([]store.Bounds, error) {
	var all []store.Bounds
	l.channels.ascend("", func(name string, c *channel) bool {
		all = append(all, c.bounds(name))
		return true
	})
	return all, nil
}

func (l logs) Bounds(name string) (store.Bounds, error) {
	if c, ok := l.channels.get(name); ok {
		return c.bounds(name), nil
	}
	return store.Bounds{Channel: name}, nil
}

func (c *channel) bounds(name string) store.Bounds {
	b := store.Bounds{Channel: name, First: c.next, Next: c.next, Segments: int64(len(c.segments)), Bytes: c.bytes}
	if len(c.segments) > 0 {
		b.First = c.segments[0].Base
		b.Oldest = time.Unix(0, c.segments[0].MinTime).UTC()
	}
	return b
}

func (l logs) Segments(name string, from int64, most int) ([]store.Segment, error) {
	c, ok := l.channels.get(name)
	if !ok {
		return nil, nil
	}
	i := sort.Search(len(c.segments), func(i int) bool { return c.segments[i].End() > from })
	end, size := i, 0
	for end < len(c.segments) && (end == i || size+len(c.segments[end].Data) <= most) {
		size += len(c.segments[end].Data)
		end++
	}
	return append([]store.Segment(nil), c.segments[i:end]...), nil
}

func (l logs) Seek(name string, at time.Time) (int64, error) {
	c, ok := l.channels.get(name)
	if !ok {
		return 0, nil
	}
	for _, g := range c.segments {
		if g.MaxTime >= at.UnixNano() {
			return g.Base, nil
		}
	}
	return c.next, nil
}

type states struct{ *root }

func (s states) Get(name string, key []byte) (store.Entry, bool, error) {
	p, ok := s.spaces.get(name)
	if !ok {
		return store.Entry{}, false, nil
	}
	e, ok := p.entries.get(string(key))
	return e, ok, nil
}

func (s states) Scan(name string, after []byte, limit int) ([]store.Entry, error) {
	p, ok := s.spaces.get(name)
	if !ok || limit <= 0 {
		return nil, limits(limit)
	}
	from := ""
	if after != nil {
		from = string(after) + "\x00" // the first key behind after
	}
	var all []store.Entry
	p.entries.ascend(from, func(_ string, e store.Entry) bool {
		all = append(all, e)
		return len(all) < limit
	})
	return all, nil
}

func (s states) Due(name string, until int64, limit int) ([]store.Entry, error) {
	p, ok := s.spaces.get(name)
	if !ok || limit <= 0 {
		return nil, limits(limit)
	}
	var all []store.Entry
	p.due.ascend("", func(_ string, e store.Entry) bool {
		if e.Due > until {
			return false
		}
		all = append(all, e)
		return len(all) < limit
	})
	return all, nil
}

func limits(limit int) error {
	if limit <= 0 {
		return invalid("", errors.New("the limit of a scan must be positive"))
	}
	return nil
}

func (s states) Spaces(prefix string) ([]store.Space, error) {
	var all []store.Space
	s.spaces.ascend(prefix, func(name string, p *space) bool {
		if !strings.HasPrefix(name, prefix) {
			return false
		}
		all = append(all, store.Space{Name: name, Entries: p.n, Bytes: p.bytes})
		return true
	})
	return all, nil
}
