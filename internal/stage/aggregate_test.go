package stage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// message is the record of a message: a body, and a header to know it by.
func message(key, body, id string) []byte {
	return record.Draft{Key: "before/" + key, Origin: "in:" + id, Body: []byte(body), Format: jsonview.JSON,
		Meta: []penstock.MetaEntry{{Name: "id", Value: penstock.StringValue(id)}}}.Append(nil)
}

// showGroup is what is to be seen of a group.
func showGroup(rec string) string {
	v, err := record.Parse([]byte(rec))
	if err != nil {
		return err.Error()
	}
	id, agg := "", ""
	for name, val := range v.Meta() {
		switch name {
		case "id":
			id = val.Str()
		case "aggregate":
			agg = val.String()
		}
	}
	for name := range v.Vars() {
		id += " has " + name
	}
	return shown(v.Key(), string(v.Body()), id, v.Origin(), agg, v.EventTime())
}

func shown(key, body, id, origin, agg string, at time.Time) string {
	return fmt.Sprintf("%s %s %s %s %s %s", key, body, id, origin, agg, at.Sub(beginning))
}

// aggModel is an aggregate by the book.
type aggModel struct {
	op    *plan.Group
	event bool
	clock modelClock
	high  int64
	open  []aggGroup // in the order in which they began
}

type aggGroup struct {
	key, id     string
	bodies      []string
	first, last int64
}

func (m *aggModel) clone() *aggModel {
	c := *m
	c.open = nil
	for _, g := range m.open {
		g.bodies = slices.Clone(g.bodies)
		c.open = append(c.open, g)
	}
	return &c
}

func (m *aggModel) restarted() {
	m.clock.last = noTime
	for _, g := range m.open {
		m.clock.last = max(m.clock.last, g.last)
	}
}

func (m *aggModel) dueOf(g aggGroup) (int64, string) {
	idle, interval := g.last+int64(m.op.Idle), g.first+int64(m.op.Interval)
	switch {
	case m.op.Idle > 0 && (m.op.Interval == 0 || idle <= interval):
		return idle, "idle"
	case m.op.Interval > 0:
		return interval, "interval"
	}
	return endOfTime, ""
}

func (m *aggModel) complete(o *told, i int, why string) {
	g := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	o.count(Groups, 1)
	o.emitted = append(o.emitted, shown(g.key, "["+strings.Join(g.bodies, ",")+"]", g.id, "in:"+g.id,
		fmt.Sprintf(`{"count":%d,"reason":"%s"}`, len(g.bodies), why), time.Unix(0, g.last-m.clock.ahead)))
}

func (m *aggModel) sweep(o *told, at int64) {
	for {
		best, bestAt, why := -1, at, ""
		for i, g := range m.open {
			if d, w := m.dueOf(g); w != "" && (d < bestAt || d == bestAt && best < 0) {
				best, bestAt, why = i, d, w
			}
		}
		if best < 0 {
			return
		}
		m.complete(o, best, why)
	}
}

func (m *aggModel) absorb(now time.Time, items []Item) *told {
	o := &told{}
	t := int64(0)
	if !m.event {
		t = m.clock.tick(now)
	}
	for n, it := range items {
		at := it.At
		if !m.event {
			at = min(at+m.clock.ahead, t)
		} else if at > m.high {
			m.high = at
			m.sweep(o, at)
		}
		v, _ := record.Parse(it.Record)
		id := ""
		for _, val := range v.Meta() {
			id = val.Str()
		}
		i := slices.IndexFunc(m.open, func(g aggGroup) bool { return g.key == it.Key })
		if i >= 0 {
			if d, why := m.dueOf(m.open[i]); d <= at {
				m.complete(o, i, why)
				i = -1
			}
		}
		late := false
		if i < 0 {
			if late = m.event && (m.op.Idle > 0 || m.op.Interval > 0) && at+int64(max(m.op.Idle, m.op.Interval)) <= m.high; late {
				o.count(Late, 1)
				if m.op.Late == plan.LateDrop {
					o.count(Dropped, 1)
					continue
				}
				if m.op.Late == plan.LateDeadLetter {
					o.rejected = append(o.rejected, n)
					continue
				}
			}
			m.open = append(m.open, aggGroup{key: it.Key, id: id, first: at, last: at})
			i = len(m.open) - 1
		}
		g := &m.open[i]
		g.bodies = append(g.bodies, string(v.Body()))
		g.first, g.last = min(g.first, at), max(g.last, at)
		switch {
		case late:
			m.complete(o, i, "late")
		case it.Flag:
			m.complete(o, i, "when")
		case m.op.Size > 0 && len(g.bodies) >= m.op.Size:
			m.complete(o, i, "size")
		case m.event:
			if d, why := m.dueOf(*g); d <= m.high {
				m.complete(o, i, why)
			}
		}
		if len(m.open) > m.op.MaxGroups {
			o.count(ByBound, 1)
			m.complete(o, 0, "bound")
		}
	}
	return o
}

func (m *aggModel) fire(now time.Time) *told {
	o := &told{}
	if !m.event {
		m.sweep(o, m.clock.tick(now))
	}
	return o
}

func (m *aggModel) end(time.Time) *told {
	o := &told{}
	if m.op.AtEnd {
		for len(m.open) > 0 {
			m.complete(o, 0, "end")
		}
	} else if m.event {
		m.sweep(o, endOfTime-1)
	}
	if m.op.Idle == 0 && m.op.Interval == 0 && len(m.open) > 0 {
		o.count(Unfinished, len(m.open))
	}
	return o
}

func (m *aggModel) due() int64 {
	first := int64(endOfTime)
	for _, g := range m.open {
		d, _ := m.dueOf(g)
		first = min(first, d)
	}
	if m.event || first == endOfTime {
		return 0
	}
	return first - m.clock.ahead
}

func TestAggregateIsWhatTheModelIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := &plan.Group{
			Size:      rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "size"),
			Idle:      rapid.SampledFrom([]time.Duration{0, time.Second, 4 * time.Second}).Draw(t, "idle"),
			Interval:  rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(t, "interval"),
			AtEnd:     rapid.Bool().Draw(t, "atEnd"),
			Late:      rapid.SampledFrom([]plan.Late{"", plan.LateInclude, plan.LateDrop, plan.LateDeadLetter}).Draw(t, "late"),
			MaxGroups: rapid.SampledFrom([]int{2, 100}).Draw(t, "bound"),
		}
		event := rapid.Bool().Draw(t, "event time")
		flags := rapid.Bool().Draw(t, "when")
		first := &aggModel{op: op, event: event, clock: modelClock{last: noTime}, high: noTime}
		slack := rapid.SampledFrom([]int64{0, 100, logSlack}).Draw(t, "slack")
		build := func() Machine {
			a := NewAggregate(op, event, space)
			a.log.slack = slack
			return a
		}
		hold(t, build, first, func(t *rapid.T, now time.Time, n int) Item {
			key := rapid.SampledFrom([]string{"", "a", "b", "c", strings.Repeat("long", 2000)}).Draw(t, "key")
			it := Item{Key: key, At: now.UnixNano(), Record: message(key, fmt.Sprintf(`{"n":%d}`, n), fmt.Sprint(n))}
			if rapid.IntRange(0, 4).Draw(t, "lane") == 0 { // its lane looked at the clock before that was set
				it.At += int64(rapid.SampledFrom([]time.Duration{-time.Second, -time.Hour, time.Hour}).Draw(t, "off"))
			}
			if event {
				it.At = beginning.Add(time.Duration(n/2+rapid.IntRange(-6, 3).Draw(t, "at")) * time.Second).UnixNano()
			}
			it.Flag = flags && rapid.IntRange(0, 4).Draw(t, "flag") == 0
			return it
		}, showGroup)
	})
}

// What one Absorb begins and completes is not stored, what goes on is stored as it grows, and what is complete is gone.
func TestAggregateStoresWhatItHasAddedOnly(t *testing.T) {
	w := newWorld(t, func() Machine { return NewAggregate(&plan.Group{Size: 3}, false, space) })
	item := func(key string, n int) Item {
		return Item{Key: key, At: w.now.UnixNano(), Record: message(key, strings.Repeat("1", 1000), fmt.Sprint(n))}
	}
	if out := w.absorb(item("a", 1), item("a", 2), item("a", 3)); len(out.ops) != 0 || len(out.emitted) != 1 {
		t.Errorf("%d ops, %d emitted", len(out.ops), len(out.emitted))
	}
	for n := range 3 {
		out := w.absorb(item("b", n), item("c", n), item("d", n))
		if n < 2 && (len(out.ops) != 1 || len(out.ops[0].e.Value) > 3300) {
			t.Errorf("message %d: %d ops, %d bytes are written for 3000", n, len(out.ops), len(out.ops[0].e.Value))
		}
	}
	w.settle()
	if n := w.entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// Groups that are open for long, or grow for long, don't let the log grow, and are not written again and again.
func TestAggregateCleansItsLog(t *testing.T) {
	for _, grows := range []bool{false, true} {
		var a *Aggregate
		w := newWorld(t, func() Machine {
			a = NewAggregate(&plan.Group{Size: 4000, AtEnd: true}, false, space)
			a.log.slack = 4000
			return a
		})
		item := func(key, body string, last bool) Item {
			return Item{Key: key, Flag: last, Record: message(key, body, key)}
		}
		w.absorb(item("long", "0", false))
		written, given, most := 0, 0, 0
		for i := range 3000 {
			key := fmt.Sprint(i / 3)
			items := []Item{item(key, `"`+strings.Repeat("x", 100)+`"`, i%3 == 2)}
			if grows {
				items = append(items, item("long", "0", false))
			}
			for _, it := range items {
				given += len(it.Record)
			}
			for _, o := range w.absorb(items...).ops {
				written += len(o.e.Value)
			}
			w.settle()
			if i%100 == 0 {
				w.restart()
			}
			if live := a.groups.bytes; a.log.total > 2*a.log.live+a.log.slack+1000 || a.log.live > 40*live {
				t.Fatalf("message %d: the log has %d bytes, %d of what is open, which is %d", i, a.log.total, a.log.live, live)
			}
			most = max(most, w.entries())
		}
		if written > 3*given || most > 3100 {
			t.Errorf("grows=%v: %d bytes written of %d given, %d entries", grows, written, given, most)
		}
		out := w.end()
		w.settle()
		if len(out.emitted) != 1 {
			t.Errorf("%d are open in the end", len(out.emitted))
		}
		w.absorb() // what is too much at once is deleted with the next
		w.settle()
		if n := w.entries(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	}
}

// A group whose first piece has moved behind its later ones is gone when it is complete.
func TestAggregateForgetsWhatHasMoved(t *testing.T) {
	w := newWorld(t, func() Machine {
		a := NewAggregate(&plan.Group{AtEnd: true}, false, space)
		a.log.slack = 0
		return a
	})
	item := func(key, body string, last bool) Item {
		return Item{Key: key, Flag: last, Record: message(key, body, key)}
	}
	w.absorb(item("moves", "1", false), item("large", strings.Repeat("1", 1000), false))
	w.absorb(item("moves", "2", false))
	w.absorb(item("stays", strings.Repeat("3", 300), false), item("large", "4", true))
	if got := showGroup(w.absorb(item("moves", "5", true)).emitted[0]); !strings.Contains(got, "[1,2,5]") {
		t.Error(got)
	}
	w.settle()
	w.restart()
	if out := w.end(); len(out.emitted) != 1 || !strings.Contains(showGroup(out.emitted[0]), "stays [3") {
		t.Errorf("%d groups", len(out.emitted))
	}
}

// A watermark that jumps over many groups does not make one large transaction.
func TestAggregateLeavesInPortions(t *testing.T) {
	for _, event := range []bool{true, false} {
		t.Run(fmt.Sprint(event), func(t *testing.T) {
			w := newWorld(t, func() Machine { return NewAggregate(&plan.Group{Idle: time.Second}, event, space) })
			got := 0
			for i := range 3500 {
				key := fmt.Sprint(i)
				w.absorb(Item{Key: key, At: beginning.UnixNano(), Record: message(key, "1", key)})
			}
			w.now = w.now.Add(time.Hour)
			// Its group is over, and is not gone on with, whether it has left or not.
			out := w.absorb(Item{Key: "3400", At: w.now.UnixNano(), Record: message("3400", "2", "x")})
			got += len(out.emitted)
			for w.m.Due() != 0 && w.m.Due() <= w.now.UnixNano() {
				w.settle()
				w.restart()
				out := &taken{}
				more, err := w.m.Fire(t.Context(), out, w.now)
				if err != nil || len(out.emitted) > portion || len(out.emitted) == 0 {
					t.Fatalf("%d at once, %v", len(out.emitted), err)
				}
				w.pending = out.ops
				got += len(out.emitted)
				if more != (w.m.Due() != 0 && w.m.Due() <= w.now.UnixNano()) {
					t.Fatalf("more is %v, due at %d", more, w.m.Due())
				}
			}
			if got != 3500 {
				t.Errorf("%d groups left", got)
			}
			w.settle()
			w.restart()
			if event {
				got += len(w.end().emitted)
			} else {
				w.now = w.now.Add(time.Second)
				got += len(w.fire().emitted)
			}
			if got != 3501 {
				t.Errorf("%d groups left in the end", got)
			}
		})
	}
}

func TestAggregateBoundOfBytes(t *testing.T) {
	op := &plan.Group{AtEnd: true, MaxBytes: 10000}
	w := newWorld(t, func() Machine { return NewAggregate(op, false, space) })
	var keys []string
	for i := range 30 {
		key := fmt.Sprint(i)
		out := w.absorb(Item{Key: key, At: w.now.UnixNano(), Record: message(key, strings.Repeat("7", 900), key)})
		for _, e := range out.emitted {
			v, _ := record.Parse([]byte(e))
			keys = append(keys, v.Key())
		}
		w.settle()
		if i%7 == 0 {
			w.restart()
		}
	}
	if len(keys) < 19 || len(keys) > 22 || !slices.IsSortedFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }) {
		t.Errorf("let go: %v", keys)
	}
	out := w.absorb(Item{Key: "huge", Record: message("", strings.Repeat("7", 20000), "huge")})
	if n := out.counts[ByBound]; n != 30-len(keys)+1 {
		t.Errorf("%d let go for one that is larger than the bound", n)
	}
}

// Bodies come into the list as JSON, whatever they are.
func TestAggregateOfBodies(t *testing.T) {
	w := newWorld(t, func() Machine { return NewAggregate(&plan.Group{AtEnd: true}, false, space) })
	text := record.Draft{Body: []byte("a \"b\""), Format: jsonview.Text}.Append(nil)
	binary := record.Draft{Body: []byte{0xff, 0}, Format: jsonview.Binary}.Append(nil)
	out := w.absorb(Item{Record: text}, Item{Record: binary}, Item{Record: message("", "", "")}, Item{Record: []byte("no record")})
	if !slices.Equal(out.rejected, []int{3}) {
		t.Errorf("rejected: %v", out.rejected)
	}
	w.settle()
	w.restart()
	v, err := record.Parse([]byte(w.end().emitted[0]))
	if want := `["a \"b\"","/wA=",null]`; err != nil || string(v.Body()) != want || v.Format() != jsonview.JSON {
		t.Errorf("%s %v", v.Body(), err)
	}
}

func TestAggregateRefusesDamage(t *testing.T) {
	entry := func(n uint64, v string) op { return put(string(numberKey(nil, logKind, n)), "\x01"+v) }
	first := "\x02\x00\x01\x00\x00\x01k\x00\x02[1" // the group 1
	second := "\x02\x01\x02\x00\x00\x02,1"
	for name, ops := range map[string][]op{
		"no such kind":      {put("?", "")},
		"a short key":       {put("l123", "\x01"+first)},
		"no first piece":    {entry(1, second)},
		"a gap":             {entry(1, first), entry(3, second)},
		"a piece twice":     {entry(1, first), entry(2, second), entry(3, second)},
		"one key twice":     {entry(1, first+"\x04"+first[1:])},
		"another version":   {put(string(numberKey(nil, logKind, 1)), "\x02"+first)},
		"empty":             {put(string(numberKey(nil, logKind, 1)), "")},
		"cut":               {entry(1, first[:5])},
		"cut in its body":   {entry(1, first[:len(first)-1])},
		"a watermark":       {put("w", "1")},
		"a clock":           {put("c", "1")},
		"a key too long":    {entry(1, first[:5]+"\xff\xff\x7f")},
		"an endless number": {entry(1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
		"no messages":       {entry(1, "\x02\x00\x00\x00\x00\x01k\x00\x02[1")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func() Machine { return NewAggregate(&plan.Group{Size: 3}, false, space) })
			w.pending = ops
			w.settle()
			err := NewAggregate(&plan.Group{Size: 3}, true, space).Load(t.Context(), w.st)
			if err == nil || !strings.Contains(err.Error(), space) || penstock.CodeOf(err) != penstock.Internal {
				t.Errorf("%v", err)
			}
		})
	}
}

func put(key, value string) op {
	return op{e: storeEntry(key, value)}
}
