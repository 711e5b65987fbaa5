package run

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// Slots of the model's messages in the engine.
const (
	slotID = iota
	slotKey
	slotError
	slotCount
)

func idOf(m *penstock.Message) string { return m.Vars[slotID].Str() }

func textField(d *jsonview.Doc, node jsonview.Node, name string) string {
	return strings.Clone(d.Str(d.Field(node, name, nil), func(n int) []byte { return make([]byte, n) }))
}

// fates brings what the engine waits for: pauses and calls, one at a time, in an order of its own, and
// only when the engine can do nothing else.
type fateful struct {
	mu      sync.Mutex
	random  *rand.Rand
	pending []*timer
	rest    chan struct{}
	runner  *Runner
	tried   map[string]int
	mended  bool // nothing fails any more

	now  time.Duration // since the beginning
	step time.Duration // that the clock goes each time
}

func (f *fateful) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(f.now)
}

func (f *fateful) NewTimer(time.Duration) (<-chan time.Time, func()) {
	t := &timer{c: make(chan time.Time, 1)}
	f.mu.Lock()
	f.pending = append(f.pending, t)
	f.mu.Unlock()
	f.look()
	return t.c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, o := range f.pending {
			if o == t {
				f.pending = append(f.pending[:i], f.pending[i+1:]...)
				return
			}
		}
	}
}

func (f *fateful) look() {
	select {
	case f.rest <- struct{}{}:
	default:
	}
}

// fire lets one go on. False when there is none.
func (f *fateful) fire() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) == 0 {
		return false
	}
	i := f.random.IntN(len(f.pending))
	t := f.pending[i]
	f.pending = append(f.pending[:i], f.pending[i+1:]...)
	f.now += f.step
	t.c <- time.Time{}
	return true
}

// shaky fails a message as often as its place says.
func (f *fateful) shaky(place, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried[place+"|"+id]++
	if !f.mended && f.tried[place+"|"+id] <= fails(place, id) {
		return penstock.E(penstock.Unavailable, place, "", "not now")
	}
	return nil
}

// asked is a caller that answers when fate will have it.
type asked struct {
	f    *fateful
	name string
}

func (asked) Open(context.Context) error  { return nil }
func (asked) Close(context.Context) error { return nil }
func (a asked) Call(ctx context.Context, fr *penstock.Frame, into *penstock.Message) error {
	c, stop := a.f.NewTimer(0)
	defer stop()
	if !a.f.runner.Await(ctx, c) {
		return ctx.Err()
	}
	id, k := idOf(fr.Msg), fr.Msg.Vars[slotKey].Str()
	if err := a.f.shaky(a.name, id); err != nil {
		return err
	}
	if !a.f.mended && refused(a.name, id) {
		return penstock.E(penstock.Invalid, a.name, "", "refused")
	}
	d := fr.Msg.Body
	if err := d.Parse(limits); err != nil {
		return err
	}
	into.Body.Reset(jsonview.JSON, []byte(bodyOf(id, k, mix(textField(d, 0, "h"), a.name))))
	return nil
}

// shelf is a sink that makes durable what it has when it is flushed.
type shelf struct {
	f       *fateful
	name    string
	mu      sync.Mutex
	got     []written
	durable int
}

func (*shelf) Open(context.Context) error  { return nil }
func (*shelf) Close(context.Context) error { return nil }
func (s *shelf) Flush(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = len(s.got)
	return nil
}
func (s *shelf) Write(ctx context.Context, b *penstock.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	errs := map[int]error{}
	behind := map[string]error{}
	for i, m := range b.Msgs {
		if errs[i] = behind[m.Key]; errs[i] != nil {
			continue
		}
		id := idOf(m)
		if err := s.f.shaky(s.name, id); err != nil {
			errs[i], behind[m.Key] = err, err
			continue
		}
		if !s.f.mended && refused(s.name, id) {
			errs[i] = penstock.E(penstock.Invalid, s.name, "", "refused")
			continue
		}
		delete(errs, i)
		s.got = append(s.got, written{strings.Clone(m.Key), string(m.Body.AppendJSON(nil, 0))})
	}
	for i, err := range errs {
		if err == nil {
			delete(errs, i)
		}
	}
	if len(errs) > 0 {
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// holds says which of the bodies are not durable yet.
func (s *shelf) misses(bodies []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := map[string]int{}
	for _, w := range s.got[:s.durable] {
		have[w.body]++
	}
	for _, b := range bodies {
		if have[b]--; have[b] < 0 {
			return b
		}
	}
	return ""
}

// grave is the dead letter.
type grave struct {
	shelf
	dead  []death
	after int // writes that succeed; -1 all
}

func (g *grave) Write(_ context.Context, b *penstock.Batch) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range b.Msgs {
		if g.after >= 0 && len(g.dead) >= g.after {
			return fmt.Errorf("no room")
		}
		v := m.Meta.Get("dead")
		d := death{body: string(m.Body.AppendJSON(nil, 0))}
		for _, e := range v.Map().Entries {
			switch e.Key.Str() {
			case "step":
				d.step = e.Value.Str()
			case "attempts":
				d.attempts = int(e.Value.Int())
			}
		}
		g.dead = append(g.dead, d)
		g.got = append(g.got, written{body: d.body})
	}
	return nil
}

// feed is a source of the model's messages, in batches of many sizes.
type feed struct {
	msgs    []mmsg
	sizes   []int
	next    int
	reads   int
	onRead  func(next int)
	mu      sync.Mutex
	settled []penstock.Outcome
	check   func(penstock.Outcome)
}

func (*feed) Open(context.Context) error  { return nil }
func (*feed) Close(context.Context) error { return nil }
func (s *feed) Read(ctx context.Context, into *penstock.Batch) error {
	if s.onRead != nil {
		s.onRead(s.next)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.next == len(s.msgs) {
		return io.EOF
	}
	for n := s.sizes[s.reads%len(s.sizes)]; n > 0 && s.next < len(s.msgs); n-- {
		m := into.Append()
		m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(s.msgs[s.next].orig)))
		m.Pos = penstock.Position{Stream: "feed", Offset: int64(s.next)}
		s.next++
	}
	s.reads++
	return nil
}
func (s *feed) Settle(_ context.Context, o []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range o {
		if s.check != nil {
			s.check(o)
		}
	}
	s.settled = append(s.settled, o...)
	return nil
}

// setBody gives a message a body in the batch's memory.
func setBody(b *penstock.Batch, m *penstock.Message, text string) {
	d := b.NewDoc()
	d.Reset(jsonview.JSON, b.Arena().Copy([]byte(text)))
	m.Body = d
}

// know makes a message known by what its body says.
func know(m *penstock.Message) {
	m.Vars[slotID] = penstock.StringValue(textField(m.Body, 0, "id"))
	m.Vars[slotKey] = penstock.StringValue(textField(m.Body, 0, "k"))
}

// leaf is the step of a node of the model.
func (f *fateful) leaf(n *mnode) plan.Op {
	return &plan.Apply{Step: parsed(func(b *penstock.Batch, m *penstock.Message) error {
		id, k := idOf(m), m.Vars[slotKey].Str()
		switch n.kind {
		case kMark:
			setBody(b, m, bodyOf(id, k, mix(textField(m.Body, 0, "h"), n.name)))
		case kFilter:
			if chance(n.name, id)%4 == 0 {
				return errDrop
			}
		case kHard:
			if !f.mended && chance(n.name, id)%5 == 0 {
				return penstock.E(penstock.Invalid, n.name, "", "bad")
			}
		case kFlaky:
			return f.shaky(n.name, id)
		case kFan:
			setBody(b, m, fanOf(n.name, id, k, textField(m.Body, 0, "h")))
		case kPart:
			know(m)
		case kGather:
			var ids, hs []string
			for e := m.Body.First(0); e != jsonview.None; e = m.Body.Next(e) {
				ids, hs = append(ids, textField(m.Body, e, "id")), append(hs, textField(m.Body, e, "h"))
				k = textField(m.Body, e, "k")
			}
			setBody(b, m, bodyOf("g("+strings.Join(ids, "+")+")", k, mix(strings.Join(hs, "+"), n.name)))
			if err := m.Body.Parse(limits); err != nil {
				return err
			}
			know(m)
		case kNorm:
			setBody(b, m, bodyOf(id, k, mix(string(m.Body.AppendJSON(nil, 0)), n.name)))
		}
		return nil
	})}
}

// lower makes the plan of a program of the model.
func (f *fateful) lower(nodes []*mnode) []plan.Node {
	out := make([]plan.Node, len(nodes))
	for i, n := range nodes {
		p := &out[i]
		p.Name, p.Verb, p.Next, p.Catch, p.ErrorSlot = n.name, "step", *n.next, *n.catch, slotError
		if n.tries > 0 {
			p.Retry = &plan.Retry{Attempts: n.tries, Initial: 1}
		}
		if n.when {
			p.When = prog(func(fr *penstock.Frame) penstock.Value {
				return penstock.BoolValue(chance(n.name+"?", idOf(fr.Msg))%2 != 0)
			})
		}
		body := step.Target{Root: step.Body}
		switch n.kind {
		case kRoute:
			r := &plan.Route{Else: *n.targets[len(n.targets)-1]}
			for i, t := range n.targets[:len(n.targets)-1] {
				r.Cases = append(r.Cases, plan.Case{Target: *t, When: prog(func(fr *penstock.Frame) penstock.Value {
					return penstock.BoolValue(int(chance(n.name, idOf(fr.Msg))%uint32(len(n.targets))) == i)
				})})
			}
			p.Op = r
		case kFinish:
			p.Op = &plan.Finish{}
		case kSend:
			p.Op = &plan.Send{Endpoint: endpoint(n.name), Idempotent: true}
		case kCall:
			p.Op = &plan.Call{Endpoint: endpoint(n.name), Idempotent: true, Window: n.width, Into: body}
		case kFork:
			p.Op = &plan.Fork{As: -1, Index: -1, Concurrency: n.width, Into: body, Branches: []plan.Sub{{Name: "b0", Nodes: f.lower(n.subs[0])}, {Name: "b1", Nodes: f.lower(n.subs[1])}}}
		case kEach:
			p.Op = &plan.Fork{As: -1, Index: -1, Concurrency: n.width, Into: body, Each: field("l"), Branches: []plan.Sub{{Nodes: f.lower(n.subs[0])}}}
		case kLoop:
			p.Op = &plan.Loop{Max: n.size, Index: -1, Into: body, Body: plan.Sub{Nodes: f.lower(n.subs[0])}, Until: prog(func(fr *penstock.Frame) penstock.Value {
				d := fr.Msg.Body
				if err := d.Parse(limits); err != nil {
					return penstock.ErrorValue(penstock.E(penstock.Invalid, "until", "", err.Error()))
				}
				return penstock.BoolValue(over(textField(d, 0, "h")))
			})}
		case kSplit:
			p.Op = &plan.Split{Each: field("l"), As: -1, Index: -1}
		case kGroup:
			p.Op = &plan.Group{By: field("k"), Size: n.size, AtEnd: true, Into: body}
		case kStore:
			p.Op = &plan.Send{Endpoint: &plan.Endpoint{Name: n.name, Channel: n.name}, Idempotent: true}
		case kDelay:
			p.Op = &plan.Stage{Spec: &plan.Delay{For: time.Minute}}
		case kDedupe:
			p.Op = &plan.Stage{Spec: &plan.Dedupe{}, By: prog(func(fr *penstock.Frame) penstock.Value {
				return penstock.StringValue(dedupeKey(n, idOf(fr.Msg), fr.Msg.Vars[slotKey].Str()))
			})}
		default:
			p.Op = f.leaf(n)
		}
	}
	return out
}
