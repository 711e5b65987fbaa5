package view_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/jsonview"
)

const base = `
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: movement }
spec: { jsonSchema: { type: object, required: [account, kind, amount], properties: { account: { type: string }, kind: { type: string }, amount: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: balance }
spec: { jsonSchema: { type: object, required: [balance], properties: { balance: { type: integer, maximum: 1000000 }, count: { type: integer }, note: { type: string } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: movements }
spec: { schema: movement, key: body.account }
---
`

const balances = `
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: balances }
spec:
  from: { channel: movements }
  by: body.kind
  schema: balance
  events:
    paid: { upsert: { balance: "${row.?balance.orValue(0) + body.amount}", count: "${row.?count.orValue(0) + 1}" } }
    drawn: { upsert: { balance: "${row.?balance.orValue(0) - body.amount}" } }
    noted: { when: body.amount > 0, upsert: { balance: "${row.?balance.orValue(0)}", note: "n${body.amount}" } }
    cleared: { upsert: { balance: "${row.?balance.orValue(0)}", note: null } }
    closed: { delete: true }
  queries:
    poor: { args: { below: int }, where: row.balance < args.below, limit: 3 }
`

// compiled is the plan of some YAML.
func compiled(t testing.TB, text string) *plan.Plan {
	t.Helper()
	set, l := resource.Load(resource.Options{FS: fstest.MapFS{"a.yaml": {Data: []byte(text)}}, Paths: []string{"a.yaml"}})
	pl, found := compile.Compile(set, penstock.NewRegistry(), compile.Options{})
	l.Merge(found)
	if pl == nil || l.HasErrors() {
		for _, d := range l.Sorted() {
			t.Error(d)
		}
		t.FailNow()
	}
	return pl
}

// movement is an event, and what a row is to the tests.
type movement struct {
	Account string `json:"account"`
	Kind    string `json:"kind"`
	Amount  int64  `json:"amount"`
}

type balance struct {
	Balance int64  `json:"balance"`
	Count   int64  `json:"count,omitempty"`
	Note    string `json:"note,omitempty"`
}

// folded is what events come to.
func folded(events []movement) map[string]balance {
	rows := map[string]balance{}
	for _, e := range events {
		r, ok := rows[e.Account]
		switch e.Kind {
		case "paid":
			r.Balance += e.Amount
			r.Count++
		case "drawn":
			r.Balance -= e.Amount
		case "noted":
			if e.Amount <= 0 {
				continue
			}
			r.Note = fmt.Sprint("n", e.Amount)
		case "cleared":
			r.Note = ""
		case "closed":
			delete(rows, e.Account)
			continue
		default:
			continue
		}
		_ = ok
		rows[e.Account] = r
	}
	return rows
}

// bundle is events on their way into a channel.
func bundle(events []movement) store.Bundle {
	b := store.Bundle{N: len(events)}
	var rec []byte
	for _, e := range events {
		body, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		rec = record.Draft{Time: 1, Key: e.Account, Format: jsonview.JSON, Body: body}.Append(rec[:0])
		b.Data = store.AppendFrame(b.Data, rec)
	}
	return b
}

func send(t testing.TB, st store.Store, events []movement) {
	t.Helper()
	err := st.Submit(store.Bulk, func(tx store.Tx) error {
		_, err := tx.Append("movements", bundle(events))
		return err
	}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, st store.Store, pl *plan.Plan) *view.Engine {
	t.Helper()
	e, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: penstock.SystemClock{}, Params: pl.Params})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func drain(t testing.TB, e *view.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := e.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// rowsOf reads all rows by a query that has no condition.
func rowsOf(t testing.TB, e *view.Engine, name string) map[string]balance {
	t.Helper()
	out := map[string]balance{}
	page, err := e.Rows(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		var b balance
		if err := json.Unmarshal(r.Text, &b); err != nil {
			t.Fatalf("row %s: %v in %s", r.Key, err, r.Text)
		}
		out[r.Key] = b
	}
	return out
}

func same(t testing.TB, got, want map[string]balance) {
	t.Helper()
	for k, w := range want {
		if got[k] != w {
			t.Fatalf("row %s is %+v, and the events come to %+v", k, got[k], w)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			t.Fatalf("row %s is %+v, and the events come to none", k, g)
		}
	}
}

// drawn draws events.
func drawn(r *rand.Rand, n, accounts int) []movement {
	kinds := []string{"paid", "paid", "drawn", "drawn", "noted", "cleared", "closed", "unheard"}
	out := make([]movement, n)
	for i := range out {
		out[i] = movement{fmt.Sprint("a", r.IntN(accounts)), kinds[r.IntN(len(kinds))], int64(r.IntN(100))}
	}
	return out
}

// TestViewIsWhatTheEventsComeTo opens and ends engines over one store, whose process dies now and then, while events come.
func TestViewIsWhatTheEventsComeTo(t *testing.T) {
	pl := compiled(t, base+balances)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		st := memory.New()
		var all []movement
		for range 1 + r.IntN(4) {
			e := open(t, st, pl)
			for range r.IntN(6) {
				some := drawn(r, 1+r.IntN(300), 1+r.IntN(40))
				send(t, st, some)
				all = append(all, some...)
				if r.IntN(3) == 0 {
					drain(t, e)
					same(t, rowsOf(t, e, "balances"), folded(all))
				}
			}
			if r.IntN(2) == 0 { // killed, with whatever is durable
				st = st.Reopen()
			}
			e.Close()
		}
		e := open(t, st, pl)
		drain(t, e)
		same(t, rowsOf(t, e, "balances"), folded(all))
		e.Close()
	}
}

// TestQuery looks rows up by key, and by a query page by page.
func TestQuery(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	var events []movement
	for i := range 10 {
		events = append(events, movement{fmt.Sprint("k", i), "paid", int64(i)})
	}
	send(t, st, events)
	drain(t, e)
	row, err := e.Get(t.Context(), "balances", "k3")
	if err != nil || string(row) != `{"balance":3,"count":1}` {
		t.Fatalf("k3 is %s, %v", row, err)
	}
	if row, err = e.Get(t.Context(), "balances", "nobody"); err != nil || row != nil {
		t.Fatalf("nobody is %s, %v", row, err)
	}
	var keys []string
	after, pages := "", 0
	for {
		page, err := e.Find(t.Context(), "balances", "poor", []penstock.Value{penstock.IntValue(7)}, after)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, r := range page.Rows {
			keys = append(keys, r.Key)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if got := strings.Join(keys, " "); got != "k0 k1 k2 k3 k4 k5 k6" || pages != 3 {
		t.Errorf("found %s on %d pages", got, pages)
	}
	if _, err := e.Find(t.Context(), "balances", "poor", []penstock.Value{penstock.IntValue(7)}, "nonsense!"); penstock.CodeOf(err) != penstock.Invalid {
		t.Errorf("a page that nobody gave: %v", err)
	}
}

// TestAViewThatThrowsStops holds it to stop at the very event, to say why, and to go on when it is told to.
func TestAViewThatThrowsStops(t *testing.T) {
	pl := compiled(t, base+balances+"---"+strings.NewReplacer("balances", "others", "row.?balance.orValue(0) + body.amount", "body.amount % 10").Replace(balances))
	st := memory.New()
	e := open(t, st, pl)
	before := []movement{{"a", "paid", 5}, {"b", "paid", 6}}
	bad := movement{"a", "paid", 2_000_000} // more than the schema allows
	behind := []movement{{"a", "paid", 7}, {"c", "paid", 8}}
	send(t, st, before)
	send(t, st, append([]movement{{"b", "paid", 1}, bad}, behind...))
	drain(t, e)
	state, err := e.State(t.Context(), "balances")
	if err != nil || state.Stopped == nil || state.Stopped.Position != 3 || state.Stopped.Key != "a" || state.Stopped.Kind != "paid" || !strings.Contains(state.Stopped.Message, "balance") {
		t.Fatalf("it should have stopped at 3: %+v, %v", state, err)
	}
	same(t, rowsOf(t, e, "balances"), folded(append(before, movement{"b", "paid", 1})))
	if o, err := e.State(t.Context(), "others"); err != nil || o.Stopped != nil || o.Position[0] != 6 {
		t.Errorf("the other view should have gone on: %+v, %v", o, err)
	}
	// The same event again: it stops there again.
	if err := e.Retry(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	drain(t, e)
	if state, _ = e.State(t.Context(), "balances"); state.Stopped == nil || state.Stopped.Position != 3 {
		t.Fatalf("it should have stopped again: %+v", state)
	}
	if _, err := e.Skip(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	drain(t, e)
	same(t, rowsOf(t, e, "balances"), folded(append(append(before, movement{"b", "paid", 1}), behind...)))
}

// TestAnotherDefinitionIsBuiltBeside reads the rows of the old one until those of the new one are there.
func TestAnotherDefinitionIsBuiltBeside(t *testing.T) {
	old := compiled(t, base+balances)
	next := compiled(t, base+strings.Replace(balances, "row.?balance.orValue(0) + body.amount", "row.?balance.orValue(0) + body.amount * 2", 1))
	st := memory.New()
	e := open(t, st, old)
	events := []movement{{"a", "paid", 5}, {"b", "paid", 6}, {"a", "paid", 1}}
	send(t, st, events)
	drain(t, e)
	if err := e.Apply(t.Context(), next.Views, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := e.Built(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	same(t, rowsOf(t, e, "balances"), map[string]balance{"a": {12, 2, ""}, "b": {12, 1, ""}})
	state, err := e.State(t.Context(), "balances")
	if err != nil || state.Generation != 2 || state.Building != nil || state.Rows != 2 {
		t.Errorf("%+v, %v", state, err)
	}
	send(t, st, []movement{{"b", "paid", 1}})
	drain(t, e)
	same(t, rowsOf(t, e, "balances"), map[string]balance{"a": {12, 2, ""}, "b": {14, 2, ""}})
	// Nothing is left of the generation before.
	err = st.View(t.Context(), func(v store.View) error {
		spaces, err := v.State().Spaces("view/")
		for _, s := range spaces {
			if strings.Contains(s.Name, "@1") && s.Entries > 0 {
				t.Errorf("%s holds %d entries", s.Name, s.Entries)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRebuildHeld builds rows beside those that are there, compares them, and switches when it is told to.
func TestRebuildHeld(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	events := drawn(rand.New(rand.NewPCG(1, 2)), 500, 30)
	send(t, st, events)
	drain(t, e)
	// A row that no event made: what rebuilding is for.
	err := st.Submit(store.Small, func(tx store.Tx) error {
		return tx.Put("view/balances@1", store.Entry{Key: []byte("ghost"), Value: []byte(`{"balance":1}`)})
	}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Diff(t.Context(), "balances", 10)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Level || c.Differ != 1 || c.Checksum == c.Built || len(c.Differences) != 1 || c.Differences[0].Key != "ghost" || c.Position[0] != 500 {
		t.Fatalf("%+v", c)
	}
	if _, ok := rowsOf(t, e, "balances")["ghost"]; !ok {
		t.Fatal("what was only compared was switched to")
	}
	more := drawn(rand.New(rand.NewPCG(1, 3)), 50, 30)
	send(t, st, more)
	if err := e.Rebuild(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := e.Built(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	drain(t, e)
	same(t, rowsOf(t, e, "balances"), folded(append(events, more...)))
}
