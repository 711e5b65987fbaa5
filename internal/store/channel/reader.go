package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Delivery is a message that a reader was given.
type Delivery struct {
	Position int64
	Record   []byte // valid until it is acknowledged or given back; not to be changed
	// Redelivered says that a reader of this run had it before, or that it was given back in any run. After a crash, messages that are not
	// marked may have been given out before, too.
	Redelivered bool
	Nacks       int // how often it was given back
}

// ErrLeft is what Next returns once the reader has left its group.
var ErrLeft = errors.New("the reader has left its group")

// Reader is one of the readers of a group. Next is for one goroutine; Leave is safe beside it.
type Reader struct {
	g     *Group
	waits Waits
	ready fifo // lines of which it has messages, and others wait
	left  bool
	out   []Delivery
}

// Join adds a reader to the group. Readers may come and go at any time.
func (g *Group) Join(w Waits) *Reader {
	r := &Reader{g: g, waits: w}
	g.mu.Lock()
	defer g.unlock()
	if g.readers++; g.readers > 1 {
		g.track()
		if mutation.On("given-to-two-readers") {
			g.read, g.cur, g.ahead, g.pages = g.done.low, frames{}, nil, pages{m: map[int64]*page{}}
		}
	}
	g.c.hub.mu.Lock()
	g.joined++
	g.c.hub.mu.Unlock()
	return r
}

// Leave ends the reader, also for somebody else who finds that it is stuck: what it was given and nobody has acknowledged is given
// to other readers of the group, now or when they come. If the old reader's work is acknowledged after all, that counts. A second
// call does nothing.
func (r *Reader) Leave() {
	g := r.g
	g.mu.Lock()
	defer g.unlock()
	if r.left {
		return
	}
	g.track()
	r.left = true
	g.poke = true
	changed := map[*line]struct{}{}
	for n, p := range g.pages.m {
		for i := range p.entries {
			e := &p.entries[i]
			if e.state != flying || e.reader != r {
				continue
			}
			pos := n<<pageShift + int64(i)
			g.leaves(e.line, r)
			if e.line == nil {
				e.line = g.lineOf("")
			}
			e.state, e.reader, e.again = pending, nil, true
			g.flight--
			g.waiting++
			g.hold(len(e.record))
			e.line.pending = append(e.line.pending, pos)
			changed[e.line] = struct{}{}
		}
	}
	for pos, b := range g.back {
		if b.reader == r {
			g.leaves(b.line, r)
			b.reader, b.record = nil, nil
			g.flight--
			g.waiting++
			b.line.pending = append(b.line.pending, pos)
			changed[b.line] = struct{}{}
		}
	}
	g.replace(changed)
	r.ready = fifo{}
	g.readers--
	h := g.c.hub
	h.mu.Lock()
	g.joined--
	g.c.passed(g, g.read)
	h.mu.Unlock()
}

// Next gives the next messages: at least one, at most so many, those of a key in order. It waits where there are none,
// and returns io.EOF after End, see there; ErrLeft after Leave. After any other error the reader should leave. The slice is valid
// until the next call.
func (r *Reader) Next(ctx context.Context, most int) ([]Delivery, error) {
	g := r.g
	most = max(most, 1)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		g.mu.Lock()
		if r.left {
			g.mu.Unlock()
			return nil, ErrLeft
		}
		r.out = r.out[:0]
		if g.keyed {
			g.due(g.c.hub.clock.Now().UnixNano())
			r.out = g.take(r, r.out, most)
			g.untrack()
		}
		need, err := g.pull(r, most)
		switch {
		case len(r.out) > 0: // an error comes again
			g.unlock()
			return r.fetchBack(ctx)
		case err != nil:
			g.unlock()
			return nil, err
		case need == needMore, g.poke: // what changed may concern r too
			g.unlock()
		case need == needPage && !g.fetching:
			if err := g.fetch(ctx); err != nil { // it unlocks
				return nil, err
			}
		default:
			w, over, err := g.wait(r, need)
			if err != nil || over {
				g.unlock()
				if err == nil {
					err = io.EOF
				}
				return nil, err
			}
			timer := g.delay()
			g.unlock()
			if w != nil {
				r.sleep(ctx, w, timer)
			}
		}
	}
}

// need says what a reader that has nothing waits for.
type need uint8

const (
	needLog  need = iota // a message that is appended
	needPage             // a page of the log
	needRoom             // others to take what waits
	needMore             // nothing: there is more to look at
)

// scan is how many messages are looked at under the lock at a time.
const scan = 1024

// pull reads on in the log: it gives r what can be given out, and lets the rest wait in its lines.
func (g *Group) pull(r *Reader, most int) (need, error) {
	from := g.read
	defer func() {
		if g.read != from {
			if len(g.beyond) > 0 {
				g.reached()
			}
			g.c.hub.mu.Lock()
			g.c.passed(g, g.read)
			g.c.hub.mu.Unlock()
		}
	}()
	for n := 0; ; {
		if len(r.out) >= most || n >= scan {
			return needMore, nil
		}
		if g.full() {
			return needRoom, nil
		}
		pos, end := g.done.gap(g.read)
		g.read = pos
		if g.cur.end <= pos {
			if need := g.segment(); need != needMore {
				return need, nil
			}
			continue // it may begin later
		}
		for ; g.cur.pos < g.cur.end && g.cur.pos < end && len(r.out) < most && n < scan; n++ {
			rec, rest, err := store.NextFrame(g.cur.data)
			if err != nil {
				return 0, g.damaged(err)
			}
			g.cur.data = rest
			g.cur.pos++
			if g.cur.pos <= pos {
				continue // done before
			}
			g.admit(r, g.cur.pos-1, rec)
			g.read = g.cur.pos
			if g.full() {
				break
			}
		}
	}
}

// damaged is about a segment that can't be read.
func (g *Group) damaged(err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "read channel", Path: fmt.Sprintf("%s@%d", g.c.config.Name, g.read), Err: err,
		Hint: "`penstock store check` says what else is damaged; `penstock backup restore` brings a backup back"}
}

// segment goes to the segment that has the message at read: of the page that was read, or in memory.
func (g *Group) segment() need {
	for len(g.ahead) > 0 && g.ahead[0].End() <= g.read {
		g.ahead[0] = store.Segment{}
		g.ahead = g.ahead[1:]
	}
	var s store.Segment
	if len(g.ahead) > 0 {
		s = g.ahead[0]
		if s.Base > g.read { // somebody has shortened the log
			g.gone(Range{g.read, s.Base})
			return needMore
		}
	} else {
		g.ahead, g.cur = nil, frames{}
		h := g.c.hub
		h.mu.Lock()
		var found bool
		s, found = g.c.recent(g.read)
		next := g.c.next
		h.mu.Unlock()
		if !found {
			if g.read < next {
				return needPage
			}
			return needLog
		}
	}
	g.cur = frames{data: s.Data, pos: s.Base, end: s.End(), time: s.MinTime}
	return needMore
}

// gone counts positions as done that are no longer there.
func (g *Group) gone(r Range) {
	g.lost = append(g.lost, r)
	g.done.add(r)
	g.read = max(g.read, r.To)
}

// admit gives r a message that was read, or lets it wait for those of its key before it.
func (g *Group) admit(r *Reader, pos int64, rec []byte) {
	e := g.pages.use(pos, g.cur.time)
	e.record = rec
	if g.keyed {
		if key := g.c.hub.opts.Key(rec); key != "" {
			l := g.lineOf(key)
			e.line = l
			if (len(l.pending) > 0 && l.pending[0] < pos || l.owner != nil && l.owner != r) && !mutation.On("key-order-ignored") {
				e.state = pending
				e.record = bytes.Clone(rec) // not the whole segment
				g.waiting++
				g.hold(len(rec))
				l.insert(pos)
				g.place(l)
				return
			}
			l.owner = r
			l.n++
		}
	}
	e.state, e.reader = flying, r
	g.flight++
	r.out = append(r.out, Delivery{Position: pos, Record: rec})
}

// fetch reads a page of the log. It is called with the lock, and returns without it.
func (g *Group) fetch(ctx context.Context) error {
	g.fetching = true
	from := g.read
	g.unlock()
	name := g.c.config.Name
	var page []store.Segment
	var bounds store.Bounds
	err := g.c.hub.view(ctx, func(v store.View) (err error) {
		if page, err = v.Log().Segments(name, from, g.c.hub.opts.Page); err == nil && len(page) == 0 {
			bounds, err = v.Log().Bounds(name)
		}
		return err
	})
	g.mu.Lock()
	defer g.unlock()
	g.fetching, g.poke = false, true
	switch {
	case err != nil:
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return wrap("read channel", name, err)
	case len(page) > 0:
		g.ahead = page
	case bounds.Next > from:
		g.gone(Range{from, bounds.Next})
	default:
		return g.damaged(errors.New("the log is shorter than it was"))
	}
	return nil
}

// fetchBack reads the messages among r.out that were given back before.
func (r *Reader) fetchBack(ctx context.Context) ([]Delivery, error) {
	missing := 0
	for i := range r.out {
		if r.out[i].Record == nil {
			missing++
		}
	}
	if missing == 0 {
		return r.out, nil
	}
	g := r.g
	err := g.c.hub.view(ctx, func(v store.View) error {
		for i := range r.out {
			d := &r.out[i]
			if d.Record != nil {
				continue
			}
			e, ok, err := v.State().Get(backSpace(g.c.config.Name), backKey(g.name, d.Position))
			if err != nil {
				return err
			}
			if !ok {
				continue // acknowledged by somebody else at this moment
			}
			if _, _, d.Record, err = readBack(e.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap("read channel", g.c.config.Name, err)
	}
	g.mu.Lock()
	defer g.unlock()
	kept := r.out[:0]
	for _, d := range r.out {
		if b := g.back[d.Position]; b != nil && b.reader == r {
			b.record = d.Record
		}
		if d.Record != nil {
			kept = append(kept, d)
		}
	}
	if r.out = kept; len(kept) == 0 {
		return nil, g.damaged(errors.New("a message that was given back is gone"))
	}
	return r.out, nil
}

// wait makes r a waiter; nil where there is something to do meanwhile. over says that there is nothing to wait for.
func (g *Group) wait(r *Reader, n need) (w *waiter, over bool, err error) {
	c := g.c
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	switch {
	case c.hub.closed:
		return nil, false, errClosed(c.config.Name)
	case n == needLog && g.read < c.next:
		return nil, false, nil
	case g.over(c.next):
		return nil, true, nil
	}
	g.crowded = g.crowded || n == needRoom
	w = &waiter{g: g, waits: r.waits, c: make(chan struct{})}
	c.waiters[w] = struct{}{}
	return w, false, nil
}

// maxSleep is how long a reader sleeps until it looks at the clock again, which may have jumped.
const maxSleep = 5 * time.Minute

// delay is how long until something that was given back is due; -1: there is nothing.
func (g *Group) delay() time.Duration {
	if len(g.delays) == 0 {
		return -1
	}
	return min(maxSleep, max(0, time.Duration(g.delays[0].due-g.c.hub.clock.Now().UnixNano())))
}

// sleep waits until w is woken, or for the time, or until ctx ends.
func (r *Reader) sleep(ctx context.Context, w *waiter, delay time.Duration) {
	var timer <-chan time.Time
	if delay >= 0 {
		var stop func()
		timer, stop = r.g.c.hub.clock.NewTimer(delay)
		defer stop() // after it counts as busy
	}
	w.waits.idle()
	select {
	case <-w.c:
		return
	case <-timer:
	case <-ctx.Done():
	}
	c := r.g.c
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.wakeOne(w)
}
