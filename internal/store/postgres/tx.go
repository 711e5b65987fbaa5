package postgres

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Limits of what one call may hand over.
const (
	maxKey      = 4 << 10
	maxBytes    = 256 << 20 // PostgreSQL takes a billion in a message, and needs several times as much memory
	maxPosition = 1<<62 - 1
)

// tx is one transaction of a group.
type tx struct {
	g     *group
	turn  int64
	ended bool
	lacks bool // it was told that something is not there which is not known
}

var _ store.Tx = (*tx)(nil)

// missing is what a run ends with that can't go on: it is done again when what it needs is there.
type missing struct{}

// do runs one transaction. What it lacks is in g.wants.
func (g *group) do(k *task) {
	g.turn++
	t := &tx{g: g, turn: g.turn}
	before := g.journal.mark()
	count, size := g.count, g.bytes
	k.err = nil
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(missing); ok {
				k.err, g.lacks = errMissing, true
			} else {
				k.err = penstock.E(penstock.Internal, "run a transaction", g.d.where(), fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
			}
		}
		t.ended = true
		if t.lacks {
			k.err, g.lacks = errMissing, true
		}
		if k.err != nil && !mutation.On("pg-failed-not-undone") {
			g.journal.undo(before)
			if k.err != errMissing { //nolint:errorlint // it is this one
				g.count, g.bytes = count, size
			}
		}
	}()
	k.err = k.f(t)
}

// errMissing is what a transaction has failed with that has to run again. Nobody sees it.
var errMissing = penstock.E(penstock.Internal, "run a transaction", "", "it lacks what it reads")

// need asks for what the transaction can't go on without, and goes on where it is fetched at once.
func (t *tx) need(ask func(*wants)) {
	g := t.g
	ask(&g.wants)
	if g.direct && g.locks() {
		if err := g.d.fetch(); err != nil {
			g.wants.failed = err
			panic(missing{})
		}
		return
	}
	panic(missing{})
}

// locks says that all parts that were touched are locked.
func (g *group) locks() bool {
	for p := range g.touched {
		if !g.locked[p] {
			return false
		}
	}
	return true
}

func (t *tx) live() error {
	if t.ended {
		return penstock.E(penstock.Internal, "use a transaction", t.g.d.where(), "it has ended: a Tx is only good inside its function")
	}
	return nil
}

// touch notes that the transaction needs a part for itself.
func (t *tx) touch(name string) int {
	p := store.Home(name, len(t.g.parts))
	t.part(p)
	return p
}

func (t *tx) part(p int) {
	g := t.g
	if g.touched[p] {
		return
	}
	g.touched[p] = true
	if g.locked != nil && !g.locked[p] {
		panic(missing{})
	}
}

// Holds says whether a lease on a part holds, and sees to it that it does until the transaction is durable. It implements lease.Fence.
func (t *tx) Holds(p int, owner string, epoch int64) (bool, error) {
	if err := t.live(); err != nil {
		return false, err
	}
	g := t.g
	if p < 0 || p >= len(g.parts) {
		return false, penstock.E(penstock.Invalid, "test a lease", g.d.where(), fmt.Sprintf("there is no part %d", p))
	}
	t.part(p)
	is := &g.parts[p]
	holds := is.known && is.owner == owner && is.epoch == epoch
	if !holds && !g.locked[p] { // what is remembered may be old
		g.wants.locks = true
		panic(missing{})
	}
	if mutation.On("pg-no-fence") {
		return true, nil
	}
	if holds {
		g.fences[p] = &fence{owner, epoch}
	}
	return holds, nil
}

// channel finds a channel; one that is not there has no id.
func (t *tx) channel(name string) *channel {
	p := t.touch(name)
	g := t.g
	ch := g.parts[p].channels[name]
	if ch == nil {
		t.need(func(w *wants) { w.channels[name] = true })
		ch = g.parts[p].channels[name]
	}
	if !ch.used {
		ch.used = true
		g.used.chans = append(g.used.chans, ch)
		g.used.channels[name] = true
	}
	return ch
}

// change notes how to take back what is done to a channel.
func (t *tx) change(ch *channel) {
	g := t.g
	g.journal.channels = append(g.journal.channels, channelBefore{ch, ch.row, len(ch.added)})
	if !ch.queued {
		ch.queued = true
		g.opened = append(g.opened, ch)
	}
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
	ch := t.channel(name)
	base := ch.end()
	if b.N == 0 {
		return base, nil
	}
	if base+int64(b.N) > maxPosition {
		return 0, penstock.E(penstock.TooLarge, "append", name, fmt.Sprintf("the channel has come to its last position, %d", int64(maxPosition)))
	}
	g := t.g
	if ch.id == 0 {
		ch.id = g.id(t)
	}
	g.count += int64(b.N)
	g.bytes += int64(len(b.Data))
	if n := len(ch.added); n > 0 && ch.added[n-1].turn == t.turn {
		last := &ch.added[n-1]
		last.n += int64(b.N)
		last.min, last.max = min(last.min, b.MinTime), max(last.max, b.MaxTime)
		last.data = append(last.data, b.Data...)
		return base, nil
	}
	t.change(ch)
	ch.added = append(ch.added, bundle{base: base, n: int64(b.N), min: b.MinTime, max: b.MaxTime, data: bytes.Clone(b.Data), turn: t.turn})
	return base, nil
}

// space finds a space.
func (t *tx) space(name string) *space {
	p := t.touch(name)
	g := t.g
	sp := g.parts[p].spaces[name]
	if sp == nil {
		t.need(func(w *wants) { w.spaces[name] = true })
		sp = g.parts[p].spaces[name]
	}
	g.used.spaces[name] = true
	return sp
}

// cell finds a cell, of which perhaps nothing is known.
func (t *tx) cell(sp *space, key []byte) *cell {
	c := sp.cells[string(key)]
	if c == nil {
		c = &cell{sp: sp, key: string(key), stored: storedUnknown}
		if !sp.saved {
			c.known, c.stored = true, storedNothing
		}
		sp.cells[c.key] = c
		t.g.size += int64(len(key)) + 160
	}
	return c
}

// look finds a cell that is known; nil: it is not known yet. Then the transaction goes on as if it were not there: mostly it asks for more of that
// kind, which is fetched at once for the run that counts.
func (t *tx) look(sp *space, key []byte) *cell {
	c := t.cell(sp, key)
	if !c.used {
		c.used = true
		t.g.used.cells = append(t.g.used.cells, c)
	}
	if !c.known {
		ref := cellRef{sp.name, c.key}
		if !t.g.direct {
			t.g.wants.cells[ref], t.lacks = true, true
			return nil
		}
		t.need(func(w *wants) { w.cells[ref] = true })
	}
	return c
}

// set changes a cell.
func (t *tx) set(c *cell, there bool, value []byte, due int64) {
	g := t.g
	if c.turn != t.turn {
		g.journal.cells = append(g.journal.cells, *c)
		g.journal.of = append(g.journal.of, c)
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
	if sp.id == 0 {
		sp.id = t.g.id(t)
	}
	t.set(t.cell(sp, e.Key), true, append([]byte{}, e.Value...), e.Due)
	return nil
}

// Delete implements store.Writer.
func (t *tx) Delete(space string, key []byte) error {
	if err := t.live(); err != nil {
		return err
	}
	sp := t.space(space)
	if sp.id == 0 {
		return nil
	}
	c := t.cell(sp, key)
	if c.known && !c.there {
		return nil
	}
	t.set(c, false, nil, 0)
	return nil
}

// Clear implements store.Writer. The space gets another number, and the entries of the old one are removed bit by bit.
func (t *tx) Clear(name string) error {
	if err := t.live(); err != nil {
		return err
	}
	old := t.space(name)
	if old.id == 0 {
		return nil
	}
	g := t.g
	spaces := g.parts[old.p].spaces
	fresh := &space{name: name, p: old.p, cells: map[string]*cell{}}
	spaces[name] = fresh
	if old.saved {
		g.cleared = append(g.cleared, old)
	}
	// Cells of the old one that are gathered are not written: see flush.
	g.journal.others = append(g.journal.others, func() {
		spaces[name] = old
		g.cleared = slices.DeleteFunc(g.cleared, func(sp *space) bool { return sp == old })
	})
	return nil
}

// Drop implements store.Writer. The segments are out of sight with the commit, and are removed bit by bit.
func (t *tx) Drop(name string, before int64) (int, error) {
	if err := t.live(); err != nil {
		return 0, err
	}
	ch := t.channel(name)
	if before <= ch.first {
		return 0, nil
	}
	is := ch.row
	dropped := 0
	if is.first < is.next {
		if before >= is.next {
			dropped = int(is.seq - is.firstSeq)
			is.first, is.firstSeq, is.firstTotal, is.oldest = is.next, is.seq, is.total, 0
		} else {
			s := t.dropAt(ch, before)
			dropped = int(s.seq - 1 - is.firstSeq)
			is.first, is.firstSeq, is.firstTotal, is.oldest = s.base, s.seq-1, s.total-s.size, s.min
			if mutation.On("pg-drop-partly-unread") && s.base < before {
				is.first = s.base + s.n
			}
		}
	}
	if is.first >= is.next { // what others of the group have appended
		for _, r := range t.visible(ch, is.first) {
			if r.end() > before {
				break
			}
			is.first = r.end()
			dropped++
		}
	}
	if is.first == ch.first {
		return 0, nil
	}
	t.change(ch)
	ch.row = is
	return dropped, nil
}
