package control

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// lying are dead letters that lie somewhere.
type lying struct {
	operate.DeadLetters
	all []operate.DeadLetter
}

// Each implements operate.DeadLetters.
func (l *lying) Each(_ context.Context, _ operate.Selection, visit func(*operate.DeadLetter) error) error {
	for i := range l.all {
		if err := visit(&l.all[i]); err != nil {
			return err
		}
	}
	return nil
}

// add adds a dead letter of flow shop.
func (l *lying) add(entry, body string) {
	str := penstock.StringValue
	meta := penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: str("entry"), Value: str(entry)}}})
	rec := record.Draft{Key: "k", Format: jsonview.JSON, Body: []byte(body), Meta: []penstock.MetaEntry{{Name: "dead", Value: meta}}}.Append(nil)
	l.all = append(l.all, operate.DeadLetter{ID: fmt.Sprintf("shop.dead@%d", len(l.all)), Record: rec, Reason: operate.Reason{Entry: entry, Time: "2026-01-05T09:00:00Z"}})
}

const shop = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: shop }
spec:
  from: { stdin: { format: { json: {} } } }
  steps:
    - fail: { code: unprocessable, message: still dead }
      name: leftover
      when: has(meta.dead)
    - fail: { code: unprocessable, message: too large }
      name: large
      when: body.a > 100
    - call: { file: { path: %s, column: id, value: "${string(body.a)}" } }
      name: country
      into: vars.country
    - dedupe: { key: "string(body.b)", window: 1h }
      name: once
    - split: { each: "[body.a, body.a + 1]", as: x }
      name: parts
    - fail: { code: invalid, message: "part ${x} is bad" }
      name: bad
      when: x == 7 || x == 8
  to: { file: { path: %s } }
`

func newShop(t *testing.T) (s *Service, c *Checked, out string) {
	t.Helper()
	dir := t.TempDir()
	out = filepath.Join(dir, "out", "shop.jsonl")
	lookup := filepath.Join(dir, "countries.csv")
	for file, text := range map[string]string{lookup: "id,name\n1,GB\n", filepath.Join(dir, "shop.yaml"): fmt.Sprintf(shop, lookup, out)} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s = &Service{Registry: edition.Standard()}
	if c = s.Check(Project{Paths: []string{dir}}, false); !c.OK {
		t.Fatalf("%+v", c.Findings)
	}
	return s, c, out
}

// letters: two that are well, one too large, one whose key can't be read, two that begin behind the dedupe (one of which has two bad
// parts), one that the dedupe refused, one of an entry that is not there any more.
func shopLetters() *lying {
	l := &lying{}
	l.add("from", `{"a":1,"b":1}`)
	l.add("from", `{"a":7,"b":1}`)
	l.add("from", `{"a":101,"b":1}`)
	l.add("from", `{"a":1}`)
	l.add("behind once", `{"a":7}`)
	l.add("behind once", `{"a":101}`)
	l.add("at once", `{"a":101}`)
	l.add("behind gone", `{"a":102,"b":1}`)
	l.all = append(l.all, operate.DeadLetter{ID: "gone.dead@0", Record: l.all[0].Record})
	return l
}

func TestTry(t *testing.T) {
	s, c, out := newShop(t)
	got, err := s.Try(t.Context(), c, shopLetters(), operate.Selection{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Flows) != 2 || !got.Flows[0].Gone || got.Flows[0].Count != 1 {
		t.Fatalf("%+v", got)
	}
	f := got.Flows[1]
	if f.Flow != "shop" || f.Count != 8 || f.Pass != 3 || len(f.Calls) != 0 {
		t.Errorf("%+v", f)
	}
	rest := map[string]int64{}
	for _, cl := range f.Rest {
		rest[cl.Step] += cl.Count
		if cl.Oldest.Year() != 2026 {
			t.Errorf("%+v is not of the time when it died first", cl)
		}
	}
	if rest["large"] != 2 || rest["once"] != 2 || rest["bad"] != 1 || len(rest) != 3 {
		t.Errorf("the rest is %v: %+v", rest, f.Rest)
	}
	if _, err := os.Stat(filepath.Dir(out)); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

func TestTryDoesNotCall(t *testing.T) {
	s, c, _ := newShop(t)
	for i := range c.plan.Flow("shop").Nodes {
		if call, ok := c.plan.Flow("shop").Nodes[i].Op.(*plan.Call); ok {
			call.Local = false
		}
	}
	got, err := s.Try(t.Context(), c, shopLetters(), operate.Selection{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := got.Flows[1]
	if len(f.Calls) != 1 || f.Calls[0] != (operate.Reached{Step: "country", Count: 3}) || f.Pass != 1 || f.Count != 8 {
		t.Errorf("%+v", f)
	}
}

// TestTryOfMany tries more than any buffer holds.
func TestTryOfMany(t *testing.T) {
	s, c, _ := newShop(t)
	l := &lying{}
	for i := range 5000 {
		l.add([]string{"from", "behind once"}[i%2], fmt.Sprintf(`{"a":%d,"b":1}`, i%4*100))
	}
	var told int64
	got, err := s.Try(t.Context(), c, l, operate.Selection{}, func(n int64) { told = n })
	if err != nil {
		t.Fatal(err)
	}
	if f := got.Flows[0]; f.Count != 5000 || f.Pass != 3750 || told != 5000 {
		t.Errorf("%+v, %d", f, told)
	}
}

func TestTryEndsWithItsCaller(t *testing.T) {
	s, c, _ := newShop(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := shopLetters()
	_, err := s.Try(ctx, c, l, operate.Selection{}, func(n int64) {
		if n == 2 {
			cancel()
		}
	})
	if err == nil {
		t.Error("no error")
	}
}
