package orders_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/examples/orders/orderdata"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// figures is what reconcile.yaml writes.
type figures struct {
	Lines                 int         `json:"lines"`
	Invoices              int         `json:"invoices"`
	CancellationLines     int         `json:"cancellationLines"`
	LinesWithoutCustomer  int         `json:"linesWithoutCustomer"`
	LinesPriceNotPositive int         `json:"linesPriceNotPositive"`
	Countries             int         `json:"countries"`
	SalesLines            int         `json:"salesLines"`
	SalesTotal            json.Number `json:"salesTotal"`
}

// run runs the example over a folder of daily files and gives the folder it wrote to.
func run(t *testing.T, drop string) (out string, sum *control.Summary) {
	t.Helper()
	out = t.TempDir()
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{"."}, Params: map[string]string{"drop": drop, "out": out, "reference": "reference"}}, true)
	for _, f := range checked.Findings {
		t.Log(f)
	}
	if !checked.OK {
		t.Fatal("the example does not check")
	}
	for _, f := range checked.Flows {
		if f.Typed != f.Total {
			t.Errorf("flow %s: %d of %d paths are typed", f.Flow, f.Typed, f.Total)
		}
	}
	sum, err := s.Run(context.Background(), checked, control.RunOptions{Store: filepath.Join(out, "store.db"), Once: true})
	if err != nil {
		t.Fatal(err)
	}
	return out, sum
}

// documents reads a file of JSON lines.
func documents[T any](t *testing.T, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []T
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v\n%s", path, err, lines.Text())
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// letter is a dead letter's reason.
type letter struct{ Code, Step, Message string }

// deadLetters reads those that the run left in its store.
func deadLetters(t *testing.T, path, channel string) (all []letter) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = db.View(t.Context(), func(v store.View) error {
		segments, err := v.Log().Segments(channel, 0, 64<<20)
		for _, s := range segments {
			for data := s.Data; len(data) > 0; {
				var message []byte
				if message, data, err = store.NextFrame(data); err != nil {
					return err
				}
				all = append(all, reason(t, message))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// reason is meta.dead of a dead letter.
func reason(t *testing.T, message []byte) (l letter) {
	t.Helper()
	v, err := record.Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range v.Meta() {
		if name != "dead" {
			continue
		}
		text, err := value.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

type order struct {
	ID    string      `json:"id"`
	Total json.Number `json:"total"`
	Lines []struct {
		Quantity int `json:"quantity"`
	} `json:"lines"`
}

// accountForEveryLine holds the outputs to the line: what is in an order, a cancellation or
// an amendment, and what is a dead letter, is together what was read.
func accountForEveryLine(t *testing.T, out string, want figures) {
	t.Helper()
	got := documents[figures](t, filepath.Join(out, "reconciliation.jsonl"))
	if len(got) != 1 {
		t.Fatalf("%d reconciliations", len(got))
	}
	total, expected := new(big.Rat), new(big.Rat)
	if _, ok := total.SetString(string(got[0].SalesTotal)); !ok {
		t.Errorf("sales total %q", got[0].SalesTotal)
	}
	expected.SetString(string(want.SalesTotal))
	if total.Cmp(expected) != 0 {
		t.Errorf("sales total is %s, want %s", got[0].SalesTotal, want.SalesTotal)
	}
	got[0].SalesTotal = want.SalesTotal
	if got[0] != want {
		t.Errorf("reconciliation\n got %+v\nwant %+v", got[0], want)
	}
	lines := 0
	for _, name := range []string{"orders.jsonl", "cancellations.jsonl", "amendments.jsonl"} {
		path := filepath.Join(out, name)
		if _, err := os.Stat(path); err != nil && name == "amendments.jsonl" {
			continue // nothing came late
		}
		for _, o := range documents[order](t, path) {
			lines += len(o.Lines)
		}
	}
	dead := deadLetters(t, filepath.Join(out, "store.db"), "lines.dead")
	for _, d := range dead {
		if d.Step != "check" || d.Code != "unprocessable" {
			t.Fatalf("dead-lettered for another reason: %+v", d)
		}
	}
	if len(dead) != want.LinesPriceNotPositive || lines+len(dead) != want.Lines {
		t.Errorf("%d lines in orders, %d dead letters: together not %d", lines, len(dead), want.Lines)
	}
}

func TestGeneratedMonth(t *testing.T) {
	drop := t.TempDir()
	want, err := orderdata.Generate(orderdata.Config{Seed: 1, Days: 30, LinesPerDay: 400}, func(name string) (io.WriteCloser, error) {
		return os.Create(filepath.Join(drop, name))
	})
	if err != nil {
		t.Fatal(err)
	}
	if want.InvoicesInTwoFiles == 0 || want.LateLines == 0 {
		t.Fatalf("the data lack what this test is about: %+v", want)
	}
	out, sum := run(t, drop)
	accountForEveryLine(t, out, figures{
		Lines: want.Lines, Invoices: want.Invoices, CancellationLines: want.CancellationLines,
		LinesWithoutCustomer: want.LinesWithoutCustomer, LinesPriceNotPositive: want.LinesPriceNotPositive,
		Countries: want.Countries, SalesLines: want.SalesLines, SalesTotal: json.Number(want.SalesTotal),
	})
	if len(documents[order](t, filepath.Join(out, "amendments.jsonl"))) == 0 {
		t.Error("no late line became an amendment")
	}
	for _, f := range sum.Flows {
		if f.Unsettled != 0 {
			t.Errorf("flow %s: %d messages are not settled", f.Name, f.Unsettled)
		}
	}
}

// TestRealYear holds the flows to the figures of the real files, as counted by others.
func TestRealYear(t *testing.T) {
	drop := "../../../shared/data/online-retail"
	if _, err := os.Stat(drop); err != nil {
		t.Skip("the real order files are not here (../shared/data/online-retail beside the checkout)")
	}
	out, _ := run(t, drop)
	accountForEveryLine(t, out, figures{
		Lines: 320_705, Invoices: 16_459, CancellationLines: 5_847, LinesWithoutCustomer: 88_652,
		LinesPriceNotPositive: 1_799, Countries: 37, SalesLines: 313_059, SalesTotal: "6304826.062",
	})
}
