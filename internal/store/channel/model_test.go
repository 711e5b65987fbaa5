package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/store"
)

// model is what a channel is to its users: messages in order, and for each group what has become of each.
type model struct {
	keys   []string
	bodies []string
	groups []*modelGroup
}

type modelGroup struct {
	name    string
	fates   []fate // by position
	readers []*modelReader
	g       *Group
}

type modelReader struct {
	polled *polled
}

type fate struct {
	done  bool
	with  *modelReader // nil: with nobody
	due   time.Time    // given back: not before
	nacks int
	again bool
}

// allowed says whether reader r may be given the message at pos now: nobody has it, its time has come, and all before it of its key that
// are not done are with r.
func (m *model) allowed(g *modelGroup, r *modelReader, pos int, now time.Time) bool {
	f := g.fates[pos]
	if f.done || f.with != nil || f.due.After(now) {
		return false
	}
	return m.keys[pos] == "" || m.inOrder(g, r, pos)
}

func (m *model) inOrder(g *modelGroup, r *modelReader, pos int) bool {
	for q, f := range g.fates {
		if m.keys[q] != m.keys[pos] || f.done || q == pos {
			continue
		}
		if f.with != nil && f.with != r || f.with == nil && q < pos {
			return false
		}
	}
	return true
}

type machine struct {
	t      *rapid.T
	tb     testing.TB
	model  model
	store  store.Store
	reopen func(store.Store) store.Store
	clock  *fakeClock
	opts   Options
	config Config
	hub    *Hub
	c      *Channel
	sent   int
	log    []string
}

func (x *machine) note(format string, args ...any) {
	x.log = append(x.log, fmt.Sprintf(format, args...))
}

func (x *machine) fail(format string, args ...any) {
	x.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(x.log, "\n"))
}

// start opens the channel as a run does.
func (x *machine) start() {
	x.hub = NewHub(x.store, x.clock, x.opts)
	var err error
	if x.c, err = x.hub.Open(x.config); err != nil {
		x.fail("%v", err)
	}
	for _, g := range x.model.groups {
		if g.g, err = x.c.Group(context.Background(), g.name, Stored()); err != nil {
			x.fail("%v", err)
		}
		g.readers = nil
	}
}

// crash ends the run without notice.
func (x *machine) crash() {
	x.note("crash")
	x.hub.Close()
	x.store = x.reopen(x.store)
	for _, g := range x.model.groups {
		for i := range g.fates {
			g.fates[i].with, g.fates[i].again = nil, g.fates[i].nacks > 0
		}
	}
	x.start()
}

func (x *machine) append() {
	n := rapid.IntRange(1, 8).Draw(x.t, "messages")
	b := store.Bundle{N: n, MinTime: x.clock.Now().UnixNano(), MaxTime: x.clock.Now().UnixNano()}
	for range n {
		key := rapid.SampledFrom([]string{"", "a", "a", "b", "c", "d"}).Draw(x.t, "key")
		body := fmt.Sprint("message ", x.sent)
		x.sent++
		b.Data = store.AppendFrame(b.Data, message(key, body))
		x.model.keys = append(x.model.keys, key)
		x.model.bodies = append(x.model.bodies, body)
		for _, g := range x.model.groups {
			g.fates = append(g.fates, fate{})
		}
	}
	x.note("append %v", x.model.keys[len(x.model.keys)-n:])
	if err := x.commit(func(tx store.Tx) error { _, err := tx.Append(x.config.Name, b); return err }); err != nil {
		x.fail("%v", err)
	}
}

func (x *machine) commit(f func(store.Tx) error) error {
	return x.store.Submit(store.Bulk, f).Wait(context.Background())
}

func (x *machine) anyGroup() *modelGroup {
	return rapid.SampledFrom(x.model.groups).Draw(x.t, "group")
}

func (x *machine) anyReader() (*modelGroup, *modelReader) {
	g := x.anyGroup()
	if len(g.readers) == 0 {
		x.join(g)
	}
	return g, rapid.SampledFrom(g.readers).Draw(x.t, "reader")
}

func (x *machine) join(g *modelGroup) {
	x.note("%s: join", g.name)
	g.readers = append(g.readers, &modelReader{join(g.g)})
}

func (x *machine) leave() {
	g, r := x.anyReader()
	x.note("%s: leave %d", g.name, slices.Index(g.readers, r))
	r.polled.Leave()
	g.readers = slices.DeleteFunc(g.readers, func(o *modelReader) bool { return o == r })
	for i := range g.fates {
		if g.fates[i].with == r {
			g.fates[i].with, g.fates[i].again = nil, true
		}
	}
}

func (x *machine) next() {
	g, r := x.anyReader()
	most := rapid.IntRange(1, 10).Draw(x.t, "most")
	ds := r.polled.poll(x.tb, most)
	x.note("%s: reader %d of %d gets %v", g.name, slices.Index(g.readers, r), len(g.readers), positions(ds))
	now := x.clock.Now()
	if len(ds) > most {
		x.fail("%d messages, %d were asked for", len(ds), most)
	}
	for _, d := range ds {
		if d.Position >= int64(len(g.fates)) {
			x.fail("a message at %d, which is not there", d.Position)
		}
		f := &g.fates[d.Position]
		if !x.model.allowed(g, r, int(d.Position), now) {
			x.fail("the message at %d (%+v) is not this reader's turn", d.Position, *f)
		}
		if body := bodyOf(x.tb, d.Record); body != x.model.bodies[d.Position] {
			x.fail("the message at %d is %q", d.Position, body)
		}
		if d.Redelivered != f.again || d.Nacks != f.nacks {
			x.fail("the message at %d is %+v, but %+v", d.Position, d, *f)
		}
		f.with = r
	}
	if len(ds) > 0 {
		return
	}
	for pos := range g.fates {
		if x.model.allowed(g, r, pos, now) {
			x.fail("nothing, though the message at %d waits", pos)
		}
	}
}

// held picks messages that readers of g have.
func (x *machine) held(g *modelGroup) (all []int64) {
	for pos, f := range g.fates {
		if f.with != nil {
			all = append(all, int64(pos))
		}
	}
	return all
}

// settle acknowledges some and gives some back, in one transaction, which may fail.
func (x *machine) settle() {
	g := x.anyGroup()
	held := x.held(g)
	if len(held) == 0 {
		return
	}
	var acks, nacks []int64
	all := rapid.IntRange(0, 3).Draw(x.t, "all") > 0
	for _, pos := range held {
		switch n := rapid.IntRange(0, 9).Draw(x.t, "fate"); {
		case n == 0:
			nacks = append(nacks, pos)
		case n < 5 || all:
			acks = append(acks, pos)
		}
	}
	delay := time.Duration(rapid.IntRange(-1, 3).Draw(x.t, "delay")) * time.Minute
	fails := rapid.IntRange(0, 5).Draw(x.t, "fails") == 0
	failure := errors.New("the transaction fails")
	now := x.clock.Now()
	err := x.commit(func(tx store.Tx) error {
		for _, pos := range nacks {
			if err := g.g.Nack(tx, pos, delay); err != nil {
				return err
			}
		}
		if err := g.g.Ack(tx, rangesOf(acks)); err != nil {
			return err
		}
		if fails {
			return failure
		}
		return nil
	})
	x.note("%s: ack %v, give back %v for %v: %v", g.name, acks, nacks, delay, err)
	if fails {
		if !errors.Is(err, failure) {
			x.fail("%v", err)
		}
		return
	}
	if err != nil {
		x.fail("%v", err)
	}
	for _, pos := range nacks {
		f := &g.fates[pos]
		f.with, f.due, f.again = nil, now.Add(max(0, delay)), true
		f.nacks++
	}
	for _, pos := range acks {
		g.fates[pos] = fate{done: true}
	}
	if rapid.IntRange(0, 9).Draw(x.t, "crash before it is told") == 0 {
		x.crash()
		return
	}
	g.g.Acked(rangesOf(acks))
	for _, pos := range nacks {
		g.g.Nacked(pos)
	}
}

func (x *machine) move() {
	d := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, -time.Hour}).Draw(x.t, "move")
	x.note("the clock moves %v", d)
	x.clock.move(d)
}

func (x *machine) retain() {
	x.note("retain")
	if _, err := x.hub.Retain(context.Background(), x.clock.Now()); err != nil {
		x.fail("%v", err)
	}
}

// invariants hold at all times.
func (x *machine) invariants() {
	for _, g := range x.model.groups {
		left := int64(0)
		for _, f := range g.fates {
			if !f.done {
				left++
			}
		}
		if n, age := g.g.Lag(); n != left || age < 0 {
			x.fail("%s: the lag is %d, not %d; age %v", g.name, n, left, age)
		}
	}
	x.hub.mu.Lock()
	size := int64(0)
	for e := x.hub.recent.Front(); e != nil; e = e.Next() {
		size += int64(len(e.Value.(*segment).Data))
	}
	if size != x.hub.size || x.hub.recent.Len() > 1 && size > x.hub.opts.Cache || len(x.c.waiters) > 0 {
		x.fail("%d bytes in memory, counted %d; %d wait", size, x.hub.size, len(x.c.waiters))
	}
	x.hub.mu.Unlock()
}

// finish lets one reader have all that is left: nothing may be lost, in whatever state.
func (x *machine) finish() {
	x.clock.move(24 * time.Hour)
	for _, g := range x.model.groups {
		for len(g.readers) > 0 {
			g.readers[0].polled.Leave()
			g.readers = g.readers[1:]
		}
		for i := range g.fates {
			g.fates[i].with = nil
		}
		x.join(g)
		r := g.readers[0]
		for {
			ds := r.polled.poll(x.tb, 7)
			if len(ds) == 0 {
				break
			}
			for _, d := range ds {
				if f := &g.fates[d.Position]; f.done {
					x.fail("the message at %d again", d.Position)
				} else {
					f.done = true
				}
			}
			rs := rangesOf(positions(ds))
			if err := x.commit(func(tx store.Tx) error { return g.g.Ack(tx, rs) }); err != nil {
				x.fail("%v", err)
			}
			g.g.Acked(rs)
		}
		for pos, f := range g.fates {
			if !f.done {
				x.fail("%s: the message at %d is lost", g.name, pos)
			}
		}
		g.g.End()
		if _, err := r.polled.Next(context.Background(), 1); !errors.Is(err, io.EOF) {
			x.fail("the end is %v", err)
		}
		gg := g.g
		if len(gg.pages.m) != 0 || gg.flight != 0 || gg.waiting != 0 || gg.held != 0 || len(gg.lines) != 0 || len(gg.back) != 0 {
			x.fail("%s keeps %d pages, %d in flight, %d waiting (%d bytes), %d lines, %d given back", g.name, len(gg.pages.m), gg.flight, gg.waiting, gg.held, len(gg.lines), len(gg.back))
		}
	}
}

// TestModel holds channels to the model: appended to, read by groups whose readers come and go, acknowledged, given back, shortened and
// crashed at any time, by a clock that jumps.
func TestModel(t *testing.T) {
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) {
			rounds, left := 10, math.MaxInt
			if name != "memory" { // slow: a few
				rounds, left = 1, 12
			}
			for range rounds {
				rapid.Check(t, func(rt *rapid.T) {
					if left == 0 {
						return
					}
					x := &machine{t: rt, tb: t, clock: newClock()}
					x.store, x.reopen = open(t)
					defer func() { _ = x.store.Close() }()
					x.run()
					left--
				})
			}
		})
	}
}

func (x *machine) run() {
	x.opts = Options{Cache: rapid.SampledFrom([]int64{1, 200, 0}).Draw(x.t, "cache"), Page: rapid.SampledFrom([]int{1, 300, 0}).Draw(x.t, "page")}
	x.config = Config{Name: "channel", Queue: rapid.Bool().Draw(x.t, "queue"), Retain: time.Second}
	x.model.groups = []*modelGroup{{name: "one"}}
	if rapid.Bool().Draw(x.t, "two groups") {
		x.model.groups = append(x.model.groups, &modelGroup{name: "one\x00two"})
	}
	x.start()
	defer func() { x.hub.Close() }()
	step := func(f func()) func(*rapid.T) {
		return func(t *rapid.T) { x.t = t; f() }
	}
	x.t.Repeat(map[string]func(*rapid.T){
		"append": step(x.append), "next": step(x.next), "next2": step(x.next), "next3": step(x.next), "settle": step(x.settle), "settle2": step(x.settle),
		"join": step(func() { x.join(x.anyGroup()) }), "leave": step(x.leave), "move": step(x.move), "retain": step(x.retain), "crash": step(x.crash),
		"": step(x.invariants),
	})
	x.finish()
}
