package cases

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		name string
		rss  []int64
		want float64
	}{
		{"flat after the start", []int64{1, 50, 100, 100, 100, 100, 100, 100}, 1},
		{"twice", []int64{1, 1, 100, 100, 150, 150, 200, 200}, 2},
		{"too few to tell", []int64{1, 9, 9}, 1},
		{"nothing known", make([]int64, 8), 1},
	} {
		var samples []harness.Sample
		for _, v := range c.rss {
			samples = append(samples, harness.Sample{RSS: v})
		}
		if got := growth(samples, func(a harness.Sample) int64 { return a.RSS }); got != c.want {
			t.Errorf("%s: %v, not %v", c.name, got, c.want)
		}
	}
}

func TestSent(t *testing.T) {
	m := harness.Measurement{Stdout: []byte(`{"type":"progress","flows":[{"name":"a","sent":[{"count":9}]}]}
{"type":"summary","flows":[{"name":"a","sent":[{"count":3},{"count":4}]},{"name":"b","dead":1,"sent":[]}]}
`)}
	if n, err := sent(m, "a"); n != 7 || err != nil {
		t.Error(n, err)
	}
	for _, flow := range []string{"b", "c"} {
		if _, err := sent(m, flow); err == nil {
			t.Errorf("%s: no error", flow)
		}
	}
	if _, err := sent(harness.Measurement{Stdout: []byte("panic")}, "a"); err == nil {
		t.Error("no summary, no error")
	}
}

func TestVerifyOrders(t *testing.T) {
	f := benchdata.Figures{Lines: 5, Passing: 2}
	for text, fault := range map[string]string{
		`{"id":"1","lines":3} {"id":"2","lines":2}`:                      "",
		`{"id":"1","lines":3} {"id":"1","lines":2}`:                      "twice",
		`{"id":"1","lines":3} {"id":"2","lines":1}`:                      "2 orders of 4 lines, not 2 of 5",
		`{"id":"1","lines":5}`:                                           "1 orders of 5 lines",
		`{"id":"1","lines":3} {"id":"2","lines":1} {"id":"3","lines":1}`: "3 orders",
		`{"id":`: "orders",
	} {
		path := filepath.Join(t.TempDir(), "orders")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := verifyOrders(path, f)
		if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Every side runs once a round, the next round begins with the next side, and each figure has a value and an fdatasync a round.
func TestAlternateMeasuresTheDisk(t *testing.T) {
	s := &storeRun{rounds: 2, folder: t.TempDir(), say: func(string) {}}
	var order []string
	side := func(name string) storeSide {
		return storeSide{name, func(context.Context, int) (r load.Result, err error) {
			order = append(order, name)
			r.Add("rate", "messages/s", float64(len(order)))
			return r, nil
		}}
	}
	if err := s.alternate(context.Background(), true, side("a"), side("b")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ""); got != "aba"+"baa" {
		t.Errorf("in the order %s", got)
	}
	if len(s.out.Sides) != 3 || s.out.Sides[2].Name != Control {
		t.Fatalf("%+v", s.out.Sides)
	}
	for _, got := range s.out.Sides {
		if len(got.Disk) != 2 || got.Disk[0] <= 0 || len(got.Figures) != 1 || len(got.Figures[0].Of) != 2 {
			t.Errorf("%+v", got)
		}
	}
	if spread, ok := s.out.Sides[1].Of("rate"); !ok || spread.Min != 2 || spread.Max != 4 {
		t.Error(spread, ok)
	}
}

// Every case that runs a flow has it, and every bar is one of a figure that somebody may look for.
func TestStoreCases(t *testing.T) {
	for _, c := range StoreCases() {
		if c.Title == "" || c.run == nil || len(c.Bars) == 0 {
			t.Errorf("%+v", c)
		}
		for _, bar := range c.Bars {
			if bar.Figure == "" || bar.Bar == 0 {
				t.Errorf("%s: %+v", c.Name, bar)
			}
		}
	}
	for _, name := range []string{"flow", "aggregate", "dedupe", "behind", "restart", "soak"} {
		if kinds := parse(t, filepath.Join("..", "flows", "store-"+name, "flow.yaml")); kinds["Flow"] == 0 || kinds["Integration"] != 1 {
			t.Errorf("%s: %v", name, kinds)
		}
	}
}

func TestStoreCaseLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	c := StoreCase{Name: "x", run: func(_ context.Context, s *storeRun) error { return os.WriteFile(s.path("store.db"), nil, 0o600) }}
	if _, err := c.Run(context.Background(), Env{Temp: temp, Flows: "../flows"}, StoreEnv{Soak: time.Second}, 1, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Error(left)
	}
}
