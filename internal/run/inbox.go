package run

import (
	"context"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/keyset"
)

// inbox remembers the identities of a source's messages (`id` beside the source): one that comes again is not worked on
// again. An identity becomes final in the transaction that settles its message.
type inbox struct {
	p     *pump
	space string

	mu     sync.Mutex // the pump asks, the committer adds
	set    *keyset.Set
	flight map[keyset.Hash][]*track // read, and not committed; with the others of the identity that came since
	keys   []keyset.Key
	texts  []string
	seen   []bool
}

// identity is that of one message.
type identity struct {
	key  keyset.Key
	text string
}

func newInbox(p *pump) *inbox {
	return &inbox{p: p, space: "inbox/" + p.ep.Name, flight: map[keyset.Hash][]*track{}}
}

// load reads what is remembered.
func (b *inbox) load(ctx context.Context, st store.Store) (err error) {
	b.set, err = keyset.Open(ctx, st, b.space, keyset.Options{Window: b.p.ep.Remember})
	return err
}

// fresh takes those messages out of ms that are done already: by the positions that earlier runs left, or by their
// identities. They are settled with the others.
func (p *pump) fresh(w *work, ms []*penstock.Message) []*penstock.Message {
	if p.before == nil && p.inbox == nil && !w.in.repeats {
		return ms
	}
	kept := ms[:0]
	for _, m := range ms {
		if m.Lineage.(*track).repeated {
			p.pass(m)
			continue
		}
		if k, ok := p.before[m.Pos.Stream]; ok && k.holds(m.Pos) {
			p.pass(m)
			continue
		}
		kept = append(kept, m)
	}
	if p.inbox != nil {
		kept = p.inbox.fresh(w, kept)
	}
	return kept
}

// repeat finds what a source whose positions are kept has read again since it lost its connection. What was read in front of that is settled, or
// on its way.
func (p *pump) repeat(in *intake) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reached == nil {
		p.reached = map[string]int64{}
	}
	for from := 0; from < len(in.tracks); {
		stream := in.tracks[from].pos.Stream
		at, there := p.reached[stream]
		for ; from < len(in.tracks) && in.tracks[from].pos.Stream == stream; from++ {
			if t := &in.tracks[from]; p.reopened && there && t.pos.Offset < at {
				t.repeated, t.early, in.repeats = true, true, true
			} else {
				at, there = t.pos.Next, true
			}
		}
		p.reached[stream] = at
	}
}

// pass ends a message that was done before.
func (p *pump) pass(m *penstock.Message) {
	p.flow.stats.Again.Add(1)
	release(m.Lineage)
}

// fresh takes out those whose identity is known, and notes that of the others.
func (b *inbox) fresh(w *work, ms []*penstock.Message) []*penstock.Message {
	f := b.p.flow
	b.mu.Lock()
	defer b.mu.Unlock()
	now := f.r.clock.Now()
	b.keys, b.seen, b.texts = b.keys[:0], b.seen[:0], b.texts[:0]
	some := ms[:0]
	for _, m := range ms {
		id, err := text(b.p.ep.ID, w.batch.Frame(m), "id of "+b.p.ep.Name)
		if err != nil || id == "" && b.p.ep.Broker == "" {
			if err == nil {
				err = penstock.E(penstock.Invalid, "id of "+b.p.ep.Name, "", "the message has no identity")
			}
			w.early = append(w.early, failure{m: m, err: err})
			continue
		}
		b.keys = append(b.keys, keyset.Key{Hash: keyset.SumString(id), At: now.UnixNano()})
		b.texts = append(b.texts, id)
		some = append(some, m)
	}
	var err error
	if b.seen, err = b.set.Seen(f.ctx, now, b.keys, b.seen); err != nil {
		if f.ctx.Err() == nil {
			f.fatal(err)
		}
		return some
	}
	kept := some[:0]
	for i, m := range some {
		h, t := b.keys[i].Hash, m.Lineage.(*track)
		if b.texts[i] == "" { // another program's, who writes to the channel and gives it none: it is a message like any other
			kept = append(kept, m)
			continue
		}
		if b.seen[i] {
			b.p.pass(m)
			continue
		}
		if others, there := b.flight[h]; there { // it is settled behind the first, which may come to nothing yet
			f.stats.Again.Add(1)
			b.flight[h] = append(others, t)
			continue
		}
		b.flight[h] = nil
		t.inbox = &identity{b.keys[i], strings.Clone(b.texts[i])} // the text ends with the message, the track later
		kept = append(kept, m)
	}
	return kept
}

// add puts the identities of what a transaction settles into the set.
func (b *inbox) add(ctx context.Context, u *unit, ids []*identity) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := make([]keyset.Key, len(ids))
	for i, id := range ids {
		keys[i] = id.key
		for _, t := range b.flight[id.key.Hash] {
			t.done() // the next transaction has it
		}
		delete(b.flight, id.key.Hash) // the set knows it from here on
	}
	if mutation.On("inbox-row-missing") {
		return nil
	}
	out := spaceOutput{u, b.space}
	if _, err := b.set.Add(ctx, out, b.p.flow.r.clock.Now(), keys, nil); err != nil {
		return err
	}
	_, err := b.set.Maintain(ctx, out) // what is left of it comes with the next transaction
	return err
}

// spaceOutput writes to a space of the unit's transaction.
type spaceOutput struct {
	u     *unit
	space string
}

// Put implements keyset.Putter.
func (o spaceOutput) Put(key, value []byte, due int64) {
	mem := make([]byte, 0, len(key)+len(value))
	mem = append(append(mem, key...), value...)
	o.u.changes = append(o.u.changes, change{space: o.space, e: store.Entry{Key: mem[:len(key):len(key)], Value: mem[len(key):], Due: due}})
}

// Delete implements keyset.Putter.
func (o spaceOutput) Delete(key []byte) {
	o.u.changes = append(o.u.changes, change{space: o.space, e: store.Entry{Key: append([]byte(nil), key...)}, gone: true})
}
