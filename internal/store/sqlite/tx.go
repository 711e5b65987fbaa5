package sqlite

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Limits of what one call may hand over.
const (
	maxKey   = 4 << 10
	maxBytes = 256 << 20 // SQLite takes a billion; a commit of this size already takes seconds
)

// tx is one transaction of a group. It writes into the group and remembers how to take that back. Only where it has to ask
// the file about what is not written yet, or changes the file itself, a savepoint is opened.
type tx struct {
	g         *group
	turn      int64
	cells     []cellBefore
	channels  []channelBefore
	restore   []func()
	savepoint bool
	ended     bool
}

type cellBefore struct {
	c      *cell
	before cell
}

// channelBefore is what others had gathered for a channel, and the times of what this transaction added.
type channelBefore struct {
	ch             *channel
	n, next        int64
	bytes          int
	min, max, turn int64
	ownMin, ownMax int64
}

var _ store.Tx = (*tx)(nil)

// do runs one transaction. An error is its own; that of the disk is in g.broken.
func (g *group) do(turn int64, t *tx, f func(store.Tx) error) (err error) {
	*t = tx{g: g, turn: turn, cells: t.cells[:0], channels: t.channels[:0], restore: t.restore[:0]}
	defer func() {
		if p := recover(); p != nil {
			err = penstock.E(penstock.Internal, "run a transaction", g.d.o.Path, fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
		}
		t.ended = true
		if err == nil {
			err = g.broken
		}
		if err != nil && !mutation.On("failed-not-undone") {
			t.undo()
		} else if t.savepoint {
			_, err = g.w.exec(sqlRelease)
			err = g.disk(err)
		}
		clear(t.cells)
		clear(t.channels)
		clear(t.restore)
	}()
	return f(t)
}

// undo takes back what the transaction did.
func (t *tx) undo() {
	t.undoCells()
	for _, b := range slices.Backward(t.channels) {
		b.ch.n, b.ch.next, b.ch.min, b.ch.max, b.ch.turn = b.n, b.next, b.min, b.max, b.turn
		b.ch.data = b.ch.data[:b.bytes]
	}
	for _, f := range slices.Backward(t.restore) {
		f()
	}
	if t.savepoint && t.g.broken == nil {
		_, err := t.g.w.exec(sqlRollbackTo)
		if err == nil {
			_, err = t.g.w.exec(sqlRelease)
		}
		_ = t.g.disk(err)
	}
}

func (t *tx) undoCells() {
	for _, b := range slices.Backward(t.cells) {
		queued := b.c.queued
		*b.c = b.before
		b.c.queued = queued
	}
	t.cells = t.cells[:0]
}

func (t *tx) live() error {
	if t.ended {
		return penstock.E(penstock.Internal, "use a transaction", t.g.d.o.Path, "it has ended: a Tx is only good inside its function")
	}
	return t.g.broken
}

// Append implements store.Writer.
func (t *tx) Append(name string, b store.Bundle) (int64, error) {
	if err := t.live(); err != nil {
		return 0, err
	}
	switch {
	case b.N < 0 || b.N > len(b.Data) || (b.N == 0) != (len(b.Data) == 0):
		return 0, penstock.E(penstock.Invalid, "append", name, fmt.Sprintf("%d messages can't be %d bytes of frames", b.N, len(b.Data)))
	case len(b.Data) > maxBytes:
		return 0, penstock.E(penstock.TooLarge, "append", name, fmt.Sprintf("a bundle of %d bytes; the limit is %d", len(b.Data), maxBytes))
	}
	ch, err := t.g.channel(name)
	if err != nil {
		return 0, err
	}
	base := ch.next
	if b.N == 0 {
		return base, nil
	}
	if base+int64(b.N) > maxPosition {
		return 0, penstock.E(penstock.TooLarge, "append", name, fmt.Sprintf("the channel has come to its last position, %d", int64(maxPosition)))
	}
	if ch.turn != t.turn {
		t.channels = append(t.channels, channelBefore{ch: ch, n: ch.n, next: ch.next, bytes: len(ch.data),
			min: ch.min, max: ch.max, turn: ch.turn, ownMin: b.MinTime, ownMax: b.MaxTime})
		ch.turn = t.turn
	} else {
		own := t.own(ch)
		own.ownMin, own.ownMax = min(own.ownMin, b.MinTime), max(own.ownMax, b.MaxTime)
	}
	t.add(ch, int64(b.N), b.Data, b.MinTime, b.MaxTime)
	return base, nil
}

func (t *tx) add(ch *channel, n int64, data []byte, minTime, maxTime int64) {
	if ch.n == 0 {
		t.g.appended = append(t.g.appended, ch)
		ch.min, ch.max = minTime, maxTime
		if ch.data == nil {
			ch.data = t.g.d.buffer(len(data))
		}
	}
	ch.min, ch.max = min(ch.min, minTime), max(ch.max, maxTime)
	ch.data = append(ch.data, data...)
	ch.n += n
	ch.next += n
	t.g.bytes += int64(len(data))
}

func (t *tx) own(ch *channel) *channelBefore {
	for i := range t.channels {
		if t.channels[i].ch == ch {
			return &t.channels[i]
		}
	}
	return nil
}

// settle writes into the file's transaction what came before this transaction, and its own entries under a savepoint. Its own
// messages stay where they are.
func (t *tx) settle() error {
	if err := t.live(); err != nil {
		return err
	}
	if t.savepoint { // all that came before is written
		return t.g.disk(t.g.flushEntries())
	}
	// Take the own part out, write the rest, and put it back.
	cells := make([]cell, 0, len(t.cells))
	for _, b := range t.cells {
		cells = append(cells, *b.c)
	}
	undone := slices.Clone(t.cells)
	t.undoCells()
	type part struct {
		ch     *channel
		n      int64
		data   []byte
		lo, hi int64
	}
	parts := make([]part, 0, len(t.channels))
	for _, b := range t.channels {
		ch := b.ch
		parts = append(parts, part{ch, ch.n - b.n, slices.Clone(ch.data[b.bytes:]), b.ownMin, b.ownMax})
		ch.n, ch.next, ch.min, ch.max, ch.turn = b.n, b.next, b.min, b.max, b.turn
		ch.data = ch.data[:b.bytes:b.bytes]
	}
	t.channels = t.channels[:0]
	if err := t.g.flush(); err != nil {
		return err
	}
	for _, p := range parts {
		t.channels = append(t.channels, channelBefore{ch: p.ch, n: p.ch.n, next: p.ch.next, bytes: len(p.ch.data),
			min: p.ch.min, max: p.ch.max, turn: p.ch.turn, ownMin: p.lo, ownMax: p.hi})
		p.ch.turn = t.turn
		t.add(p.ch, p.n, p.data, p.lo, p.hi)
	}
	if len(cells) == 0 {
		return nil
	}
	if err := t.open(); err != nil {
		return err
	}
	for i, c := range cells {
		t.set(undone[i].c, c.there, c.value, c.due)
	}
	return t.g.disk(t.g.flushEntries())
}

// open opens the savepoint. All that came before has to be written.
func (t *tx) open() error {
	if t.savepoint {
		return nil
	}
	if _, err := t.g.w.exec(sqlSavepoint); err != nil {
		return t.g.disk(err)
	}
	t.savepoint = true
	// Counts of spaces are written with the entries: keep them.
	for _, sp := range t.g.spaces {
		before := *sp
		t.restore = append(t.restore, func() { *sp = before })
	}
	return nil
}

// set changes a cell.
func (t *tx) set(c *cell, there bool, value []byte, due int64) {
	g := t.g
	if c.turn != t.turn {
		t.cells = append(t.cells, cellBefore{c, *c})
		c.turn = t.turn
	}
	c.there, c.value, c.due, c.known, c.dirty = there, value, due, true, true
	if !c.queued {
		c.queued = true
		g.dirty = append(g.dirty, c)
	}
	g.size += int64(len(value))
	g.bytes += int64(len(c.key) + len(value))
}

// space finds a space, or makes it.
func (t *tx) space(name string) *space {
	sp := t.g.spaces[name]
	if sp == nil {
		sp = t.g.space(name)
		if t.savepoint { // the others are kept by open
			before := *sp
			t.restore = append(t.restore, func() { *sp = before })
		}
	}
	return sp
}

// Put implements store.Writer.
func (t *tx) Put(space string, e store.Entry) error {
	if err := t.live(); err != nil {
		return err
	}
	if len(e.Key) > maxKey {
		return penstock.E(penstock.TooLarge, "put", space, fmt.Sprintf("a key of %d bytes; the limit is %d", len(e.Key), maxKey))
	}
	if len(e.Value) > maxBytes {
		return penstock.E(penstock.TooLarge, "put", space, fmt.Sprintf("a value of %d bytes; the limit is %d", len(e.Value), maxBytes))
	}
	sp := t.space(space)
	c := t.g.remembered(sp, e.Key)
	if c == nil {
		c = t.g.newCell(sp, e.Key)
	}
	t.set(c, true, slices.Clone(blob(e.Value)), e.Due)
	return nil
}

// Delete implements store.Writer.
func (t *tx) Delete(space string, key []byte) error {
	if err := t.live(); err != nil {
		return err
	}
	sp := t.g.spaces[space]
	if sp == nil {
		return nil
	}
	c := t.g.remembered(sp, key)
	if c == nil {
		c = t.g.newCell(sp, key)
	}
	if c.known && !c.there {
		return nil
	}
	t.set(c, false, nil, 0)
	return nil
}

// Clear implements store.Writer. The space gets another number, and the entries of the old one are removed bit by bit.
func (t *tx) Clear(name string) error {
	if t.g.spaces[name] == nil {
		return t.live()
	}
	if err := t.settle(); err != nil {
		return err
	}
	if err := t.open(); err != nil {
		return err
	}
	g, sp := t.g, t.g.spaces[name]
	if sp.saved {
		if _, err := g.w.exec(sqlUnnameSpace, sp.id); err != nil {
			return g.disk(err)
		}
		g.clearing = append(g.clearing, sp.id)
	}
	delete(g.spaces, name)
	t.restore = append(t.restore, func() {
		g.spaces[name] = sp
		g.clearing = slices.DeleteFunc(g.clearing, func(id int64) bool { return id == sp.id })
	})
	return nil
}

// Drop implements store.Writer. The segments are out of sight at once, and are removed bit by bit.
func (t *tx) Drop(name string, before int64) (int, error) {
	ch := t.g.channels[name]
	if ch == nil || before <= ch.first {
		return 0, t.live()
	}
	if err := t.settle(); err != nil {
		return 0, err
	}
	if !ch.saved { // it has nothing but what this transaction appends
		return 0, nil
	}
	g, r := t.g, t.g.reader()
	oldest, ok, err := r.nextAt(ch.channelRow, 0, maxPosition)
	if err != nil || !ok {
		return 0, g.disk(err)
	}
	s, ok, err := r.at(ch.channelRow, min(before, maxPosition)-1)
	if err != nil || !ok {
		return 0, g.disk(err)
	}
	first, n := s.end(), s.seq-oldest.seq+1
	if first > before && !mutation.On("drop-partly-unread") {
		first, n = s.base, n-1
	}
	if n == 0 {
		return 0, nil
	}
	if err := t.open(); err != nil {
		return 0, err
	}
	was := ch.first
	if err := g.saveChannel(ch, first, ch.next-ch.n); err != nil {
		return 0, g.disk(err)
	}
	ch.first = first
	g.sweeping[ch.id] = ch
	t.restore = append(t.restore, func() { ch.first = was })
	return int(n), nil
}

// Log implements store.View.
func (t *tx) Log() store.Log { return txView{t} }

// State implements store.View.
func (t *tx) State() store.State { return txView{t} }

// txView is what a transaction reads: the file, after what is gathered was written to it.
type txView struct{ t *tx }

func (v txView) settled() (*reader, error) {
	return v.t.g.reader(), v.t.settle()
}

func (v txView) Channels() ([]store.Bounds, error) {
	r, err := v.settled()
	if err != nil {
		return nil, err
	}
	all, err := r.Channels()
	return all, v.t.g.disk(err)
}

func (v txView) Bounds(channel string) (store.Bounds, error) {
	r, err := v.settled()
	if err != nil {
		return store.Bounds{}, err
	}
	b, err := r.Bounds(channel)
	return b, v.t.g.disk(err)
}

func (v txView) Segments(channel string, from int64, maxBytes int) ([]store.Segment, error) {
	r, err := v.settled()
	if err != nil {
		return nil, err
	}
	all, err := r.Segments(channel, from, maxBytes)
	return all, v.t.g.disk(err)
}

func (v txView) Seek(channel string, at time.Time) (int64, error) {
	r, err := v.settled()
	if err != nil {
		return 0, err
	}
	p, err := r.Seek(channel, at)
	return p, v.t.g.disk(err)
}

func (v txView) Get(space string, key []byte) (store.Entry, bool, error) {
	if err := v.t.live(); err != nil {
		return store.Entry{}, false, err
	}
	sp := v.t.g.spaces[space]
	if sp == nil {
		return store.Entry{}, false, nil
	}
	c, err := v.t.g.look(sp, key)
	if err != nil || !c.there {
		return store.Entry{}, false, err
	}
	// What is returned may be kept and changed; the cell stays.
	return store.Entry{Key: slices.Clone(c.key), Value: slices.Clone(c.value), Due: c.due}, true, nil
}

func (v txView) Scan(space string, after []byte, limit int) ([]store.Entry, error) {
	r, err := v.settled()
	if err != nil {
		return nil, err
	}
	all, err := r.Scan(space, after, limit)
	return all, v.t.g.disk(err)
}

func (v txView) Due(space string, until int64, limit int) ([]store.Entry, error) {
	r, err := v.settled()
	if err != nil {
		return nil, err
	}
	all, err := r.Due(space, until, limit)
	return all, v.t.g.disk(err)
}

func (v txView) Spaces(prefix string) ([]store.Space, error) {
	r, err := v.settled()
	if err != nil {
		return nil, err
	}
	all, err := r.Spaces(prefix)
	return all, v.t.g.disk(err)
}
