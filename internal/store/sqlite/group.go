package sqlite

import (
	"cmp"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// cacheBytes bounds each of the two generations of entries that the writer remembers.
const cacheBytes = 8 << 20

// group is what a commit gathers before it is written: bundles by channel, and entries. It belongs to the writer's goroutine,
// and stays from commit to commit: its entries are the writer's cache, which is right as nobody else writes.
type group struct {
	d         *DB
	w         *conn
	channels  map[string]*channel
	spaces    map[string]*space
	nextChan  int64
	nextSpace int64

	cells, older map[cellKey]*cell
	size         int64 // of cells

	dirty    []*cell
	dirtySp  []*space
	appended []*channel // with messages that are not written yet
	written  []segment  // in this commit
	sweeping map[int64]*channel
	clearing []int64 // spaces that were cleared and still have entries
	messages int64
	bytes    int64 // of messages and entries
	buffer   []byte
	broken   error // an error of the disk
}

// channel is what the writer knows of a channel.
type channel struct {
	channelRow        // as after everything that is written or gathered
	saved      bool   // has its row
	n          int64  // messages that are gathered
	data       []byte // their frames
	min, max   int64
	turn       int64 // the transaction that changed it last
}

// segment is one that this commit has written.
type segment struct {
	ch *channel
	s  store.Segment
}

type space struct {
	id, entries, bytes int64
	name               string
	saved, dirty       bool
}

type cellKey struct {
	space int64
	key   string
}

// What is stored of a cell, if not its size.
const (
	storedUnknown = -2
	storedNothing = -1
)

// cell is an entry that was read or written.
type cell struct {
	sp     *space
	key    []byte
	value  []byte
	due    int64
	there  bool  // false: there is no such entry
	known  bool  // value and due are known; false: only that it is not known
	dirty  bool  // not written yet
	queued bool  // in group.dirty
	turn   int64 // the transaction that changed it last
	stored int64 // bytes of key and value in the file
}

func newGroup(d *DB) (*group, error) {
	g := &group{d: d, w: d.w, channels: map[string]*channel{}, spaces: map[string]*space{}, cells: map[cellKey]*cell{},
		sweeping: map[int64]*channel{}, nextChan: 1, nextSpace: 1}
	r := g.reader()
	err := g.w.query(sqlChannels, func(v []driver.Value) (bool, error) {
		row, err := r.channelRow(v)
		if err != nil {
			return false, err
		}
		ch := &channel{channelRow: row, saved: true}
		g.channels[ch.name] = ch
		g.nextChan = max(g.nextChan, ch.id+1)
		if ch.first > 0 {
			g.sweeping[ch.id] = ch
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	err = g.w.textRows("SELECT id, name, entries, bytes, crc FROM space", func(v []driver.Value) (bool, error) {
		row, err := r.spaceRow(v)
		if err != nil {
			return false, err
		}
		sp := &space{id: row.id, name: row.name, entries: row.entries, bytes: row.bytes, saved: true}
		g.nextSpace = max(g.nextSpace, sp.id+1)
		if row.cleared {
			g.clearing = append(g.clearing, sp.id)
		} else {
			g.spaces[sp.name] = sp
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	// A channel's last segment knows better than its row: one seek each.
	for _, ch := range g.channels {
		last, ok, err := r.at(ch.channelRow, maxPosition)
		if err != nil {
			return nil, err
		}
		if ok {
			ch.next, ch.seq, ch.total, ch.hi = last.end(), last.seq, last.total, last.hi
		}
	}
	return g, nil
}

func (g *group) reader() *reader {
	return &reader{c: g.w, going: func() error { return g.broken }, path: g.d.o.Path}
}

// disk notes an error of the disk; the store ends with it after this transaction.
func (g *group) disk(err error) error {
	var own *penstock.Error
	if err != nil && g.broken == nil && !errors.As(err, &own) {
		g.broken = err
	}
	return err
}

// channel finds a channel, or makes it.
func (g *group) channel(name string) (*channel, error) {
	if ch := g.channels[name]; ch != nil {
		return ch, nil
	}
	if g.nextChan > maxChannel {
		return nil, penstock.E(penstock.TooLarge, "append", name, fmt.Sprintf("the store has all the %d channels that it can have", maxChannel))
	}
	ch := &channel{channelRow: channelRow{id: g.nextChan, name: name}}
	g.nextChan++
	g.channels[name] = ch
	return ch, nil
}

// space finds a space, or makes it.
func (g *group) space(name string) *space {
	if sp := g.spaces[name]; sp != nil {
		return sp
	}
	sp := &space{id: g.nextSpace, name: name}
	g.nextSpace++
	g.spaces[name] = sp
	return sp
}

// remembered finds a cell without asking the file.
func (g *group) remembered(sp *space, key []byte) *cell {
	k := cellKey{sp.id, unsafe.String(unsafe.SliceData(key), len(key))}
	if c := g.cells[k]; c != nil {
		return c
	}
	if c := g.older[k]; c != nil {
		g.remember(c)
		return c
	}
	return nil
}

// remember takes a cell into the cache.
func (g *group) remember(c *cell) {
	g.cells[cellKey{c.sp.id, unsafe.String(unsafe.SliceData(c.key), len(c.key))}] = c
	g.size += int64(len(c.key)+len(c.value)) + 160
}

// forget shortens the cache. Only between commits: nothing is dirty then.
func (g *group) forget() {
	if g.size < cacheBytes {
		return
	}
	g.older, g.size = g.cells, 0
	g.cells = make(map[cellKey]*cell, len(g.older)/2)
}

// newCell makes a cell of which nothing is known. The key is copied, together with room for the value.
func (g *group) newCell(sp *space, key []byte) *cell {
	c := &cell{sp: sp, key: slices.Clone(blob(key)), stored: storedUnknown}
	g.remember(c)
	return c
}

// look finds an entry, in the cache or in the file.
func (g *group) look(sp *space, key []byte) (*cell, error) {
	c := g.remembered(sp, key)
	if c != nil && c.known {
		return c, nil
	}
	if c == nil {
		c = g.newCell(sp, key)
	}
	if sp.saved {
		e, ok, err := g.reader().get(sp.id, sp.name, key)
		if err != nil {
			return nil, g.disk(err)
		}
		c.there, c.value, c.due = ok, e.Value, e.Due
		g.size += int64(len(e.Value))
	}
	c.known, c.stored = true, storedNothing
	if c.there {
		c.stored = int64(len(c.key) + len(c.value))
	}
	return c, nil
}

// flush writes what is gathered into the transaction of the file.
func (g *group) flush() error {
	if err := g.flushEntries(); err != nil {
		return g.disk(err)
	}
	return g.disk(g.flushMessages())
}

func (g *group) flushMessages() error {
	for _, ch := range g.appended {
		if ch.n == 0 {
			continue
		}
		if !ch.saved {
			if err := g.saveChannel(ch, 0, 0); err != nil {
				return err
			}
		}
		base := ch.next - ch.n
		ch.seq++
		ch.total += int64(len(ch.data))
		ch.hi = max(ch.hi, ch.max)
		if ch.seq == 1 {
			ch.hi = ch.max
		}
		id := ch.id<<positionBits | base
		sum := checksum(ch.data, id, ch.n, ch.min, ch.max, ch.hi, ch.seq, ch.total)
		if _, err := g.w.exec(sqlPutSegment, id, ch.n, ch.min, ch.max, ch.hi, ch.seq, ch.total, sum, ch.data); err != nil {
			return fmt.Errorf("append to channel %s: %w", ch.name, err)
		}
		g.written = append(g.written, segment{ch, store.Segment{Channel: ch.name, Base: base, N: int(ch.n), MinTime: ch.min, MaxTime: ch.max, Data: ch.data}})
		g.messages += ch.n
		ch.n, ch.data = 0, nil
	}
	g.appended = g.appended[:0]
	return nil
}

// saveChannel writes a channel's row: less of its own messages that are not in the file.
func (g *group) saveChannel(ch *channel, first, next int64) error {
	if mutation.On("next-forgotten") {
		next = 0
	}
	row := ch.channelRow
	row.first, row.next = first, next
	_, err := g.w.exec(sqlPutChannel, row.id, row.name, first, next, row.seq, row.total, row.hi, row.sum())
	ch.saved = err == nil
	return err
}

func (g *group) flushEntries() error {
	// In the order of the tree: neighbours share pages.
	slices.SortFunc(g.dirty, func(a, b *cell) int {
		return cmp.Or(cmp.Compare(a.sp.id, b.sp.id), slices.Compare(a.key, b.key))
	})
	for _, c := range g.dirty {
		c.queued = false
		if !c.dirty { // undone
			continue
		}
		if err := g.writeCell(c); err != nil {
			return fmt.Errorf("write an entry of space %s: %w", c.sp.name, err)
		}
		c.dirty = false
	}
	clear(g.dirty)
	g.dirty = g.dirty[:0]
	for _, sp := range g.dirtySp {
		if !sp.dirty {
			continue
		}
		sp.dirty, sp.saved = false, true
		if _, err := g.w.exec(sqlPutSpace, sp.id, sp.name, sp.entries, sp.bytes, spaceSum(sp.id, sp.entries, sp.bytes, sp.name)); err != nil {
			return fmt.Errorf("write space %s: %w", sp.name, err)
		}
	}
	g.dirtySp = g.dirtySp[:0]
	return nil
}

func (g *group) writeCell(c *cell) error {
	sp := c.sp
	size := int64(storedNothing)
	if c.there {
		size = int64(len(c.key) + len(c.value))
	}
	if c.stored == storedUnknown && !sp.saved {
		c.stored = storedNothing
	}
	var sum driver.Value
	if c.there {
		sum = entrySum(sp.id, c.key, c.due, c.value)
	}
	// The parameters are made for each call: boxed values that are shared between statements would be kept by none.
	put := func(id sqlID) (int64, error) { return g.w.exec(id, sp.id, c.key, c.due, sum, blob(c.value)) }
	before := c.stored
	switch {
	case c.there && before == storedUnknown:
		n, err := put(sqlInsertNew)
		if err != nil {
			return err
		}
		before = storedNothing
		if n == 0 {
			if before, err = g.storedSize(c); err != nil {
				return err
			}
			if _, err = put(sqlUpdate); err != nil {
				return err
			}
		}
	case c.there && before == storedNothing:
		if _, err := put(sqlInsert); err != nil {
			return err
		}
	case c.there:
		if _, err := put(sqlUpdate); err != nil {
			return err
		}
	case before != storedNothing:
		var err error
		if before == storedUnknown {
			if before, err = g.storedSize(c); err != nil {
				return err
			}
		}
		if before != storedNothing {
			if _, err := g.w.exec(sqlDelete, sp.id, c.key); err != nil {
				return err
			}
		}
	}
	c.stored = size
	switch {
	case before == storedNothing && size != storedNothing:
		sp.entries++
		sp.bytes += size
	case before != storedNothing && size == storedNothing:
		sp.entries--
		sp.bytes -= before
	case before != storedNothing:
		sp.bytes += size - before
		if size == before {
			return nil
		}
	default:
		return nil
	}
	g.touch(sp)
	return nil
}

// touch notes that a space's row has to be written.
func (g *group) touch(sp *space) {
	if !sp.dirty {
		sp.dirty = true
		g.dirtySp = append(g.dirtySp, sp)
	}
}

func (g *group) storedSize(c *cell) (size int64, err error) {
	size = storedNothing
	err = g.w.query(sqlSize, func(v []driver.Value) (bool, error) {
		size = int64(len(c.key)) + number(v[0])
		return false, nil
	}, c.sp.id, c.key)
	return size, err
}

// reset makes the group ready for the next commit.
func (g *group) reset() {
	clear(g.written)
	g.written = g.written[:0]
	g.messages, g.bytes = 0, 0
	g.forget()
}
