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

// view reads a root until its function has returned.
type view struct {
	root *root
	over *bool
}

func newView(r root) view { return view{&r, new(bool)} }

func (v view) Log() store.Log     { return v }
func (v view) State() store.State { return v }

// ended is the error of a view, or of a transaction, that is used after its function.
func (v view) ended() error {
	if *v.over {
		return invalid("", errors.New("a view, or a transaction, is used after its function has returned"))
	}
	return nil
}

// maxKey is the longest key of an entry, in bytes.
const maxKey = 4096

// tx is a transaction: it works on a root of its own. What it appends is put there at its end.
type tx struct {
	view
	added []store.Segment // one for each channel
}

func (t *tx) Append(name string, b store.Bundle) (int64, error) {
	if err := t.ended(); err != nil {
		return 0, err
	}
	n := 0
	for rest := b.Data; len(rest) > 0; n++ {
		var err error
		if _, rest, err = store.NextFrame(rest); err != nil {
			return 0, invalid(name, err)
		}
	}
	if n != b.N {
		return 0, invalid(name, fmt.Errorf("a bundle of %d messages has %d frames", b.N, n))
	}
	for i := range t.added {
		g := &t.added[i]
		if g.Channel == name {
			base := g.End()
			g.N += n
			if n > 0 {
				g.MinTime, g.MaxTime = min(g.MinTime, b.MinTime), max(g.MaxTime, b.MaxTime)
			}
			g.Data = append(g.Data, b.Data...)
			return base, nil
		}
	}
	c, _ := t.root.channels.get(name)
	base := int64(0)
	if c != nil {
		base = c.next
	}
	if n > 0 {
		t.added = append(t.added, store.Segment{Channel: name, Base: base, N: n, MinTime: b.MinTime, MaxTime: b.MaxTime, Data: bytes.Clone(b.Data)})
	}
	return base, nil
}

// end ends the transaction, and gives what there is then.
func (t *tx) end() root {
	*t.over = true
	r := *t.root
	for _, g := range t.added {
		var c channel
		if old, ok := r.channels.get(g.Channel); ok {
			c = *old
		}
		c.segments = append(c.segments, g)
		c.next = g.End()
		c.bytes += int64(len(g.Data))
		r.channels = r.channels.put(g.Channel, &c)
	}
	return r
}

func invalid(where string, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "store", Path: where, Err: err}
}

func (t *tx) Drop(name string, before int64) (int, error) {
	if err := t.ended(); err != nil {
		return 0, err
	}
	old, ok := t.root.channels.get(name)
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
	t.root.channels = t.root.channels.put(name, &c)
	return n, nil
}

func (t *tx) Put(name string, e store.Entry) error {
	if err := t.ended(); err != nil {
		return err
	}
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
	t.root.spaces = t.root.spaces.put(name, p)
	return nil
}

func (t *tx) Delete(name string, key []byte) error {
	if err := t.ended(); err != nil {
		return err
	}
	switch p := t.without(name, string(key)); {
	case p.n > 0:
		t.root.spaces = t.root.spaces.put(name, p)
	default:
		t.root.spaces = t.root.spaces.delete(name)
	}
	return nil
}

func (t *tx) Clear(name string) error {
	if err := t.ended(); err != nil {
		return err
	}
	t.root.spaces = t.root.spaces.delete(name)
	return nil
}

// without is a new version of a space, without a key.
func (t *tx) without(name, key string) *space {
	p := new(space)
	if old, ok := t.root.spaces.get(name); ok {
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

func (v view) Channels() ([]store.Bounds, error) {
	if err := v.ended(); err != nil {
		return nil, err
	}
	var all []store.Bounds
	v.root.channels.ascend("", func(name string, c *channel) bool {
		all = append(all, c.bounds(name))
		return true
	})
	return all, nil
}

func (v view) Bounds(name string) (store.Bounds, error) {
	if err := v.ended(); err != nil {
		return store.Bounds{}, err
	}
	if c, ok := v.root.channels.get(name); ok {
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

func (v view) Segments(name string, from int64, most int) ([]store.Segment, error) {
	if err := v.ended(); err != nil {
		return nil, err
	}
	c, ok := v.root.channels.get(name)
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

func (v view) Seek(name string, at time.Time) (int64, error) {
	if err := v.ended(); err != nil {
		return 0, err
	}
	c, ok := v.root.channels.get(name)
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

func (v view) Get(name string, key []byte) (store.Entry, bool, error) {
	if err := v.ended(); err != nil {
		return store.Entry{}, false, err
	}
	p, ok := v.root.spaces.get(name)
	if !ok {
		return store.Entry{}, false, nil
	}
	e, ok := p.entries.get(string(key))
	return clone(e), ok, nil
}

func (v view) Scan(name string, after []byte, limit int) ([]store.Entry, error) {
	if err := v.ended(); err != nil {
		return nil, err
	}
	p, ok := v.root.spaces.get(name)
	if !ok || limit <= 0 {
		return nil, nil
	}
	from := ""
	if after != nil {
		from = string(after) + "\x00" // the first key behind after
	}
	var all []store.Entry
	p.entries.ascend(from, func(_ string, e store.Entry) bool {
		all = append(all, clone(e))
		return len(all) < limit
	})
	return all, nil
}

func (v view) Due(name string, until int64, limit int) ([]store.Entry, error) {
	if err := v.ended(); err != nil {
		return nil, err
	}
	p, ok := v.root.spaces.get(name)
	if !ok || limit <= 0 {
		return nil, nil
	}
	var all []store.Entry
	p.due.ascend("", func(_ string, e store.Entry) bool {
		if e.Due > until {
			return false
		}
		all = append(all, clone(e))
		return len(all) < limit
	})
	return all, nil
}

// clone is what a caller may change.
func clone(e store.Entry) store.Entry {
	return store.Entry{Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Value), Due: e.Due}
}

func (v view) Spaces(prefix string) ([]store.Space, error) {
	if err := v.ended(); err != nil {
		return nil, err
	}
	var all []store.Space
	v.root.spaces.ascend(prefix, func(name string, p *space) bool {
		if !strings.HasPrefix(name, prefix) {
			return false
		}
		all = append(all, store.Space{Name: name, Entries: p.n, Bytes: p.bytes})
		return true
	})
	return all, nil
}
