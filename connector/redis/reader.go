package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
)

// reader reads a stream by a consumer group.
//
// A group of Redis gives new entries in the order of the stream, and keeps a list of what was given to each consumer and not acknowledged (pending). A reader that
// starts takes over what dead consumers had, and reads all that is pending for it, in order, before anything new: so it keeps the order of the stream, as long as it
// is alone. What it takes over later is late: behind newer entries. Where the engine keeps the position such an entry has a stream of its own, since under that of the others
// it would count as done.
type reader struct {
	config   SourceConfig
	env      penstock.Env
	decoder  *decoder
	key      string
	group    string
	consumer string
	idle     time.Duration // after which a consumer is dead
	link     *link
	client   rueidis.Client
	was      bool // opened before
	from     int64

	mu     sync.Mutex
	queue  []*entry         // to be handed out
	bytes  int              // of queue
	here   map[id]*entry    // and not settled
	byTurn map[int64]*entry // shared: the same by the number that they were handed out with
	turns  int64
	last   id              // the newest that came here
	owed   map[id]struct{} // settled, and the server does not know
	taken  map[id]struct{} // other consumers had them, when this one began
	remade bool            // the group was made anew: what is not newer than last, and not here, is settled
	failed error           // of the next Read that finds nothing
	over   []string
	wake   chan struct{} // something is to be read, or failed
	room   chan struct{} // something was read
	stop   func()
	batch  []*entry // taken from the queue, and not handed out: a registry that is away is waited for
	ready  *penstock.Preparation
	atMost int
}

// entry is one that is here.
type entry struct {
	id      id
	turn    int64
	fields  []rueidis.XRangeFieldValue
	size    int
	late    bool
	touched time.Time // when the server last heard that we have it
}

// positioned is a reader whose position the engine keeps.
type positioned struct{ *reader }

var (
	_ penstock.Source     = (*reader)(nil)
	_ penstock.Positioned = (*positioned)(nil)
	_ penstock.Forgetter  = (*positioned)(nil)
)

const (
	roomBytes = 16 << 20        // of what waits here: beyond it nothing more is asked for
	block     = 2 * time.Second // how long the server waits for something new
	atOnce    = 500             // ids in a command
)

func newReader(c SourceConfig, env penstock.Env, d *decoder) *reader {
	r := &reader{config: c, env: env, decoder: d, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), here: map[id]*entry{}, owed: map[id]struct{}{}, byTurn: map[int64]*entry{}, idle: c.ClaimAfter.Std()}
	if r.idle <= 0 {
		r.idle = time.Minute
	}
	if r.config.Prefetch <= 0 {
		r.config.Prefetch = 500
	}
	r.atMost, r.ready = max(env.Batch, 512), d.preparation(env)
	return r
}

// late stands in the name of the stream of an entry that turned up behind a newer one, before its id.
const late = " late "

// Resume implements penstock.Positioned.
func (r *positioned) Resume(_ context.Context, from []penstock.Position) error {
	key, err := named(r.config.Stream, r.env, "stream")
	if err != nil {
		return err
	}
	for _, p := range from {
		if p.Stream == key {
			r.from = p.Next
		} else if strings.HasPrefix(p.Stream, key+late) { // it was settled
			if i, err := parseID(strings.TrimPrefix(p.Stream, key+late)); err == nil {
				r.owed[i] = struct{}{}
				r.over = append(r.over, p.Stream)
			}
		}
	}
	return nil
}

// Over implements penstock.Forgetter.
func (r *positioned) Over() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := r.over
	r.over = nil
	return over
}

// Open implements penstock.Source: it finds or makes the group.
func (r *reader) Open(ctx context.Context) error {
	r.halt()
	err := r.open(ctx)
	if err != nil && r.was && penstock.CodeOf(err).Transient() {
		return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
	}
	r.was = r.was || err == nil
	return err
}

func (r *reader) open(ctx context.Context) (err error) {
	if err = r.names(); err != nil {
		return err
	}
	if r.link, err = connect(r.config.Connection, r.env); err != nil {
		return err
	}
	if r.client, err = r.link.open(ctx); err != nil {
		return err
	}
	if err = r.declare(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	r.failed, r.taken = nil, nil
	r.mu.Unlock()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var both sync.WaitGroup
	both.Go(func() { r.pull(running) })
	both.Go(func() { r.keep(running) })
	r.stop = func() {
		cancel()
		both.Wait()
	}
	return nil
}

// at names the group in errors.
func (r *reader) at() string { return "stream " + r.key + ", group " + r.group }

func (r *reader) failure(err error) error { return failure(err, r.at()) }

// fail has the next Read that finds nothing fail. What passes by itself asks for a new Open.
func (r *reader) fail(err error) {
	if err == nil {
		return
	}
	if penstock.CodeOf(err).Transient() {
		r.env.Logger.Warn("the stream can't be read; trying again", "stream", r.key, "group", r.group, "error", err)
		err = fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
	signal(r.wake)
}

// Read implements penstock.Source.
func (r *reader) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.mu.Lock()
		if len(r.batch) == 0 {
			r.next()
		}
		err := r.failed
		r.mu.Unlock()
		n, stop := r.ready.Ready(ctx, len(r.batch), func(i int) []byte { return r.decoder.payload(r.batch[i].fields) })
		switch {
		case stop != nil:
			return stop
		case n > 0:
			signal(r.room)
			r.fill(into, n)
			return nil
		case err != nil && (len(r.batch) == 0 || !errors.Is(err, io.EOF)):
			return err
		case len(r.batch) > 0:
			continue
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next takes what a Read may hand out. mu is held.
func (r *reader) next() {
	n, size := 0, 0
	for n < len(r.queue) && n < r.atMost && (n == 0 || size < 8<<20) {
		e := r.queue[n]
		size += e.size
		n++
		if r.config.Shared {
			r.turns++
			e.turn = r.turns
			r.byTurn[e.turn] = e
		}
	}
	r.batch = append(r.batch[:0], r.queue[:n]...)
	r.queue = slices.Delete(r.queue, 0, n)
	r.bytes -= size
}

// fill makes messages of the first n entries.
func (r *reader) fill(into *penstock.Batch, n int) {
	for _, e := range r.batch[:n] {
		m := into.Append()
		err := r.decoder.entry(into, m, e.fields)
		m.Time = time.UnixMilli(int64(min(e.id.ms, 1<<53))).UTC() //nolint:gosec // bounded
		at, _ := e.id.offset()
		m.Pos = penstock.Position{Stream: r.key, Offset: at, Next: at + 1}
		switch {
		case r.config.Shared:
			m.Pos.Offset, m.Pos.Next = e.turn, e.turn+1
		case e.late && r.env.Resumes:
			m.Pos.Stream = r.key + late + e.id.String()
			r.env.Logger.Warn("an entry came behind newer ones: another consumer of the group had it", "stream", r.key, "group", r.group, "id", e.id.String())
		}
		if err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
		e.fields = nil // only its place is needed from here on
	}
	r.batch = slices.Delete(r.batch, 0, n)
}

// Settle implements penstock.Source: it acknowledges what is done. What isn't stays pending.
func (r *reader) Settle(ctx context.Context, outcomes []penstock.Outcome) error {
	r.mu.Lock()
	for i := range outcomes {
		o := &outcomes[i]
		if o.Err != nil {
			continue
		}
		var e *entry
		if r.config.Shared {
			e = r.byTurn[o.Pos.Offset]
			delete(r.byTurn, o.Pos.Offset)
		} else {
			e = r.here[idAt(o.Pos.Offset)]
		}
		if e == nil {
			continue
		}
		delete(r.here, e.id)
		r.owed[e.id] = struct{}{}
		if e.late && r.env.Resumes && !r.config.Shared {
			r.over = append(r.over, o.Pos.Stream)
		}
	}
	r.mu.Unlock()
	r.pay(ctx)
	return nil
}

// pay tells the server what is settled. What it does not hear it is told later: until then it is pending, and not handed out again.
func (r *reader) pay(ctx context.Context) {
	r.mu.Lock()
	owed := slices.Collect(maps.Keys(r.owed))
	r.mu.Unlock()
	for part := range slices.Chunk(owed, atOnce) {
		ids := make([]string, len(part))
		for k, i := range part {
			ids[k] = i.String()
		}
		if r.link.ask(ctx, r.client, r.client.B().Xack().Key(r.key).Group(r.group).Id(ids...).Build()).Error() != nil {
			return
		}
		r.mu.Lock()
		for _, i := range part {
			delete(r.owed, i)
		}
		r.mu.Unlock()
	}
}

// halt ends the reading.
func (r *reader) halt() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// Close implements penstock.Source. What was not settled stays pending: it comes first when this consumer is started again. Where others share the group they may take it
// over at once.
func (r *reader) Close(ctx context.Context) error {
	r.halt()
	if r.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	r.pay(ctx)
	if r.config.Shared {
		r.mu.Lock()
		left := r.ids(func(*entry) bool { return true })
		r.mu.Unlock()
		r.say(ctx, left, r.idle)
	}
	return nil
}
