package run

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
	"penstock.dev/penstock/jsonview"
)

// answers are the answers that a call step remembers, and the flights that bring new ones. Calls of one key that come while a flight is
// under way wait for it.
type answers struct {
	f       *flow
	op      *plan.Cache
	base    time.Time
	kept    *policy.Cache[*remembered]
	mu      sync.Mutex
	flights map[string]*flight

	hits, misses, joined, stale atomic.Int64
}

// remembered is an answer that is kept. Its document is parsed, so that any number of messages may read it at once.
type remembered struct {
	doc    *jsonview.Doc
	absent bool
	err    error // there is nothing: notFound
}

// flight is a call that is under way for everybody who wants its answer. It ends early only when nobody wants it any more.
type flight struct {
	cancel  context.CancelFunc
	done    chan struct{}
	waiting int // guarded by answers.mu; who waits is counted as busy again by who ends the flight
	over    bool
	left    bool // everybody has gone
	got     *remembered
	err     error
}

func newAnswers(f *flow, op *plan.Cache) *answers {
	return &answers{f: f, op: op, base: f.r.clock.Now(), kept: policy.NewCache[*remembered](op.Size), flights: map[string]*flight{}}
}

// follow goes on with the answers that the flow before this one keeps for the same endpoint, where what tells requests apart is the request
// itself: it is the same then. A key of the flow's own may mean something else by now.
func (a *answers) follow(before *flow, c *caller) {
	if before == nil || a.op.Key != nil {
		return
	}
	for _, o := range before.callers {
		if o.cache == nil || o.inst != c.inst || o.cache.op.Key != nil {
			continue
		}
		if was := o.cache.op; was.TTL == a.op.TTL && was.Stale == a.op.Stale && was.Negative == a.op.Negative && was.Size == a.op.Size {
			a.kept, a.base = o.cache.kept, o.cache.base
		}
	}
}

func (a *answers) now() time.Duration { return a.f.r.clock.Now().Sub(a.base) }

// key is what tells a request from others.
func (a *answers) key(f *penstock.Frame, name string) (string, error) {
	if a.op.Key != nil {
		return text(a.op.Key, f, name+" cache.key")
	}
	var dst []byte
	var err error
	for _, p := range a.op.Parts {
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		if dst, err = appendKey(dst, p.Eval(f)); err != nil {
			return "", err
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	}
	for _, t := range a.op.Trees {
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		if dst, err = t.Append(dst, f); err != nil {
			return "", err
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	}
	return string(dst), nil
}

// appendKey writes a value so that no two that differ look the same.
func appendKey(dst []byte, v penstock.Value) ([]byte, error) {
	switch v.Kind() {
	case penstock.KindAbsent:
		return append(dst, '-'), nil
	case penstock.KindError:
		return dst, v.Err()
	case penstock.KindList:
		dst = append(dst, '[')
		var err error
		for _, e := range v.List().Elems {
			if dst, err = appendKey(dst, e); err != nil {
				return dst, err
			}
			dst = append(dst, ',')
		}
		return append(dst, ']'), nil
	}
	return v.AppendJSON(dst)
}

// known gives the fresh answer to a message, if there is one.
func (a *answers) known(b *penstock.Batch, m *penstock.Message, name string) *remembered {
	key, err := a.key(b.Frame(m), name)
	if err != nil {
		return nil // it fails where it is asked
	}
	got, fresh, ok := a.kept.Get(a.now(), key)
	if !ok || !fresh || got.err != nil {
		return nil
	}
	a.hits.Add(1)
	return got
}

// ask is one try of a call: from memory, from a flight that is under way, or by a flight of its own.
func (a *answers) ask(ctx context.Context, c *caller, b *penstock.Batch, m *penstock.Message, n *node, first bool) (*reply, error) {
	key, err := a.key(b.Frame(m), n.Name)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	fl := a.flights[key]
	if fl != nil {
		a.joined.Add(1)
	} else {
		// Looked at under the lock: a flight keeps its answer before it is over.
		if got, fresh, ok := a.kept.Get(a.now(), key); ok && fresh {
			a.mu.Unlock()
			a.hits.Add(1)
			return got.reply()
		}
		fl = a.depart(ctx, c, m, n, key, first)
	}
	fl.waiting++
	a.mu.Unlock()
	return a.land(ctx, fl)
}

// depart begins a flight. a.mu is held.
func (a *answers) depart(ctx context.Context, c *caller, m *penstock.Message, n *node, key string, first bool) *flight {
	f := a.f
	a.misses.Add(1)
	fl := &flight{done: make(chan struct{})}
	// It outlives the try that it is for, but not the flow, nor the memory of the message.
	own := context.WithoutCancel(ctx)
	own, fl.cancel = context.WithCancel(own)
	stop := context.AfterFunc(f.ctx, fl.cancel)
	b := f.batches.get()
	b.Runtime = f.runtime
	mine := b.NewMessage()
	separate(b, mine, m)
	key = strings.Clone(key) // which may be a message's, too
	a.flights[key] = fl
	f.r.busy()
	f.beside.Go(func() {
		defer stop()
		got, err := a.fly(own, c, b, mine, n, first)
		f.recycle(b)
		a.arrive(fl, key, got, err)
	})
	return fl
}

// separate makes c a copy of m, variables included, that owns all of its memory through b.
func separate(b *penstock.Batch, c, m *penstock.Message) {
	copyOut(b, c, m)
	for _, v := range m.Vars {
		c.Vars = append(c.Vars, v.Clone())
	}
	c.Seq = m.Seq
}

// fly makes the call, and copies its answer out of the batch's memory.
func (a *answers) fly(ctx context.Context, c *caller, b *penstock.Batch, m *penstock.Message, n *node, first bool) (got *remembered, err error) {
	defer func() {
		if v := recover(); v != nil { // a driver's: this message fails, the others go on
			got, err = nil, NewFault(a.f.plan.Name+"/"+n.Name, v)
		}
	}()
	patience := n.patience()
	ctx, cancel := a.f.timeout(ctx, patience)
	defer cancel()
	into := b.NewMessage()
	into.Body.Reset(jsonview.JSON, []byte("null"))
	if err := a.f.timedOut(ctx, patience, n.Name, c.ask(ctx, b.Frame(m), into, patience, first)); err != nil {
		return nil, err
	}
	got = &remembered{doc: new(jsonview.Doc), absent: isAbsent(into)}
	into.Body.CloneInto(got.doc, nil)
	return got, got.doc.Parse(jsonview.Limits{})
}

// arrive ends a flight: its answer is kept, and whoever waits has it.
func (a *answers) arrive(fl *flight, key string, got *remembered, err error) {
	now := a.now()
	switch {
	case err == nil && !got.absent:
		a.kept.Put(now, key, got, len(got.doc.Bytes()), a.op.TTL, a.op.Stale)
	case err == nil && a.op.Negative > 0:
		a.kept.Put(now, key, got, 0, a.op.Negative, 0)
	case err == nil:
		a.kept.Remove(key)
	case penstock.CodeOf(err) == penstock.NotFound && a.op.Negative > 0:
		a.kept.Put(now, key, &remembered{err: err}, 0, a.op.Negative, 0)
	case penstock.CodeOf(err).Transient():
		if old, _, ok := a.kept.Get(now, key); ok && old.err == nil {
			a.stale.Add(1)
			got, err = old, nil
		}
	}
	a.mu.Lock()
	delete(a.flights, key)
	fl.got, fl.err, fl.over = got, err, true
	a.f.r.busyN.Add(int64(fl.waiting)) // each counts itself no more
	left := fl.left
	a.mu.Unlock()
	fl.cancel()
	close(fl.done)
	if left {
		a.f.r.idle()
	}
	a.f.r.idle()
}

// land waits for a flight, or until ctx ends.
func (a *answers) land(ctx context.Context, fl *flight) (*reply, error) {
	a.f.r.idle()
	select {
	case <-fl.done: // who closed it counted us
		if fl.err != nil {
			return nil, fl.err
		}
		return fl.got.reply()
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if fl.over {
		return nil, context.Cause(ctx)
	}
	a.f.r.busy()
	if fl.waiting--; fl.waiting == 0 && !fl.left {
		fl.left = true
		a.f.r.busy() // until it has taken notice
		fl.cancel()
	}
	return nil, context.Cause(ctx)
}

func (m *remembered) reply() (*reply, error) {
	if m.err != nil {
		return nil, m.err
	}
	return &reply{doc: m.doc, absent: m.absent}, nil
}

// isAbsent says that a look-up missed.
func isAbsent(m *penstock.Message) bool {
	v := m.Meta.Get("absent")
	return v.Kind() == penstock.KindBool && v.Bool()
}

// remembers says that the node keeps the answers of its calls.
func (n *node) remembers() bool { return n.caller != nil && n.caller.cache != nil }

// remembered takes out of ms those whose answer is known, and lets them go on with it. With order: per-key one that would overtake
// another of its key stays.
func (x *exec) remembered(w *work, n *node, ms []*penstock.Message) []*penstock.Message {
	into := n.Op.(*plan.Call).Into
	rest := ms[:0]
	var kept []*penstock.Message
	var asking map[string]bool // keys of which one has to ask
	for _, m := range ms {
		var got *remembered
		if x.lane == nil || !x.lane.waits(w, m) && !asking[m.Key] {
			got = n.caller.cache.known(w.batch, m, n.Name)
		}
		if got == nil {
			rest = append(rest, m)
			if x.lane != nil && x.f.keyed {
				if asking == nil {
					asking = map[string]bool{}
				}
				asking[m.Key] = true
			}
			continue
		}
		known := &reply{doc: got.doc, absent: got.absent}
		x.f.answered(n, m, known, nil)
		if err := x.f.assign(w.batch, m, into, known); err != nil {
			x.fail(m, err)
			continue
		}
		if kept == nil {
			kept = x.take()
		}
		kept = append(kept, m)
	}
	if kept != nil {
		x.put(w, n.Next, kept)
	}
	return rest
}

// summary counts what was seen so far; nil for nil.
func (a *answers) summary() *CacheSummary {
	if a == nil {
		return nil
	}
	return &CacheSummary{Hits: a.hits.Load(), Misses: a.misses.Load(), Joined: a.joined.Load(), Stale: a.stale.Load(), Bytes: a.kept.Bytes()}
}
