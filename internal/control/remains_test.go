package control_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

const shop = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec:
  store: { driver: sqlite, path: DIR/store.db }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: lines }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: intake }
spec:
  from: { file: { path: DIR/in.csv, format: { csv: { header: true } } } }
  steps:
    - dedupe: { key: body.id }
      name: once
  to: { channel: lines }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: READER }
spec:
  from: { channel: lines }
  steps:
    - aggregate: { by: body.invoice, complete: { size: 2 } }
      name: GROUP
    - set: { meta.made: "'yes'" }
      name: made
  to: { file: { path: DIR/out.jsonl } }
`

// place is a folder with a configuration and a file that is read.
type place struct {
	t    *testing.T
	dir  string
	text string
	log  bytes.Buffer
}

func (p *place) with(pairs ...string) *place {
	p.text = strings.NewReplacer(append(pairs, "DIR", p.dir)...).Replace(shop)
	return p
}

func (p *place) checked() (*control.Service, *control.Checked, control.Place) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "flows.yaml"), []byte(p.text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	s := &control.Service{Registry: edition.Standard()}
	pr := control.Project{Paths: []string{p.dir}}
	c := s.Check(pr, false)
	if !c.OK {
		p.t.Fatalf("%+v", c.Findings)
	}
	return s, c, control.Place{Project: pr}
}

func (p *place) run() error {
	p.t.Helper()
	s, c, _ := p.checked()
	p.log.Reset()
	_, err := s.Run(p.t.Context(), c, control.RunOptions{Once: true, Logger: slog.New(slog.NewTextHandler(&p.log, nil))})
	return err
}

func (p *place) operate(do func(*operate.Operations) error) {
	p.t.Helper()
	s, _, at := p.checked()
	ops, err := s.Operate(p.t.Context(), at)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := do(ops); err != nil {
		p.t.Error(err)
	}
	if err := ops.Close(); err != nil {
		p.t.Error(err)
	}
}

func newPlace(t *testing.T, lines string) *place {
	p := &place{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(p.dir, "in.csv"), []byte("id,invoice\n"+lines), 0o644); err != nil {
		t.Fatal(err)
	}
	return p.with("READER", "orders", "GROUP", "invoice")
}

// version is what tells apart files that had the same name.
var version = regexp.MustCompile(`(in\.csv)@[0-9a-f]+`)

// TestTraceThroughStepsAndChannels follows a line from a file through a durable dedupe, a channel and an aggregate into a file.
func TestTraceThroughStepsAndChannels(t *testing.T) {
	p := newPlace(t, "1,a\n2,b\n1,a\n3,a\n4,b\n5,a\n6,a\n")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	p.operate(func(ops *operate.Operations) error {
		trace := func(q operate.TraceQuery) (hops []operate.Hop) {
			tr, err := ops.Journal.Trace(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return tr.Hops
		}
		show := func(hops []operate.Hop) (out []string) {
			for _, h := range hops {
				text := fmt.Sprintf("%s %s %s %s %s", h.Flow, h.ID, h.Fate, strings.Join(h.To, "+"), h.From)
				out = append(out, strings.TrimSpace(version.ReplaceAllString(text, "$1")))
			}
			slices.Sort(out) // what two flows do stands in the order in which they did it
			return out
		}
		sorted := func(s ...string) []string { slices.Sort(s); return s }
		line := filepath.Join(p.dir, "in.csv")
		first := trace(operate.TraceQuery{ID: line + ":2"})
		if len(first) == 0 {
			t.Fatal("the first line is not known")
		}
		// Lines 2, 3, 5, 6, 7, 8 pass, as intake/once@0 to 5 and lines@0 to 5.
		way := func(n int, key string, dedupe string) []string {
			return []string{
				fmt.Sprintf("intake %s:%d absorbed intake/once (%s)", line, n, dedupe),
				fmt.Sprintf("intake intake/once@%d emitted  %s:%d", map[int]int{2: 0, 3: 1, 5: 2, 6: 3, 7: 4}[n], line, n),
				fmt.Sprintf("intake intake/once@%d done lines@%[1]d", map[int]int{2: 0, 3: 1, 5: 2, 6: 3, 7: 4}[n]),
				fmt.Sprintf("orders lines@%d absorbed orders/invoice (%s)", map[int]int{2: 0, 3: 1, 5: 2, 6: 3, 7: 4}[n], key),
			}
		}
		group := []string{"orders orders/invoice@0 emitted  lines@0", "orders orders/invoice@0 done orders/to"}
		whole := func(parts ...[]string) []string { return sorted(slices.Concat(parts...)...) }
		for _, tc := range []struct {
			q    operate.TraceQuery
			want []string
		}{
			{operate.TraceQuery{ID: line + ":2"}, whole(way(2, "a", "1"), group)},
			{operate.TraceQuery{ID: "intake/once@0"}, whole(way(2, "a", "1"), group)},
			{operate.TraceQuery{ID: line + ":5"}, whole(way(5, "a", "3"), group)},
			{operate.TraceQuery{ID: "lines@2"}, whole(way(5, "a", "3"), group)},
			{operate.TraceQuery{ID: "orders/invoice@0"}, whole(way(2, "a", "1"), way(5, "a", "3"), group)},
			{operate.TraceQuery{ID: line + ":4"}, []string{fmt.Sprintf("intake %s:4 absorbed intake/once (1)", line)}},
			{operate.TraceQuery{Key: "3"}, []string{fmt.Sprintf("intake %s:5 absorbed intake/once (3)", line)}},
		} {
			if got := show(trace(tc.q)); !slices.Equal(got, tc.want) {
				t.Errorf("%+v\n got  %s\n want %s", tc.q, strings.Join(got, "\n      "), strings.Join(tc.want, "\n      "))
			}
		}
		if got := show(trace(operate.TraceQuery{Key: "b"})); len(got) < 4 || !slices.Contains(got, "orders orders/invoice@1 emitted  lines@1") {
			t.Errorf("by key: %s", strings.Join(got, "\n"))
		}
		return nil
	})
}

// TestRenamedStepGoesOn renames a step with an open group, as the error of the run says.
func TestRenamedStepGoesOn(t *testing.T) {
	p := newPlace(t, "1,a\n")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	p.with("READER", "orders", "GROUP", "grouped")
	err := p.run()
	if err == nil || !strings.Contains(err.Error(), "`penstock store rename orders/invoice <flow>/<step>`") || !strings.Contains(err.Error(), "`penstock store drop orders/invoice`") {
		t.Fatalf("a renamed step starts with %v", err)
	}
	p.operate(func(ops *operate.Operations) error {
		m, err := ops.Remains.RenameStep(t.Context(), operate.StepRename{Step: "orders/invoice", To: "orders/grouped"})
		if err == nil && m.Entries == 0 {
			t.Errorf("%+v", m)
		}
		return err
	})
	if err := os.WriteFile(filepath.Join(p.dir, "in.csv"), []byte("id,invoice\n1,a\n2,a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(filepath.Join(p.dir, "out.jsonl"))
	if err != nil || strings.Count(string(out), `"id"`) != 2 {
		t.Errorf("%s, %v", out, err)
	}
}

// TestDroppedStepIsGone gives up what a step has left that is keyed otherwise, as the error says.
func TestDroppedStepIsGone(t *testing.T) {
	p := newPlace(t, "1,a\n")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	p.with("READER", "orders", "GROUP", "invoice", "by: body.invoice", "by: body.id")
	if err := p.run(); err == nil || !strings.Contains(err.Error(), "`penstock store drop orders/invoice`") {
		t.Fatalf("a step that is keyed otherwise starts with %v", err)
	}
	p.operate(func(ops *operate.Operations) error {
		_, err := ops.Remains.DropStep(t.Context(), operate.StepDrop{Step: "orders/invoice"})
		return err
	})
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
}

// TestGroupThatNobodyReads is warned of, and forgotten.
func TestGroupThatNobodyReads(t *testing.T) {
	p := newPlace(t, "1,a\n2,a\n")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.log.String(), "store forget") {
		t.Errorf("a run that reads its groups logs\n%s", &p.log)
	}
	p.with("READER", "billing", "GROUP", "invoice")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	if want := "penstock store forget lines orders/from"; strings.Count(p.log.String(), want) != 1 {
		t.Errorf("%q is not once in\n%s", want, &p.log)
	}
	p.operate(func(ops *operate.Operations) error {
		if _, err := ops.Remains.Forget(t.Context(), operate.GroupForget{Channel: "lines", Group: "billing/from"}); err == nil {
			t.Error("a group that is read was forgotten")
		}
		_, err := ops.Remains.Forget(t.Context(), operate.GroupForget{Channel: "lines", Group: "orders/from"})
		return err
	})
	if err := p.run(); err != nil || strings.Contains(p.log.String(), "store forget") {
		t.Errorf("%v\n%s", err, &p.log)
	}
}
