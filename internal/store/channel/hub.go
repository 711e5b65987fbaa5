// Package channel makes topics and queues of the logs of a store.
//
// A channel is a log of messages. A group reads it: every group gets every message, and the readers of one group share
// them. Of the messages of one key (package record) that are not acknowledged, all are with one reader, and they are given out in
// order. What a group has acknowledged is written in the transaction of what was made of it, so that nothing is
// done twice, or lost, by a crash in between.
//
// A Hub keeps the newest messages of its channels in memory until all who read at the end have them: these never ask the
// disk. Who is behind reads pages of the log, in views of their own, and takes nothing from that memory.
//
// # In the store
//
//   - `group/<channel>`: a group's cursor, by its name: the position before which everything is done, and ranges above it. Done is
//     what was acknowledged, or given back with a delay.
//   - `nack/<channel>`: what was given back, by group and position, with the time when it is due and a copy of the message: it
//     does not hold back the cursor, nor the messages behind it in the log.
package channel

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// Options are those of a Hub. The zero Options are the defaults.
type Options struct {
	// Cache is how many bytes of recent messages are kept for readers at the end of their channels, over all of them. Default
	// 16 MiB. Who falls behind by more reads from the disk until it is at the end again.
	Cache int64
	// Held is how many bytes of messages each group holds that can't be given out yet, since an earlier one of their key is with another
	// reader or was given back. Default 16 MiB; at most 65536 messages. At the bound the group reads no further, whatever the
	// key, until some of them are given out.
	Held int64
	// Page is how many bytes are read from the disk at a time. Default 1 MiB.
	Page int
	// Key finds the key of a message; "" is none: it has no order. Default record.Key.
	Key func(message []byte) string
}

const (
	defaultCache = 16 << 20
	defaultHeld  = 16 << 20
	defaultPage  = 1 << 20
	maxHeld      = 1 << 16
)

// Hub opens the channels of a store. There is one for a store at a time: it knows of what is read through it alone. It is
// safe for concurrent use.
type Hub struct {
	store store.Store
	clock penstock.Clock
	opts  Options

	mu       sync.Mutex // of all that follows, and of what channels say that it guards. It is the last one to be locked.
	channels map[string]*Channel
	recent   list.List // of *segment, of all channels, oldest first
	size     int64     // bytes of them
	closed   bool
}

// NewHub makes a Hub over s. Delays go by clock.
func NewHub(s store.Store, clock penstock.Clock, o Options) *Hub {
	if o.Cache <= 0 {
		o.Cache = defaultCache
	}
	if o.Held <= 0 {
		o.Held = defaultHeld
	}
	if o.Page <= 0 {
		o.Page = defaultPage
	}
	if o.Key == nil {
		o.Key = record.Key
	}
	return &Hub{store: s, clock: clock, opts: o, channels: map[string]*Channel{}}
}

// Config describes a channel.
type Config struct {
	Name string
	// Queue says that what all groups have acknowledged can go at once. Else, a topic, it is kept for replays.
	Queue bool
	// Retain is how long a topic keeps messages that all its groups have acknowledged, RetainBytes how many bytes of messages
	// it keeps at most, as long as they have. 0: without bound.
	Retain      time.Duration
	RetainBytes int64
}

// Channel is an open channel. It is safe for concurrent use.
type Channel struct {
	hub    *Hub
	config Config // the first
	now    atomic.Pointer[Config]
	cancel func() // of the store's notices

	opening sync.Mutex // one group is opened at a time

	// The rest is guarded by hub.mu.
	next    int64      // position behind the last durable message
	tail    []*segment // of hub.recent: those of this channel, in order and without gaps, up to next
	groups  map[string]*Group
	waiters map[*waiter]struct{}
}

// segment is a segment in memory.
type segment struct {
	store.Segment
	c    *Channel
	elem *list.Element
}

// Open opens a channel; it need not have any messages yet. To open it again gives the same, with the first Config.
func (h *Hub) Open(config Config) (*Channel, error) {
	h.mu.Lock()
	if c := h.channels[config.Name]; c != nil {
		h.mu.Unlock()
		return c, nil
	}
	if h.closed {
		h.mu.Unlock()
		return nil, errClosed(config.Name)
	}
	c := &Channel{hub: h, config: config, groups: map[string]*Group{}, waiters: map[*waiter]struct{}{}}
	c.now.Store(&config)
	h.channels[config.Name] = c
	h.mu.Unlock()
	cancel := h.store.Notify(config.Name, c.notice)
	h.mu.Lock()
	c.cancel = cancel
	h.mu.Unlock()
	err := h.view(context.Background(), func(v store.View) error {
		b, err := v.Log().Bounds(config.Name)
		if err != nil {
			return err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		c.next = max(c.next, b.Next)
		c.wake(nil) // of who has opened it meanwhile, too
		return nil
	})
	if err != nil {
		cancel()
		h.mu.Lock()
		delete(h.channels, config.Name)
		h.mu.Unlock()
		return nil, wrap("open channel", config.Name, err)
	}
	return c, nil
}

// Close ends the hub: readers that wait get an error, and the store's notices are no longer listened to. The store stays
// open.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	var cancels []func()
	for _, c := range h.channels {
		cancels = append(cancels, c.cancel)
		c.wake(nil)
	}
	h.mu.Unlock()
	for _, f := range cancels {
		if f != nil {
			f()
		}
	}
}

func errClosed(name string) error {
	return &penstock.Error{Code: penstock.Cancelled, Op: "channel", Path: name, Err: errors.New("the run has closed its channels")}
}

func wrap(op, name string, err error) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Op: op, Path: name, Err: err}
}

// viewTries is how often a view that took too long is tried again.
const viewTries = 5

// view is a view of the store that is tried again where the store has ended it for taking too long.
func (h *Hub) view(ctx context.Context, f func(store.View) error) (err error) {
	for range viewTries {
		err = h.store.View(ctx, f)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return err
}

// Name is the channel's name.
func (c *Channel) Name() string { return c.config.Name }

// Next is the position that the next message gets: how many there ever were.
func (c *Channel) Next() int64 {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.next
}

// notice takes a segment that has become durable. It runs on the store's own goroutine.
func (c *Channel) notice(g store.Segment) {
	h := c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.End() <= c.next || h.closed {
		return
	}
	if n := len(c.tail); n > 0 && c.tail[n-1].End() != g.Base { // it can't be; what is in memory must have no gaps
		c.trim(g.Base)
	}
	c.next = g.End()
	if c.wanted() {
		s := &segment{Segment: g, c: c}
		s.elem = h.recent.PushBack(s)
		c.tail = append(c.tail, s)
		h.size += int64(len(g.Data))
		for h.size > h.opts.Cache && h.recent.Len() > 1 { // the newest is always kept
			oldest := h.recent.Front().Value.(*segment)
			oldest.c.trim(oldest.End())
		}
	} else {
		c.trim(g.End())
	}
	c.wake(nil)
}

// wanted says that somebody reads the channel through this hub.
func (c *Channel) wanted() bool {
	for _, g := range c.groups {
		if g.joined > 0 {
			return true
		}
	}
	return false
}

// trim forgets the segments in memory that end at or before pos.
func (c *Channel) trim(pos int64) {
	n := 0
	for n < len(c.tail) && c.tail[n].End() <= pos {
		s := c.tail[n]
		c.hub.size -= int64(len(s.Data))
		c.hub.recent.Remove(s.elem)
		c.tail[n] = nil
		n++
	}
	c.tail = c.tail[n:]
	if len(c.tail) == 0 {
		c.tail = nil
	}
}

// passed says that g has read up to pos: what nobody needs any more is forgotten.
func (c *Channel) passed(g *Group, pos int64) {
	g.at = pos
	for _, o := range c.groups {
		if o.joined > 0 {
			pos = min(pos, o.at)
		}
	}
	c.trim(pos)
}

// recent finds the segment in memory that has the message at pos.
func (c *Channel) recent(pos int64) (store.Segment, bool) {
	i := sort.Search(len(c.tail), func(i int) bool { return c.tail[i].End() > pos })
	if i == len(c.tail) || c.tail[i].Base > pos {
		return store.Segment{}, false
	}
	return c.tail[i].Segment, true
}

// waiter is a reader that waits.
type waiter struct {
	g     *Group
	waits Waits
	c     chan struct{}
	woken bool
}

// wake wakes the readers that wait, of g or (nil) of all groups. hub.mu must be held.
func (c *Channel) wake(g *Group) {
	for w := range c.waiters {
		if g == nil || w.g == g {
			c.wakeOne(w)
		}
	}
}

func (c *Channel) wakeOne(w *waiter) {
	if w.woken {
		return
	}
	w.woken = true
	delete(c.waiters, w)
	w.waits.busy()
	close(w.c)
}

// Waits tells when a reader waits and when it no longer does, for whoever has to know when nothing can go on. Either may be
// nil.
type Waits struct {
	Idle func() // called when Next begins to wait
	Busy func() // called by whoever ends the waiting, before the reader is woken, and under locks: it must not call back
}

func (w Waits) idle() {
	if w.Idle != nil {
		w.Idle()
	}
}

func (w Waits) busy() {
	if w.Busy != nil {
		w.Busy()
	}
}

// Start says where a group begins to read. The zero Start is Stored.
type Start struct {
	kind startKind
	time time.Time
	pos  int64
}

type startKind uint8

const (
	fromStored startKind = iota
	fromBeginning
	fromEnd
	fromTime
	fromPosition
)

// Stored begins where the group stopped; a new group begins at the beginning.
func Stored() Start { return Start{} }

// Beginning begins with the oldest message that is kept.
func Beginning() Start { return Start{kind: fromBeginning} }

// End begins with what comes from now on.
func End() Start { return Start{kind: fromEnd} }

// At begins with the messages that came at t or later, and those that were stored together with the first of them.
func At(t time.Time) Start { return Start{kind: fromTime, time: t} }

// Position begins with the message at pos, or the oldest that is kept.
func Position(pos int64) Start { return Start{kind: fromPosition, pos: pos} }

func (s Start) String() string {
	switch s.kind {
	case fromBeginning:
		return "the beginning"
	case fromEnd:
		return "the end"
	case fromTime:
		return s.time.Format(time.RFC3339)
	case fromPosition:
		return fmt.Sprintf("position %d", s.pos)
	}
	return "where it stopped"
}

// Configure changes how the channel is kept from now on. Its name stays.
func (c *Channel) Configure(config Config) {
	config.Name = c.config.Name
	c.now.Store(&config)
}
