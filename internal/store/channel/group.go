package channel

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// cursorSpace is where the cursors of a channel's groups are.
func cursorSpace(channel string) string { return "group/" + channel }

// Group reads a channel; its readers share the messages. It is safe for concurrent use.
type Group struct {
	c    *Channel
	name string

	at     int64 // hub.mu: how far it has read
	joined int   // hub.mu: readers

	mu       sync.Mutex // comes before hub.mu
	done     done       // durably
	read     int64      // position that is read next
	cur      frames     // that it is in
	ahead    []store.Segment
	fetching bool
	pages    pages
	flight   int // messages that readers have
	waiting  int // messages that were read, or given back, and are with no reader
	held     int64
	readers  int
	keyed    bool             // lines are kept: there are several readers, or something was given back
	lines    map[uint64]*line // of keys with messages that are not acknowledged
	ready    fifo             // lines without an owner whose first message can be given out
	back     map[int64]*given
	delays   delays
	beyond   []*line         // lines whose first message was given back, at or behind read
	nacking  map[int64]int64 // due times of Nacks whose transactions are on their way
	lost     []Range         // positions that are gone from the log
	ended    bool
	crowded  bool // a reader waits for room
	poke     bool // readers that wait must look again
}

// frames are the rest of a segment.
type frames struct {
	data     []byte
	pos, end int64
	time     int64
}

// given is a message that was given back durably: its cursor is past it.
type given struct {
	due    int64
	time   int64 // when its segment was stored
	nacks  int
	record []byte // while a reader has it
	reader *Reader
	line   *line
}

// Group opens a group, or makes it. A Start other than Stored sets its cursor, and forgets what was given back from there on. A group that
// is open already is returned as it is, whatever the Start.
func (c *Channel) Group(ctx context.Context, name string, from Start) (*Group, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	h := c.hub
	h.mu.Lock()
	g, closed := c.groups[name], h.closed
	h.mu.Unlock()
	switch {
	case g != nil:
		return g, nil
	case closed:
		return nil, errClosed(c.config.Name)
	}
	g = &Group{c: c, name: name, lines: map[uint64]*line{}, back: map[int64]*given{}, nacking: map[int64]int64{}}
	g.pages.m = map[int64]*page{}
	stored := false
	err := h.view(ctx, func(v store.View) (err error) {
		stored, err = g.load(v)
		return err
	})
	if err == nil && (!stored || from.kind != fromStored) {
		err = g.begin(ctx, from)
	}
	g.read = g.done.low
	if err == nil {
		err = g.loadBack(ctx)
	}
	if err != nil {
		return nil, wrap("open group "+name, c.config.Name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	g.at = g.read
	c.groups[name] = g
	return g, nil
}

// load reads the cursor.
func (g *Group) load(v store.View) (stored bool, err error) {
	e, ok, err := v.State().Get(cursorSpace(g.c.config.Name), []byte(g.name))
	if err != nil || !ok {
		return false, err
	}
	g.done, err = parseDone(e.Value)
	return true, err
}

// begin writes a new cursor.
func (g *Group) begin(ctx context.Context, from Start) error {
	name := g.c.config.Name
	var fresh done
	err := g.c.hub.store.Submit(store.Small, func(tx store.Tx) error {
		b, err := tx.Log().Bounds(name)
		if err != nil {
			return err
		}
		fresh = done{low: b.First}
		switch from.kind {
		case fromEnd:
			fresh.low = b.Next
		case fromPosition:
			fresh.low = min(max(from.pos, b.First), b.Next)
		case fromTime:
			if fresh.low, err = tx.Log().Seek(name, from.time); err != nil {
				return err
			}
			fresh.low = min(max(fresh.low, b.First), b.Next)
		}
		if err := g.forget(tx, Range{fresh.low, 1<<63 - 1}); err != nil {
			return err
		}
		return tx.Put(cursorSpace(name), store.Entry{Key: []byte(g.name), Value: fresh.value()})
	}).Wait(ctx)
	if err == nil { // else the transaction may still be on its way
		g.done = fresh
	}
	return err
}

// pageEntries is how many entries are scanned at a time.
const pageEntries = 256

// forget removes what was given back of positions in r.
func (g *Group) forget(tx store.Tx, r Range) error {
	space := backSpace(g.c.config.Name)
	after := before(backKey(g.name, r.From))
	for {
		all, err := tx.State().Scan(space, after, pageEntries)
		if err != nil {
			return err
		}
		for _, e := range all {
			pos, ok := readBackKey(g.name, e.Key)
			if !ok || pos >= r.To {
				return nil
			}
			if pos >= r.From {
				if err := tx.Delete(space, e.Key); err != nil {
					return err
				}
			}
			after = e.Key
		}
		if len(all) < pageEntries {
			return nil
		}
	}
}

// before is a key behind which key is found, and nothing of an earlier position.
func before(key []byte) []byte {
	n := len(key) - 8
	pos := binary.BigEndian.Uint64(key[n:])
	if pos == 0 {
		return key[:n] // without the position
	}
	return binary.BigEndian.AppendUint64(key[:n:n], pos-1)
}

// Name is the group's name.
func (g *Group) Name() string { return g.name }

// Ack acknowledges messages in a transaction: once it is durable they are never given out again, to nobody, whatever
// happens. Positions that were acknowledged before, or given back to others, do no harm. It works on what the
// transactions before this one have left, so the order of the transactions is that of the acknowledgements. When the
// transaction is durable, Acked must be called with the same positions.
func (g *Group) Ack(tx store.Tx, positions []Range) error {
	cur, err := g.cursor(tx)
	if err != nil {
		return err
	}
	for _, r := range positions {
		if r.From < 0 || r.To < r.From {
			return g.wrong("acknowledge", fmt.Errorf("%d to %d are no positions", r.From, r.To))
		}
		if cur.overlaps(r) { // some of them were given back before
			if err := g.answered(tx, r); err != nil {
				return err
			}
		}
		if mutation.On("cursor-skips") {
			r.From = 0
		}
		cur.add(r)
	}
	return g.put(tx, cur)
}

// few positions are looked up one by one, more are looked for.
const few = 16

// answered removes what was given back of positions in r, one by one where they are few: a scan reads messages.
func (g *Group) answered(tx store.Tx, r Range) error {
	if r.To-r.From > few {
		return g.forget(tx, r)
	}
	for pos := r.From; pos < r.To; pos++ {
		if err := tx.Delete(backSpace(g.c.config.Name), backKey(g.name, pos)); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) wrong(op string, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: op, Path: g.c.config.Name, Err: err}
}

// cursor reads the cursor that a transaction sees.
func (g *Group) cursor(tx store.Tx) (done, error) {
	e, ok, err := tx.State().Get(cursorSpace(g.c.config.Name), []byte(g.name))
	if err != nil || !ok {
		return done{}, err
	}
	return parseDone(e.Value)
}

func (g *Group) put(tx store.Tx, cur done) error {
	g.mu.Lock()
	for _, r := range g.lost {
		cur.add(r)
	}
	g.mu.Unlock()
	return tx.Put(cursorSpace(g.c.config.Name), store.Entry{Key: []byte(g.name), Value: cur.value()})
}

// Acked says that an Ack of these positions is durable: their memory and their keys are free.
func (g *Group) Acked(positions []Range) {
	g.mu.Lock()
	for _, r := range positions {
		if len(g.back) > 0 && g.done.overlaps(r) {
			g.takeBacks(r)
		}
		g.done.add(r)
		g.finish(r)
	}
	g.unlock()
}

// End says that nothing more will be appended: readers see the end when they have everything, those of a queue when everything is
// acknowledged.
func (g *Group) End() {
	g.mu.Lock()
	g.ended, g.poke = true, true
	g.unlock()
}

// unlock wakes who has to look again.
func (g *Group) unlock() {
	if g.crowded && !g.full() {
		g.crowded, g.poke = false, true
	}
	if g.poke || g.ended && g.over(g.c.Next()) {
		g.poke = false
		g.c.hub.mu.Lock()
		g.c.wake(g)
		g.c.hub.mu.Unlock()
	}
	g.mu.Unlock()
}

// over says that readers have seen the end, next being that of the log.
func (g *Group) over(next int64) bool {
	return g.ended && g.read >= next && g.waiting == 0 && (g.flight == 0 || !g.c.now.Load().Queue)
}

// Lag is how many messages are not acknowledged, and how old the oldest of them is.
func (g *Group) Lag() (messages int64, age time.Duration) {
	next := g.c.Next()
	g.mu.Lock()
	low, oldest := g.done.low, int64(math.MaxInt64)
	messages = max(0, next-low) - g.done.above(next) + int64(len(g.back))
	for _, b := range g.back {
		oldest = min(oldest, b.time)
	}
	at, ok := g.timeOf(low)
	g.mu.Unlock()
	if !ok && low < next {
		_ = g.c.hub.view(context.Background(), func(v store.View) error {
			all, err := v.Log().Segments(g.c.config.Name, low, 1)
			if err == nil && len(all) > 0 {
				at, ok = all[0].MinTime, true
			}
			return err
		})
	}
	if ok {
		oldest = min(oldest, at)
	}
	if messages == 0 || oldest == math.MaxInt64 {
		return messages, 0
	}
	return messages, max(0, time.Duration(g.c.hub.clock.Now().UnixNano()-oldest))
}

// timeOf is when the message at pos came, where that is known in memory.
func (g *Group) timeOf(pos int64) (at int64, ok bool) {
	if p := g.pages.m[pos>>pageShift]; p != nil && pos < g.read {
		return p.time, true
	}
	if pos >= g.cur.pos && pos < g.cur.end {
		return g.cur.time, true
	}
	if len(g.ahead) > 0 && g.ahead[0].Base <= pos && pos < g.ahead[0].End() {
		return g.ahead[0].MinTime, true
	}
	g.c.hub.mu.Lock()
	defer g.c.hub.mu.Unlock()
	s, ok := g.c.recent(pos)
	return s.MinTime, ok
}

var keySeed = maphash.MakeSeed()

// Reopen takes End back: there is somebody who sends again.
func (g *Group) Reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = false
}
