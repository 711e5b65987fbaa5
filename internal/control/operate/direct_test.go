package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/jsonview"
)

// clock goes on by itself as far as somebody waits for it.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	waited time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waited += d
	t := make(chan time.Time, 1)
	t <- c.now
	return t, func() {}
}

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// world is a store with operations on it.
type world struct {
	t     *testing.T
	store *memory.Store
	clock *clock
	conf  operate.Config
	ops   *operate.Operations
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: memory.New(), clock: &clock{now: start}}
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.conf = operate.Config{
		Path: path, Clock: w.clock,
		Open: func() (store.Store, error) { return w.store, nil }, Opened: func() store.Store { return w.store },
		Where: func(e string) (operate.Filter, error) {
			if e == "bad" {
				return nil, errors.New("bad expression")
			}
			return func(v record.View) (bool, error) { return strings.Contains(string(v.Body()), e), nil }, nil
		},
	}
	w.ops = operate.Direct(w.conf)
	return w
}

// again makes new operations on the same store, as a second command does.
func (w *world) again() *operate.Operations { return operate.Direct(w.conf) }

func (w *world) append(channel string, at time.Time, recs ...[]byte) {
	w.t.Helper()
	b := store.Bundle{N: len(recs), MinTime: at.UnixNano(), MaxTime: at.UnixNano()}
	for _, r := range recs {
		b.Data = store.AppendFrame(b.Data, r)
	}
	if err := w.store.Submit(store.Small, func(tx store.Tx) error { _, err := tx.Append(channel, b); return err }).Wait(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// letter is a dead letter as the engine writes it.
func letter(key, body, step, message string, more ...penstock.Entry) []byte {
	str := penstock.StringValue
	fields := append([]penstock.Entry{
		{Key: str("code"), Value: str("invalid")}, {Key: str("message"), Value: str(message)}, {Key: str("step"), Value: str(step)},
		{Key: str("path"), Value: str("body.a")}, {Key: str("attempts"), Value: penstock.IntValue(1)}, {Key: str("time"), Value: str("2026-11-23T07:00:00Z")},
	}, more...)
	return record.Draft{Time: start.UnixNano(), Key: key, Format: jsonview.JSON, Body: []byte(body), Meta: []penstock.MetaEntry{
		{Name: "who", Value: str("me")}, {Name: "dead", Value: penstock.MapValue(&penstock.Map{Entries: fields})},
	}}.Append(nil)
}

// die appends n dead letters of flow orders: every third fails at step map, the others at check.
func (w *world) die(n int) {
	for i := range n {
		step := "check"
		if i%3 == 0 {
			step = "map"
		}
		w.append("orders.dead", start.Add(time.Duration(i)*time.Second), letter(fmt.Sprint("k", i%2), fmt.Sprintf(`{"n": %d}`, i), step, fmt.Sprintf("value %d is bad", i)))
	}
}

func (w *world) bodies(channel string) []string {
	w.t.Helper()
	out := []string{}
	err := w.store.View(context.Background(), func(v store.View) error {
		segs, err := v.Log().Segments(channel, 0, 1<<30)
		for _, s := range segs {
			for data := s.Data; len(data) > 0; {
				msg, rest, err := store.NextFrame(data)
				if err != nil {
					return err
				}
				r, err := record.Parse(msg)
				if err != nil {
					return err
				}
				out, data = append(out, string(r.Body())), rest
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func ids(t *testing.T, ops *operate.Operations, s operate.Selection) []string {
	t.Helper()
	out := []string{}
	if err := ops.Dead.Each(t.Context(), s, func(d *operate.DeadLetter) error { out = append(out, d.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClustersOfAStore(t *testing.T) {
	w := newWorld(t)
	w.die(7)
	w.append("other.dead", start, letter("", `1`, "x", "y"))
	w.append("orders", start, letter("", `1`, "x", "no dead letter"))
	c, err := w.ops.Dead.Clusters(t.Context(), "")
	if err != nil || c.Count != 8 || len(c.Clusters) != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	if f := c.Clusters[0]; f.Flow != "orders" || f.Step != "check" || f.Count != 4 || f.Message != "value 5 is bad" || f.Example != "orders.dead@5" {
		t.Errorf("%+v", f)
	}
	if c, err = w.ops.Dead.Clusters(t.Context(), "other"); err != nil || c.Count != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestShow(t *testing.T) {
	w := newWorld(t)
	w.die(2)
	w.append("orders.dead", start, record.Draft{Format: jsonview.Binary, Body: []byte{0, 255}}.Append(nil), record.Draft{Format: jsonview.JSON, Body: []byte(`{"torn`)}.Append(nil))
	d, err := w.ops.Dead.Show(t.Context(), "orders.dead@1")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(d)
	want := `{"id":"orders.dead@1","body":{"n":1},"key":"k1","meta":{"who":"me","dead":{"code":"invalid","message":"value 1 is bad","step":"check","path":"body.a","attempts":1,"time":"2026-11-23T07:00:00Z"}},"open":true}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if string(d.Body) != `{"n": 1}` || d.Reason.Step != "check" || d.Reason.Attempts != 1 {
		t.Errorf("%s %+v", d.Body, d.Reason)
	}
	for id, want := range map[string][2]string{"orders.dead@2": {`"AP8="`, "base64"}, "orders.dead@3": {`"{\"torn"`, "text"}} {
		if d, err := w.ops.Dead.Show(t.Context(), id); err != nil || string(d.Body) != want[0] || d.Encoding != want[1] {
			t.Errorf("%s: %+v, %v", id, d, err)
		}
	}
	for id, want := range map[string]string{
		"orders.dead@9": "was never there", "nothing.dead@0": "was never there", "orders@0": "is no id", "x": "is no id", "orders.dead@-1": "is no id", ".dead@1": "is no id", "a/b.dead@1": "is no id",
	} {
		if _, err := w.ops.Dead.Show(t.Context(), id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestSelections(t *testing.T) {
	w := newWorld(t)
	w.die(12)
	w.append("other.dead", start, letter("", `{"n": 1}`, "x", "y"))
	for _, tc := range []struct {
		s    operate.Selection
		want []string
	}{
		{operate.Selection{Flow: "orders", Limit: 2}, []string{"orders.dead@0", "orders.dead@1"}},
		{operate.Selection{Flow: "orders", Where: ": 1"}, []string{"orders.dead@1", "orders.dead@10", "orders.dead@11"}},
		{operate.Selection{Where: ": 1", Limit: 4}, []string{"orders.dead@1", "orders.dead@10", "orders.dead@11", "other.dead@0"}},
		{operate.Selection{IDs: []string{"orders.dead@7", "other.dead@0", "orders.dead@2", "orders.dead@2"}}, []string{"orders.dead@2", "orders.dead@7", "other.dead@0"}},
		{operate.Selection{IDs: []string{"orders.dead@99"}}, []string{}},
		{operate.Selection{Flow: "nothing"}, []string{}},
	} {
		if got := ids(t, w.ops, tc.s); !slices.Equal(got, tc.want) {
			t.Errorf("%+v gives %v", tc.s, got)
		}
	}
	if err := w.ops.Dead.Each(t.Context(), operate.Selection{Where: "bad"}, nil); err == nil {
		t.Error("a bad condition is no error")
	}
	if err := w.ops.Dead.Each(t.Context(), operate.Selection{Flow: "other", IDs: []string{"orders.dead@1"}}, nil); err == nil {
		t.Error("the id of another flow is no error")
	}
}

func TestRedriveMovesOnceAndInOrder(t *testing.T) {
	w := newWorld(t)
	w.die(700)
	var progress []int64
	got, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "orders", Where: "2"}, Who: "ann"},
		func(a operate.Acted) error { progress = append(progress, a.Count); return nil })
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 700 {
		if strings.Contains(fmt.Sprint(i), "2") {
			want = append(want, fmt.Sprintf(`{"n": %d}`, i))
		}
	}
	n := int64(len(want))
	if got.Count != n || got.Left != 700-n || progress[len(progress)-1] != n {
		t.Errorf("%+v of %d, %v", got, n, progress)
	}
	if in := w.bodies("orders#in"); !slices.Equal(in, want) {
		t.Errorf("%d messages came in, want %d", len(in), n)
	}
	// The same again, by another command, does nothing; the rest comes with the next.
	for _, ops := range []*operate.Operations{w.ops, w.again()} {
		if got, err := ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "orders", Where: "2"}}, nil); err != nil || got.Count != 0 || got.Left != 700-n {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, err := w.again().Dead.Act(t.Context(), operate.Action{Verb: operate.Drop, Selection: operate.Selection{Flow: "orders"}, Who: "bob"}, nil); err != nil || got.Count != 700-n || got.Left != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if in := w.bodies("orders#in"); len(in) != len(want) {
		t.Errorf("what was dropped came in: %d messages", len(in))
	}
	var count int64
	who := map[string]bool{}
	for _, text := range w.bodies("#audit") {
		var a operate.Audited
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		count += a.Count
		who[string(a.Verb)+" "+a.Who] = true
		if a.Time.IsZero() || a.Flow != "orders" || len(a.IDs) == 0 {
			t.Errorf("%s", text)
		}
	}
	if count != 700 || !who["redrive ann"] || !who["drop bob"] {
		t.Errorf("audited %d, by %v", count, who)
	}
	if d, err := w.ops.Dead.Show(t.Context(), "orders.dead@5"); err == nil && d.Open {
		t.Errorf("%+v", d)
	}
}

// TestWhatDiesMeanwhileIsNotRedriven: or a message that dies again would go round for good.
func TestWhatDiesMeanwhileIsNotRedriven(t *testing.T) {
	w := newWorld(t)
	w.die(30)
	got, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "orders"}, Rate: 100}, func(operate.Acted) error {
		w.die(10)
		return nil
	})
	if err != nil || got.Count != 30 || got.Left != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRedrivenRecordIsTheSame(t *testing.T) {
	w := newWorld(t)
	rec := letter("k", `{"a":1}`, "s", "m", penstock.Entry{Key: penstock.StringValue("entry"), Value: penstock.StringValue("behind totals")})
	w.append("orders.dead", start, rec)
	if _, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "orders"}}, nil); err != nil {
		t.Fatal(err)
	}
	err := w.store.View(t.Context(), func(v store.View) error {
		segs, err := v.Log().Segments("orders#in", 0, 1000)
		if len(segs) != 1 || !strings.HasSuffix(string(segs[0].Data), string(rec)) {
			t.Errorf("%+v", segs)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRateIsKept(t *testing.T) {
	w := newWorld(t)
	w.die(50)
	if _, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "orders"}, Rate: 10}, nil); err != nil {
		t.Fatal(err)
	}
	if w.clock.waited < 4*time.Second || w.clock.waited > 5*time.Second {
		t.Errorf("50 messages at 10/s took %s", w.clock.waited)
	}
}

func TestFailedTransactionMovesNothing(t *testing.T) {
	w := newWorld(t)
	w.die(3)
	sel := operate.Selection{Flow: "orders"}
	if _, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "orders", Where: "nothing"}}, nil); err != nil {
		t.Fatal(err) // opens the group
	}
	w.store.Fail(errors.New("disk"))
	if _, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Redrive, Selection: sel}, nil); err == nil {
		t.Fatal("no error")
	}
	w.store = w.store.Reopen()
	if in, audit := w.bodies("orders#in"), w.bodies("#audit"); len(in) != 0 || len(audit) != 0 {
		t.Errorf("%v, %v", in, audit)
	}
	if got := ids(t, w.again(), sel); len(got) != 3 {
		t.Errorf("open are %v", got)
	}
}

func TestWrongActions(t *testing.T) {
	w := newWorld(t)
	w.conf.Flows, w.conf.Jobs = []string{"orders", "job"}, []string{"job"}
	ops := w.again()
	w.die(1)
	for _, tc := range []struct {
		a    operate.Action
		want string
	}{
		{operate.Action{Verb: "burn", Selection: operate.Selection{Flow: "orders"}}, "nothing that can be done"},
		{operate.Action{Verb: operate.Drop}, "no flow named"},
		{operate.Action{Verb: operate.Redrive, Rate: -1, Selection: operate.Selection{Flow: "orders"}}, "below zero"},
		{operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "ordres"}}, "did you mean orders"},
		{operate.Action{Verb: operate.Redrive, Selection: operate.Selection{Flow: "job"}}, "keeps no state"},
	} {
		if _, err := ops.Dead.Act(t.Context(), tc.a, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.a, err)
		}
	}
	if in := w.bodies("#audit"); len(in) != 0 {
		t.Errorf("audited %v", in)
	}
}

// process is a run.
type process struct {
	flows   []operate.FlowStatus
	stopped bool
	done    chan struct{}
	let     []string
}

func (p *process) Let(flow string, dropped []operate.Reason) {
	for _, r := range dropped {
		p.let = append(p.let, fmt.Sprintf("%s %s %s %d", flow, r.Entry, r.Held, r.Number))
	}
}

func (p *process) Flows() []operate.FlowStatus { return slices.Clone(p.flows) }
func (p *process) Since() time.Time            { return start.Add(-time.Minute) }
func (p *process) Stopping() bool              { return p.stopped }
func (p *process) Done() <-chan struct{}       { return p.done }
func (p *process) Failure() error              { return nil }
func (p *process) Stop()                       { p.stopped = true }

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.die(5)
	w.append("orders", start.Add(-10*time.Second), letter("", "1", "", ""), letter("", "2", "", ""))
	w.append("orders", start.Add(-4*time.Second), letter("", "3", "", ""))
	w.acknowledge("orders", "billing/from", 2)
	w.append("jobs", start.Add(-time.Second), letter("", "3", "", ""))
	w.acknowledge("jobs", "queue", 0)
	w.append("orders/totals", start.Add(-2*time.Second), letter("", "3", "", ""))
	w.acknowledge("orders/totals", "orders/totals", 0)
	w.conf.Process = &process{flows: []operate.FlowStatus{{Flow: "orders", State: operate.StateRunning, Read: 9}, {Flow: "billing", State: operate.StateRunning}, {Flow: "worker"}}}
	w.conf.Readers = map[string][]string{"jobs": {"worker"}}
	st, err := w.again().Flows.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !st.Running || st.PID != os.Getpid() || st.Seconds != 60 || st.Store != w.conf.Path || len(st.Flows) != 3 {
		t.Errorf("%+v", st)
	}
	want := []operate.FlowStatus{
		{Flow: "orders", State: operate.StateRunning, Read: 9, Dead: 5, Lag: 1, Age: 2},
		{Flow: "billing", State: operate.StateRunning, Lag: 1, Age: 4},
		{Flow: "worker", Lag: 1, Age: 1},
	}
	if !reflect.DeepEqual(st.Flows, want) {
		t.Errorf("got  %+v\nwant %+v", st.Flows, want)
	}
	// Nothing runs.
	w.conf.Process, w.conf.Flows, w.conf.Readers = nil, nil, nil
	if _, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Drop, Selection: operate.Selection{Flow: "orders", Limit: 2}}, nil); err != nil {
		t.Fatal(err)
	}
	st, err = w.again().Flows.Status(t.Context())
	if err != nil || st.Running || len(st.Flows) != 2 || st.Flows[1].Flow != "orders" || st.Flows[1].Dead != 3 || st.Flows[1].State != operate.StateStopped {
		t.Errorf("%+v, %v", st, err)
	}
}

// acknowledge has a group done with what is before a position.
func (w *world) acknowledge(name, group string, before int64) {
	w.t.Helper()
	if err := operate.Acknowledge(w.t.Context(), w.store, name, group, before); err != nil {
		w.t.Fatal(err)
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	d, err := w.ops.Flows.Drain(t.Context(), nil)
	if err != nil || d.Running {
		t.Errorf("%+v, %v", d, err)
	}
	p := &process{flows: []operate.FlowStatus{{Unsettled: 2}, {Unsettled: 1}}, done: make(chan struct{})}
	w.conf.Process = p
	var left []int64
	d, err = w.again().Flows.Drain(t.Context(), func(d operate.Draining) error {
		left = append(left, d.Unsettled)
		switch len(left) {
		case 1:
			p.flows[0].Unsettled--
		case 2:
			p.flows = nil
			close(p.done)
		}
		return nil
	})
	if err != nil || !d.Running || d.Unsettled != 0 || !p.stopped || left[0] != 3 || left[1] != 2 {
		t.Errorf("%+v, %v, %v", d, err, left)
	}
	w.conf.Process = &process{done: make(chan struct{})}
	gone := errors.New("gone")
	if _, err := w.again().Flows.Drain(t.Context(), func(operate.Draining) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func TestNoStore(t *testing.T) {
	w := newWorld(t)
	w.conf.Path = filepath.Join(t.TempDir(), "nothing.db")
	w.conf.Opened = nil
	w.conf.Open = func() (store.Store, error) { t.Error("it was opened"); return nil, errors.New("no") }
	ops := w.again()
	_, one := ops.Flows.Status(t.Context())
	_, two := ops.Dead.Clusters(t.Context(), "")
	_, three := ops.Store.Info(t.Context())
	for _, err := range []error{one, two, three} {
		if penstock.CodeOf(err) != penstock.NotFound || !strings.Contains(err.Error(), "there is no store here") {
			t.Errorf("%v", err)
		}
	}
}

func TestTrace(t *testing.T) {
	w := newWorld(t)
	note := func(flow string, at time.Duration, bases map[string]int64, notes func(d *journal.Draft)) {
		var d journal.Draft
		d.Reset(flow)
		notes(&d)
		now := start.Add(at)
		w.append(journal.Channel, now, slices.Clone(d.Append(now.UnixNano(), func(ch string) (int64, bool) { b, ok := bases[ch]; return b, ok })))
	}
	if err := w.store.Submit(store.Small, func(tx store.Tx) error {
		return errors.Join(tx.Put("steps", store.Entry{Key: []byte("totals/sum"), Value: []byte("aggregate by key")}),
			tx.Put("steps", store.Entry{Key: []byte("orders/once"), Value: []byte("dedupe by key")}))
	}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	note("orders", 1*time.Second, map[string]int64{"orders/once": 3}, func(d *journal.Draft) {
		for i := range 5 { // the third is there twice
			key := fmt.Sprint("k", min(i+1, 4)%3)
			d.Message("a.csv", int64(i)*20, int64(i)+1, key, journal.Absorbed, 1)
			d.Absorbed("orders/once", fmt.Sprint("k", min(i+1, 4)))
		}
		for i := range 4 {
			d.Emitted("orders/once", i, fmt.Sprint("k", (i+1)%3), fmt.Sprintf("a.csv:%d", i+1))
		}
	})
	note("orders", 2*time.Second, map[string]int64{"lines": 10}, func(d *journal.Draft) {
		for i := range 4 {
			d.Message("orders/once", int64(i)+3, 0, fmt.Sprint("k", (i+1)%3), journal.Done, 2)
			d.Appended("lines", i)
			d.Sent("orders/to")
		}
		d.Message("a.csv", 200, 11, "", journal.Filtered, 0)
	})
	note("other", 3*time.Second, nil, func(d *journal.Draft) { // reads the channel, too
		d.Message("lines", 10, 0, "k1", journal.Done, 0)
	})
	note("totals", 3*time.Second, map[string]int64{"totals/sum": 5}, func(d *journal.Draft) {
		for i := range 4 {
			d.Message("lines", int64(i)+10, 0, fmt.Sprint("k", (i+1)%3), journal.Absorbed, 1)
			d.Absorbed("totals/sum", fmt.Sprint("k", (i+1)%3))
		}
		d.Emitted("totals/sum", 0, "k1", "lines@10") // of two: the key comes again
		d.Emitted("totals/sum", 1, "k2", "lines@11")
	})
	note("totals", 4*time.Second, map[string]int64{"lines": 14}, func(d *journal.Draft) {
		d.Message("totals/sum", 5, 0, "k1", journal.Dead, 1)
		d.Appended("totals.dead", 0)
		d.Message("totals/sum", 6, 0, "k2", journal.Done, 0)
		d.Message("lines", 14, 0, "k1", journal.Absorbed, 1) // another group of the key, which is open
		d.Absorbed("totals/sum", "k1")
	})
	show := func(q operate.TraceQuery) string {
		tr, err := w.ops.Journal.Trace(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, h := range tr.Hops {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", h.ID, h.Fate, strings.Join(h.To, "+"), h.From)))
		}
		if tr.More {
			out = append(out, "more")
		}
		return strings.Join(out, "; ")
	}
	first := "a.csv:1 absorbed orders/once (k1); orders/once@3 emitted  a.csv:1; orders/once@3 done lines@10+orders/to; "
	fourth := "a.csv:4 absorbed orders/once (k4); orders/once@6 emitted  a.csv:4; orders/once@6 done lines@13+orders/to; "
	both := "a.csv:1 absorbed orders/once (k1); a.csv:4 absorbed orders/once (k4); orders/once@3 emitted  a.csv:1; orders/once@6 emitted  a.csv:4; " +
		"orders/once@3 done lines@10+orders/to; orders/once@6 done lines@13+orders/to; "
	group := "totals/sum@5 emitted  lines@10; totals/sum@5 dead totals.dead@0"
	for _, tc := range []struct {
		q    operate.TraceQuery
		want string
	}{
		{operate.TraceQuery{ID: "a.csv:1"}, first + "lines@10 done; lines@10 absorbed totals/sum (k1); " + group},
		{operate.TraceQuery{ID: "a.csv:4"}, fourth + "lines@13 absorbed totals/sum (k1); " + group},
		{operate.TraceQuery{ID: "orders/once@6"}, fourth + "lines@13 absorbed totals/sum (k1); " + group},
		{operate.TraceQuery{ID: "lines@13"}, fourth + "lines@13 absorbed totals/sum (k1); " + group},
		{operate.TraceQuery{ID: "totals/sum@5"}, both + "lines@10 absorbed totals/sum (k1); lines@13 absorbed totals/sum (k1); " + group},
		{operate.TraceQuery{ID: "totals.dead@0"}, both + "lines@10 absorbed totals/sum (k1); lines@13 absorbed totals/sum (k1); " + group},
		{operate.TraceQuery{ID: "a.csv:5"}, "a.csv:5 absorbed orders/once (k4)"}, // the dedupe took it
		{operate.TraceQuery{ID: "a.csv:2"}, "a.csv:2 absorbed orders/once (k2); orders/once@4 emitted  a.csv:2; orders/once@4 done lines@11+orders/to; " +
			"lines@11 absorbed totals/sum (k2); totals/sum@6 emitted  lines@11; totals/sum@6 done"},
		{operate.TraceQuery{ID: "lines@14"}, "lines@14 absorbed totals/sum (k1)"},
		{operate.TraceQuery{ID: "a.csv:1", Limit: 1}, "a.csv:1 absorbed orders/once (k1); more"},
		{operate.TraceQuery{ID: "a.csv:11"}, "a.csv:11 filtered"},
		{operate.TraceQuery{ID: "b.csv:1"}, ""},
		{operate.TraceQuery{Key: "k4"}, "a.csv:4 absorbed orders/once (k4); a.csv:5 absorbed orders/once (k4)"},
	} {
		if got := show(tc.q); got != tc.want {
			t.Errorf("%+v\ngot  %s\nwant %s", tc.q, got, tc.want)
		}
	}
	if _, err := w.ops.Journal.Trace(t.Context(), operate.TraceQuery{}); err == nil {
		t.Error("nothing to follow is no error")
	}
}

func TestDropLetsGoOfKeys(t *testing.T) {
	w := newWorld(t)
	p := &process{}
	w.conf.Process = p
	ops := w.again()
	str := penstock.StringValue
	held := func(n int64) []penstock.Entry {
		return []penstock.Entry{{Key: str("entry"), Value: str("behind totals")}, {Key: str("held"), Value: str("k")}, {Key: str("number"), Value: penstock.IntValue(n)}}
	}
	w.append("orders.dead", start, letter("k", "1", "s", "m", held(7)...), letter("", "2", "s", "m"), letter("k", "3", "s", "m", held(8)...))
	w.append("orders.dead", start, record.Draft{Format: jsonview.JSON, Body: []byte("4"), Meta: []penstock.MetaEntry{{Name: "dead", Value: jsonValue(t, `{"entry":"from","held":"j","number":9}`)}}}.Append(nil))
	for _, verb := range []operate.Verb{operate.Redrive, operate.Drop} {
		if _, err := ops.Dead.Act(t.Context(), operate.Action{Verb: verb, Selection: operate.Selection{Flow: "orders", Where: map[operate.Verb]string{operate.Redrive: "3"}[verb]}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"orders behind totals k 7", "orders from j 9"}; !slices.Equal(p.let, want) {
		t.Errorf("%q were let go", p.let)
	}
}

func jsonValue(t *testing.T, text string) penstock.Value {
	t.Helper()
	b := &penstock.Batch{}
	doc := b.NewDoc()
	doc.Reset(jsonview.JSON, []byte(text))
	if err := doc.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	return penstock.NodeValue(doc, 0)
}

func TestInfo(t *testing.T) {
	w := newWorld(t)
	w.die(3)
	i, err := w.ops.Store.Info(t.Context())
	if err != nil || i.Path != w.conf.Path || len(i.Channels) != 1 || i.Channels[0].Messages != 3 || i.Channels[0].Next != 3 {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := w.ops.Store.Check(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("%v", err)
	}
	if _, err := w.ops.Store.Backup(t.Context(), operate.BackupRequest{Path: "relative"}, nil); err == nil {
		t.Error("a relative path is no error")
	}
}
