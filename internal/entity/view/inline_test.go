package view_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

const purses = `
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: amount }
spec: { jsonSchema: { type: object, required: [amount], properties: { amount: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: sum }
spec: { jsonSchema: { type: object, required: [sum], properties: { sum: { type: integer, maximum: 1000000 }, note: { type: string } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: purse }
spec:
  state: { schema: sum, initial: { sum: 0 } }
  commands:
    put: { schema: amount, emit: [ { event: Put } ] }
    twice: { schema: amount, emit: [ { event: Put }, { event: Put } ] }
    empty: { schema: amount, emit: [ { event: Emptied } ] }
  events:
    Put: { schema: amount, apply: { sum: "${state.sum + body.amount}" } }
    Emptied: { schema: amount, apply: { sum: "${0}" } }
`

const sums = `---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: sums }
spec:
  from: { entity: purse }
  inline: true
  schema: sum
  events:
    Put: { upsert: { sum: "${row.?sum.orValue(0) + body.amount}" } }
    Emptied: { delete: true }
  queries: { all: { limit: 1000 }, poor: { args: { below: int }, where: row.sum < args.below, limit: 7 } }
`

// bank is entities with views that are kept in their transactions.
type bank struct {
	t  testing.TB
	st store.Store
	pl *plan.Plan
	x  *entity.Entity
	e  *view.Engine
}

func newBank(t testing.TB, st store.Store, text string) *bank {
	t.Helper()
	b := &bank{t: t, st: st, pl: compiled(t, text)}
	all := entity.New(b.pl.Entities, entity.Options{Store: func() (store.Store, error) { return b.st, nil }})
	var err error
	b.e, err = view.Open(t.Context(), b.pl.Views, view.Options{Store: st, Entities: all, Clock: penstock.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.e.Close)
	b.x = all.Entity("purse")
	return b
}

func (b *bank) do(command, key string, amount int) error {
	_, err := b.x.Command(b.t.Context(), nil, entity.Request{Command: command, Key: key, Data: fmt.Appendf(nil, `{"amount":%d}`, amount), Expect: entity.AnyVersion})
	return err
}

func (b *bank) must(command, key string, amount int) {
	b.t.Helper()
	if err := b.do(command, key, amount); err != nil {
		b.t.Fatal(err)
	}
}

// sum is that of a row, by a query; -1 where there is none.
func (b *bank) sum(key string) int {
	b.t.Helper()
	text, err := b.e.Get(b.t.Context(), "sums", key)
	if err != nil {
		b.t.Fatal(err)
	}
	if text == nil {
		return -1
	}
	return sumIn(b.t, text)
}

func sumIn(t testing.TB, text []byte) int {
	t.Helper()
	var row struct{ Sum int }
	if err := json.Unmarshal(text, &row); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return row.Sum
}

// TestInlineRowsAreThereWithTheCommand asks after each command, beside others: the rows are what the commands that were acknowledged come to.
func TestInlineRowsAreThereWithTheCommand(t *testing.T) {
	for _, parts := range []int{1, 16} {
		t.Run(fmt.Sprint("parts=", parts), func(t *testing.T) {
			b := newBank(t, memory.NewParts(parts), purses+sums)
			drain(t, b.e)
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(g), 3))
					want := map[string]int{}
					for range 200 {
						key, n := fmt.Sprint("k", g, "-", r.IntN(8)), r.IntN(100)
						command := []string{"put", "twice", "empty"}[r.IntN(3)]
						if err := b.do(command, key, n); err != nil {
							t.Error(err)
							return
						}
						before, there := want[key]
						if !there {
							before = 0
						}
						switch command {
						case "put":
							want[key] = before + n
						case "twice":
							want[key] = before + 2*n
						default:
							delete(want, key)
						}
						is, there := want[key]
						if !there {
							is = -1
						}
						if got := b.sum(key); got != is {
							t.Errorf("after %s %d: the row of %s has %d, and the events come to %d", command, n, key, got, is)
							return
						}
					}
				})
			}
			wg.Wait()
			s, err := b.e.State(t.Context(), "sums")
			if err != nil || !s.Inline || s.Lagging || s.Phase != view.Running || s.Lag != 0 {
				t.Fatalf("%+v, %v", s, err)
			}
			page, err := b.e.Find(t.Context(), "sums", "all", nil, "")
			if err != nil || int64(len(page.Rows)) != s.Rows {
				t.Fatalf("%d rows of %d, %v", len(page.Rows), s.Rows, err)
			}
			c, err := b.e.Diff(t.Context(), "sums", 3)
			if err != nil || c.Differ != 0 || !c.Level || c.Checksum != c.Built || c.Rows != s.Rows {
				t.Fatalf("%+v, %v", c, err)
			}
		})
	}
}

// TestInlineRowsRefuseTheirCommand: one whose events can't be folded has done nothing, also not half, and holds up nobody else of its transaction.
func TestInlineRowsRefuseTheirCommand(t *testing.T) {
	b := newBank(t, memory.New(), purses+sums+strings.NewReplacer("name: sums", "name: others").Replace(sums))
	drain(t, b.e)
	b.must("put", "a", 10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				err := b.do("twice", "a", 600_000) // the first would do, the second is too much
				if penstock.CodeOf(err) != penstock.Unprocessable || !strings.Contains(err.Error(), "sums") || !strings.Contains(err.Error(), "Put") {
					t.Errorf("it should be refused: %v", err)
				}
				if err := b.do("put", fmt.Sprint("b", g), i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := b.sum("a"); got != 10 {
		t.Errorf("the row of a has %d", got)
	}
	state, version, err := b.x.State(t.Context(), "a", entity.AsOf{})
	if err != nil || version != 1 || string(state) != `{"sum":10}` {
		t.Errorf("a is %s in version %d, %v", state, version, err)
	}
	for g := range 8 {
		if got := b.sum(fmt.Sprint("b", g)); got != 29*30/2 {
			t.Errorf("the row of b%d has %d", g, got)
		}
	}
	b.must("put", "a", 1)
	if got := b.sum("a"); got != 11 {
		t.Errorf("the row of a has %d", got)
	}
}

// TestInlineRowsAreBuiltAnewBesideCommands rebuilds while commands go on, and takes another definition in: no event is missing at any time.
func TestInlineRowsAreBuiltAnewBesideCommands(t *testing.T) {
	for _, parts := range []int{1, 8} {
		t.Run(fmt.Sprint("parts=", parts), func(t *testing.T) {
			b := newBank(t, memory.NewParts(parts), purses+sums)
			drain(t, b.e)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			end := sync.OnceFunc(func() {
				close(stop)
				wg.Wait()
			})
			defer end()
			var counts [3]int
			for g := range counts {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						key := fmt.Sprint("k", g)
						if err := b.do("put", key, 1); err != nil {
							t.Error(err)
							return
						}
						counts[g]++
						if got := b.sum(key); got != counts[g] {
							t.Errorf("the row of %s has %d of %d", key, got, counts[g])
							return
						}
					}
				})
			}
			for round := range 4 {
				if round < 3 {
					if err := b.e.Rebuild(ctx, "sums"); err != nil {
						t.Fatal(err)
					}
				} else { // another definition of the same rows, taken in by a reload
					next := compiled(t, purses+strings.Replace(sums, "row.?sum.orValue(0) + body.amount", "body.amount + row.?sum.orValue(0)", 1))
					if err := b.e.Apply(ctx, next.Views, nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := b.e.Built(ctx, "sums"); err != nil {
					t.Fatal(err)
				}
				if c, err := b.e.Last("sums"); err != nil || c == nil || c.Differ != 0 || c.Checksum != c.Built {
					t.Fatalf("round %d: %+v, %v", round, c, err)
				}
			}
			end()
			s, err := b.e.State(ctx, "sums")
			if err != nil || s.Generation != 5 || s.Lagging || s.Events != int64(counts[0]+counts[1]+counts[2]) || s.Rows != 3 {
				t.Errorf("%+v, %v, and there were %v commands", s, err, counts)
			}
		})
	}
}

// TestInlineRowsAfterAStart: what was appended by who does not know of the view is folded before anybody reads a row.
func TestInlineRowsAfterAStart(t *testing.T) {
	for _, parts := range []int{1, 8} {
		st := memory.NewParts(parts)
		b := newBank(t, st, purses) // no view
		for i := range 50 {
			b.must("put", fmt.Sprint("k", i%5), 1)
		}
		for round := range 4 {
			b = newBank(t, st, purses+sums)
			if got := b.sum("k1"); got != 10+round*7 {
				t.Fatalf("parts %d, round %d: k1 has %d", parts, round, got)
			}
			b.must("put", "k1", 2)
			if got := b.sum("k1"); got != 12+round*7 {
				t.Fatalf("parts %d, round %d: k1 has %d", parts, round, got)
			}
			b.e.Close()
			stranger := newBank(t, st, purses)
			stranger.must("put", "k1", 3)
			if round%2 == 0 { // and then somebody who knows of it
				b.must("put", "k1", 2)
			} else {
				stranger.must("put", "k1", 2)
			}
			stranger.e.Close()
		}
	}
}

// TestInlineIsLeftAndTakenUp turns it off and on: the rows go on, and are not built anew where the store has one part.
func TestInlineIsLeftAndTakenUp(t *testing.T) {
	for _, parts := range []int{1, 8} {
		st := memory.NewParts(parts)
		want := 0
		for i, inline := range []string{"true", "false", "true", "false"} {
			b := newBank(t, st, purses+strings.Replace(sums, "inline: true", "inline: "+inline, 1))
			drain(t, b.e)
			b.must("put", "a", 1)
			want++
			if inline == "false" {
				drain(t, b.e)
			}
			if got := b.sum("a"); got != want {
				t.Fatalf("parts %d, inline %s: a has %d of %d", parts, inline, got, want)
			}
			s, err := b.e.State(t.Context(), "sums")
			generation := int64(1)
			if parts > 1 {
				generation = int64(i + 1)
			}
			if err != nil || s.Generation != generation || s.Rows != 1 || s.Events != int64(want) {
				t.Fatalf("parts %d, inline %s: %+v, %v", parts, inline, s, err)
			}
			b.e.Close()
		}
	}
}

// TestInlineRowsOfAnotherDefinition: after a start nobody knows the definition that made the rows; who asks is not told what may be old.
func TestInlineRowsOfAnotherDefinition(t *testing.T) {
	st := memory.New()
	b := newBank(t, st, purses+sums)
	drain(t, b.e)
	b.must("put", "a", 1_000_000)
	b.e.Close()
	// The new rows can't be built: the one event does not fit them.
	b = newBank(t, st, purses+strings.Replace(sums, "+ body.amount", "+ body.amount * 2", 1))
	if got := b.sum("a"); got != 1_000_000 {
		t.Fatalf("a has %d", got)
	}
	b.must("put", "b", 1)
	if _, err := b.e.Get(t.Context(), "sums", "a"); penstock.CodeOf(err) != penstock.Unavailable {
		t.Fatalf("it should be unavailable: %v", err)
	}
	s, err := b.e.State(t.Context(), "sums")
	if err != nil || !s.Lagging || s.Building == nil || s.Building.Stopped == nil {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := b.e.Skip(t.Context(), "sums"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := b.e.Built(ctx, "sums"); err != nil {
		t.Fatal(err)
	}
	if a, b := b.sum("a"), b.sum("b"); a != -1 || b != 2 {
		t.Fatalf("a has %d, b %d", a, b)
	}
}

// TestInlineRowsOfAnErasedSubject are made anew without what was erased; who asks meanwhile is answered.
func TestInlineRowsOfAnErasedSubject(t *testing.T) {
	for _, parts := range []int{1, 8} {
		pl := compiled(t, strings.Replace(people, "from: { entity: person }", "from: { entity: person }\n  inline: true", 1))
		st := memory.NewParts(parts)
		all := entity.New(pl.Entities, entity.Options{Store: func() (store.Store, error) { return st, nil }})
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		e, err := view.Open(ctx, pl.Views, view.Options{Store: st, Entities: all, Clock: penstock.SystemClock{}})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		drain(t, e)
		name := func(key, name string) {
			if _, err := all.Entity("person").Command(ctx, nil, entity.Request{Command: "name", Key: key, Data: fmt.Appendf(nil, `{"name":"%s","city":"Ulm"}`, name), Expect: entity.AnyVersion}); err != nil {
				t.Fatal(err)
			}
		}
		name("ada", "Ada")
		name("bob", "Bob")
		if row, err := e.Get(ctx, "people", "ada"); err != nil || string(row) != `{"name":"Ada","city":"Ulm"}` {
			t.Fatalf("ada is %s, %v", row, err)
		}
		if _, err := entity.Erase(ctx, st, "person", "ada", "tester", penstock.SystemClock{}, nil); err != nil {
			t.Fatal(err)
		}
		name("bob", "Rob")
		if row, err := e.Get(ctx, "people", "bob"); err != nil || string(row) != `{"name":"Rob","city":"Ulm"}` {
			t.Fatalf("bob is %s, %v", row, err)
		}
		for {
			drain(t, e)
			s, err := e.State(ctx, "people")
			if err != nil {
				t.Fatal(err)
			}
			if s.Generation == 2 && s.Building == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal("the rows are not made anew")
			}
		}
		if row, err := e.Get(ctx, "people", "ada"); err != nil || string(row) != `{"city":"Ulm"}` {
			t.Fatalf("ada is %s, %v", row, err)
		}
	}
}

// TestInlineNeedsOnePart: rows that several entities share can't change with the events of all of them where these are in several parts.
func TestInlineNeedsOnePart(t *testing.T) {
	shared := purses + strings.Replace(sums, "inline: true", "inline: true\n  key: \"'all'\"", 1)
	b := newBank(t, memory.New(), shared)
	drain(t, b.e)
	b.must("put", "a", 1)
	b.must("put", "b", 2)
	if got := b.sum("all"); got != 3 {
		t.Errorf("all has %d", got)
	}
	_, err := view.Open(t.Context(), b.pl.Views, view.Options{Store: memory.NewParts(2), Clock: penstock.SystemClock{}})
	if penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "parts") {
		t.Errorf("it should be refused: %v", err)
	}
}

// TestInlinePages reads the rows of many parts page by page, in the order of their keys.
func TestInlinePages(t *testing.T) {
	b := newBank(t, memory.NewParts(16), purses+sums)
	drain(t, b.e)
	for i := range 100 {
		b.must("put", fmt.Sprintf("k%03d", i), i)
	}
	after, next := "", 0
	for {
		page, err := b.e.Find(t.Context(), "sums", "poor", []penstock.Value{penstock.IntValue(90)}, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			if r.Key != fmt.Sprintf("k%03d", next) {
				t.Fatalf("%s where %d is expected", r.Key, next)
			}
			next++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if next != 90 {
		t.Errorf("%d rows", next)
	}
}
