package run

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// parked knows the keys of a flow behind whose dead letters later messages are held (onError.order: park): for each, how
// many messages are dead or given in again and not done. At none the key is free.
type parked struct {
	space string
	mu    sync.RWMutex
	keys  map[string]*parkedKey // by entry and key
}

// parkedKey is a key that is held.
type parkedKey struct {
	n       int
	in, seq uint64 // the first message that died in this run: what was read before it passes
	thisRun bool
}

func newParked(flow string) *parked {
	return &parked{space: "parked/" + flow, keys: map[string]*parkedKey{}}
}

// parkKey names a key at an entry of the flow: a key means something else behind an aggregate.
func parkKey(entry, key string) string { return entry + "\x00" + key }

func (p *parked) holds(key string, in, seq uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	k := p.keys[key]
	return k != nil && (!k.thisRun || k.in < in || k.in == in && k.seq < seq)
}

// any says that some key is held.
func (p *parked) any() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.keys) > 0
}

// add counts one more message.
func (p *parked) add(key string, in, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[key]
	if k == nil {
		k = &parkedKey{in: in, seq: seq, thisRun: true}
		p.keys[key] = k
	}
	k.n++
}

// done counts one less: it was given in again, and is through or dead once more (which was counted then).
func (p *parked) done(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.keys[key]; k != nil {
		if k.n--; k.n <= 0 {
			delete(p.keys, key)
		}
	}
}

// change is what has to be written of a key: asked on the store's goroutine, so that what is written last is newest.
func (p *parked) change(key string) change {
	p.mu.RLock()
	defer p.mu.RUnlock()
	k := p.keys[key]
	if k == nil {
		return change{space: p.space, e: store.Entry{Key: []byte(key)}, gone: true}
	}
	return change{space: p.space, e: store.Entry{Key: []byte(key), Value: binary.AppendUvarint(nil, uint64(k.n))}}
}

// load reads what earlier runs held.
func (p *parked) load(ctx context.Context, st store.Store) error {
	var after []byte
	for {
		var page []store.Entry
		if err := st.View(ctx, func(v store.View) (err error) {
			page, err = v.State().Scan(p.space, after, 1000)
			return err
		}); err != nil {
			return err
		}
		for _, e := range page {
			n, _ := binary.Uvarint(e.Value)
			p.keys[string(e.Key)] = &parkedKey{n: int(n)}
		}
		if len(page) < 1000 {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

// errParked is why a message was dead-lettered that did not fail itself.
var errParked = &penstock.Error{Code: penstock.Conflict, Op: "park", Err: errors.New("held behind a dead letter of its key"),
	Hint: "redrive or drop the first dead letter of the key; those behind it follow in order"}

// park holds back those messages whose key is parked: they join the dead letters, in order. Messages that were given in
// again pass.
func (x *exec) park(w *work, ms []*penstock.Message) []*penstock.Message {
	p := x.f.parked
	if !p.any() {
		return ms
	}
	kept := ms[:0]
	for _, m := range ms {
		t := m.Lineage.(*track)
		if t.redriven || t.parkKey == "" || !p.holds(t.parkKey, t.in.seq, m.Seq) {
			kept = append(kept, m)
			continue
		}
		x.dead(w, m, errParked, "park", 0)
	}
	return kept
}

// entryFrom is the beginning of a flow, as an entry.
const entryFrom = "from"

// entryName names where a message is to be given in again: `from`, `behind <step>`, or `at <step>` where a durable step
// refused it.
func (f *flow) entryName(entry int) string {
	for _, s := range f.stages {
		if s.pump.entry == entry && entry != 0 {
			return "behind " + s.node.Name
		}
	}
	return entryFrom
}

// entryOf is where a message that died goes on, by its meta.dead. A step that is not there any more leaves it the
// beginning.
func (f *flow) entryOf(m *penstock.Message) int {
	dead := m.Meta.Get("dead")
	m.Meta.Set("dead", penstock.Absent)
	switch dead.Kind() {
	case penstock.KindMap:
		for _, e := range dead.Map().Entries {
			if e.Key.Kind() == penstock.KindString && e.Key.Str() == "entry" && e.Value.Kind() == penstock.KindString {
				return f.entry(e.Value.Str())
			}
		}
	case penstock.KindNode: // it was carried as JSON
		d, n := dead.Node()
		if e := d.Field(n, "entry", nil); d.Kind(e) == jsonview.String {
			return f.entry(d.Str(e, nil))
		}
	}
	return 0
}

func (f *flow) entry(name string) int {
	for _, s := range f.stages {
		switch name {
		case "behind " + s.node.Name:
			return s.pump.entry
		case "at " + s.node.Name:
			return s.at
		}
	}
	return 0
}

// inTurn runs a node so that no message of a key is worked on before those in front of it are through: one that dies there
// holds the others back.
func (x *exec) inTurn(w *work, pc int, ms []*penstock.Message) {
	for len(ms) > 0 {
		seen := map[string]bool{}
		turn, rest := x.take(), x.take()
		for _, m := range ms {
			key := m.Lineage.(*track).parkKey
			if seen[key] {
				rest = append(rest, m)
				continue
			}
			seen[key] = true
			turn = append(turn, m)
		}
		x.give(ms)
		turn = x.park(w, turn)
		if x.lane != nil && len(x.lane.chains) > 0 {
			turn = x.lane.hold(w, pc, turn)
		}
		if len(turn) > 0 {
			x.at(w, pc, turn)
		} else {
			x.give(turn)
		}
		ms = rest
	}
	x.give(ms)
}

// HeldKey names a key that a dead letter holds back, by what its meta.dead says: entry and held. Its count stands under it
// in the space HeldSpace(flow).
func HeldKey(entry, held string) string { return parkKey(entry, held) }

// HeldSpace is where a flow's counts of dead letters that hold keys back stand: by HeldKey, varints.
func HeldSpace(flow string) string { return newParked(flow).space }

// Let lets go of keys of a flow, once for each dead letter that was dropped. It is for a store whose flows run: where
// none does, the counts are changed in the store.
func (r *Runner) Let(ctx context.Context, flow string, keys []string) error {
	for _, f := range r.flows {
		if f.plan.Name != flow || f.parked == nil {
			continue
		}
		for _, k := range keys {
			f.parked.done(k)
		}
		return r.store.Submit(store.Small, func(tx store.Tx) error {
			for _, k := range keys {
				c := f.parked.change(k)
				if err := c.write(tx); err != nil {
					return err
				}
			}
			return nil
		}).Wait(ctx)
	}
	return nil
}
