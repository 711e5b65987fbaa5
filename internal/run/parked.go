package run

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/jsonview"
)

// parked knows the keys of a flow behind whose dead letters later messages are held (onError.order: park). It is made of the dead
// letters themselves at each start: those that are open, and those that were given in again and are not done.
type parked struct {
	mu   sync.RWMutex
	keys map[string]*parkedKey // by entry and key
	last int64
}

// parkedKey is a key that is held. Each of its dead letters has a number, in the order of reading, which it keeps when it
// is given in again and dies once more. Those that were made of one message have the same.
type parkedKey struct {
	dead    []int64 // numbers of the dead letters, in order
	flight  int     // given in again, and not done
	in, seq uint64  // the first message that died in this run: what was read before it passes
	thisRun bool
}

func newParked() *parked { return &parked{keys: map[string]*parkedKey{}} }

// parkKey names a key at an entry of the flow: a key means something else behind an aggregate.
func parkKey(entry, key string) string { return entry + "\x00" + key }

// holds says that a message has to wait behind a dead letter of its key.
func (p *parked) holds(t *track, seq uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	k := p.keys[t.parkKey]
	switch {
	case k == nil:
		return false
	case t.redriven: // one in front of it is dead, still or again
		return t.passed || k.before(t.number)
	}
	return !k.thisRun || k.in < t.in.seq || k.in == t.in.seq && k.seq < seq
}

// any says that some key is held.
func (p *parked) any() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.keys) > 0
}

// before says that one with a lower number is dead.
func (k *parkedKey) before(number int64) bool { return len(k.dead) > 0 && k.dead[0] < number }

// again notes that a dead letter was read that is given in again, in the order of reading: one of its key that was in front of it, and
// is read after it, must not be passed.
func (p *parked) again(t *track, at deadAt) {
	if t.number = at.number; at.number == 0 {
		return // it did not hold back anything: its key is found on the lane
	}
	t.heldKey, t.parkKey = at.held, parkKey(at.entry, at.held)
	t.passed = p.enter(t.parkKey, at.number)
}

// enter notes that a dead letter was given in again, and is on its way. It says whether one in front of it is still dead.
func (p *parked) enter(key string, number int64) (passed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[key]
	if k == nil {
		k = &parkedKey{}
		p.keys[key] = k
	}
	if i, there := slices.BinarySearch(k.dead, number); there {
		k.dead = slices.Delete(k.dead, i, i+1)
	}
	k.flight++
	return k.before(number)
}

// reserve gives n messages that were read the numbers that they have if they die: an earlier one may die later.
func (p *parked) reserve(n int, now time.Time) (first int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = max(p.last+1, now.UnixNano())
	p.last = first + int64(n) - 1
	return first
}

// die notes that a message is dead, behind which nothing of the key may pass.
func (p *parked) die(t *track, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[t.parkKey]
	if k == nil {
		k = &parkedKey{in: t.in.seq, seq: seq, thisRun: true}
		p.keys[t.parkKey] = k
	}
	switch {
	case t.redriven && !t.died:
		k.flight--
	case !t.redriven && (t.in.seq < k.in || t.in.seq == k.in && seq < k.seq): // another lane has come further
		k.in, k.seq = t.in.seq, seq
	}
	if t.died = true; t.number == 0 {
		t.number = t.in.numbers + int64(t.idx)
	}
	k.put(t.number)
}

func (k *parkedKey) put(number int64) {
	i, _ := slices.BinarySearch(k.dead, number)
	k.dead = slices.Insert(k.dead, i, number)
}

// leave notes that a message that was given in again is done.
func (p *parked) leave(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.keys[key]; k != nil {
		k.flight--
		p.free(key, k)
	}
}

// drop notes that a dead letter was dropped.
func (p *parked) drop(key string, number int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.keys[key]
	if k == nil {
		return
	}
	if i, there := slices.BinarySearch(k.dead, number); there {
		k.dead = slices.Delete(k.dead, i, i+1)
	}
	p.free(key, k)
}

func (p *parked) free(key string, k *parkedKey) {
	if len(k.dead) == 0 && (k.flight <= 0 || mutation.On("parked-freed-early")) {
		delete(p.keys, key)
	}
}

// load reads the dead letters that hold keys back.
func (p *parked) load(ctx context.Context, f *flow, st store.Store) error {
	hub := channel.NewHub(st, f.r.clock, channel.Options{}) // of its own: what it reads is not taken from anybody
	defer hub.Close()
	for _, c := range [][2]string{{deadChannel(f.plan.Name), deadGroup}, {inChannel(f.plan.Name), inChannel(f.plan.Name)}} {
		if err := p.loadChannel(ctx, hub, c[0], c[1]); err != nil {
			return err
		}
	}
	return nil
}

func (p *parked) loadChannel(ctx context.Context, hub *channel.Hub, name, group string) error {
	c, err := hub.Open(channel.Config{Name: name, Queue: true})
	if err != nil {
		return err
	}
	g, err := c.Group(ctx, group, channel.Start{})
	if err != nil {
		return err
	}
	r := g.Join(channel.Waits{})
	defer r.Leave()
	g.End()
	b := &penstock.Batch{}
	for left, _ := g.Lag(); left > 0; {
		ds, err := r.Next(ctx, 1000)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		left -= int64(len(ds))
		for _, d := range ds {
			b.Reset()
			v, err := record.Parse(d.Record)
			if err != nil {
				return err
			}
			m, err := v.Message(b, nil)
			if err != nil {
				return err
			}
			if at := deathOf(m); at.number != 0 {
				key := parkKey(at.entry, at.held)
				if p.keys[key] == nil {
					p.keys[key] = &parkedKey{}
				}
				p.keys[key].put(at.number)
				p.last = max(p.last, at.number)
			}
		}
	}
	return nil
}

// deadGroup is the group that acknowledges dead letters which were dealt with.
const deadGroup = "dlq"

// deadAt is what a message's meta.dead says of how it is to be given in again.
type deadAt struct {
	entry  string // from, behind <step>, at <step>
	held   string // with order: park: the key that it holds back
	number int64  // … and its place among those
	times  int64  // how often it was given in again before
	known  string // what it is known by where it is written; "" where nobody knows
}

// timesField of meta.dead counts how often a message was given in again before it died; it is there from the first time on.
const timesField = "redriven"

// identityField of meta.dead is what the message is known by, in flows that send to what knows its messages: where it is given in again, what
// it has sent before it died is known there.
const identityField = "identity"

// deathOf reads it; a message that was not dead is to begin at the beginning.
func deathOf(m *penstock.Message) deadAt {
	d := deadAt{entry: entryFrom}
	text := func(name, v string) {
		switch name {
		case "entry":
			d.entry = v
		case "held":
			d.held = v
		case identityField:
			d.known = strings.Clone(v)
		}
	}
	switch dead := m.Meta.Get("dead"); dead.Kind() {
	case penstock.KindMap:
		for _, e := range dead.Map().Entries {
			switch {
			case e.Key.Kind() != penstock.KindString:
			case e.Value.Kind() == penstock.KindString:
				text(e.Key.Str(), e.Value.Str())
			case e.Value.Kind() == penstock.KindInt && e.Key.Str() == "number":
				d.number = e.Value.Int()
			case e.Value.Kind() == penstock.KindInt && e.Key.Str() == timesField:
				d.times = e.Value.Int()
			}
		}
	case penstock.KindNode: // it was carried as JSON
		doc, n := dead.Node()
		for _, name := range []string{"entry", "held", identityField} {
			if e := doc.Field(n, name, nil); doc.Kind(e) == jsonview.String {
				text(name, doc.Str(e, func(n int) []byte { return make([]byte, n) }))
			}
		}
		if e := doc.Field(n, "number", nil); doc.Kind(e) == jsonview.Number {
			d.number, _ = doc.Int(e)
		}
		if e := doc.Field(n, timesField, nil); doc.Kind(e) == jsonview.Number {
			d.times, _ = doc.Int(e)
		}
	}
	return d
}

// errParked is why a message was dead-lettered that did not fail itself.
var errParked = &penstock.Error{Code: penstock.Conflict, Op: "park", Err: errors.New("held behind a dead letter of its key"),
	Hint: "redrive or drop the first dead letter of the key, and redrive those behind it: they go in order"}

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
		if t.parkKey == "" || !p.holds(t, m.Seq) {
			kept = append(kept, m)
			continue
		}
		x.dead(w, m, errParked, "park", 0)
	}
	return kept
}

// entry is where in a flow messages begin.
type entry struct {
	at     int        // the node
	name   string     // from, behind <step>, or, for those that a durable step refused and that are given in again, at <step>
	behind *stageNode // the durable step that they left
}

// entryFrom is the beginning of a flow, as an entry.
const entryFrom = "from"

var fromEntry = entry{name: entryFrom}

// behind is the entry of what leaves the step.
func (s *stageNode) behind() entry { return entry{s.node.Next, "behind " + s.node.Name, s} }

// entry finds an entry by its name. One whose step is not there any more is the beginning.
func (f *flow) entry(name string) entry {
	for _, s := range f.stages {
		switch name {
		case s.behind().name:
			return s.behind()
		case "at " + s.node.Name:
			return entry{at: s.at, name: name}
		}
	}
	return fromEntry
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

// ending is a message that is about to end.
type ending struct {
	m    *penstock.Message
	fate fate
}

// endInOrder ends messages where a key may be parked: none before those of its key in front of it, which may die yet, at a step that
// it did not come to.
func (x *exec) endInOrder(w *work) {
	for len(x.ending) > 0 {
		all := x.ending
		x.ending = nil
		slices.SortStableFunc(all, func(a, b ending) int { return cmp.Compare(a.m.Seq, b.m.Seq) })
		for _, e := range all {
			t := e.m.Lineage.(*track)
			switch {
			case x.lane.waits(w, e.m):
				x.lane.park(&parcel{w: w, m: e.m, pc: plan.End, fate: e.fate})
			case t.parkKey != "" && x.f.parked.holds(t, e.m.Seq):
				x.dead(w, e.m, errParked, "park", 0)
			default:
				x.ended(w, []*penstock.Message{e.m}, e.fate)
			}
		}
		if x.ending == nil {
			x.ending = all[:0]
		}
	}
}

// Held says which key a dead letter holds back, by its meta.dead.
type Held struct {
	Entry  string
	Key    string
	Number int64
}

// Let lets go of what dead letters hold back that were dropped, in a run that goes on meanwhile.
func (r *Runner) Let(flow string, dropped []Held) {
	for _, f := range r.list() {
		if f.plan.Name == flow && f.parked != nil {
			for _, h := range dropped {
				f.parked.drop(parkKey(h.Entry, h.Key), h.Number)
			}
		}
	}
}
