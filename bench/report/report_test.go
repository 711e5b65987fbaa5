package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/bench/cases"
	"penstock.dev/penstock/bench/exprbench"
	"penstock.dev/penstock/bench/harness"
)

func outcome(t *testing.T, name string, sides ...harness.Runs) cases.Outcome {
	t.Helper()
	for _, c := range cases.All() {
		if c.Name == name {
			return cases.Outcome{Case: c, Messages: 1_000_000, Bytes: 308_000_000, Runs: sides}
		}
	}
	t.Fatalf("no case %s", name)
	return cases.Outcome{}
}

func runs(side string, wall, cpu time.Duration) harness.Runs {
	return harness.Runs{Side: side, Of: []harness.Measurement{{Wall: wall, CPU: cpu, MaxRSS: 50e6}}}
}

func text(t *testing.T, r Results) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name       string
		wall, cpu  time.Duration
		want       []string
		wantAbsent string
	}{
		{"goals", 600 * time.Millisecond, time.Second, []string{"25.0 × | goal met", "1.00 µs | goal met", "50 MB | met"}, "missed"},
		{"bars", time.Second, 3 * time.Second, []string{"15.0 × | met", "3.00 µs | met"}, "missed"},
		{"neither", 5 * time.Second, 8 * time.Second, []string{"3.0 × | missed", "8.00 µs | missed"}, "goal met"},
	} {
		got := text(t, Results{Paired: true, Throughput: []cases.Outcome{outcome(t, "file-json",
			runs("penstock", c.wall, c.cpu), runs("peer", 15*time.Second, 20*time.Second), runs(cases.Control, c.wall, c.cpu))}})
		for _, w := range append(c.want, "1.000 × | the noise", "penstock again (control)") {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, got)
			}
		}
		if strings.Contains(got, c.wantAbsent) || strings.Contains(got, "not paired") {
			t.Errorf("%s: %q or a recorded figure in\n%s", c.name, c.wantAbsent, got)
		}
	}
}

func TestWithoutPeerTheRecordedFigureIsLabelled(t *testing.T) {
	got := text(t, Results{Throughput: []cases.Outcome{outcome(t, "file-json", runs("penstock", time.Second, time.Second), runs(cases.Control, time.Second, time.Second))}})
	for _, w := range []string{"*not paired* | 34700", "28.8 × | *not paired*: goal met", "*not paired* | 80699", "12.4 × | *not paired*: met", RecordedOn} {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
}

func TestCSVIsHeldToJSONInBytes(t *testing.T) {
	got := text(t, Results{Paired: true, Throughput: []cases.Outcome{
		outcome(t, "file-json", runs("penstock", 2*time.Second, time.Second)),
		outcome(t, "file-csv", runs("penstock", time.Second, time.Second)),
	}})
	if !strings.Contains(got, "2.00 × | goal met") {
		t.Error(got)
	}
}

func TestPeerAloneIsNotJudged(t *testing.T) {
	got := text(t, Results{Paired: true, Throughput: []cases.Outcome{outcome(t, "file-json", runs("peer", time.Second, time.Second), runs(cases.Control, time.Second, time.Second))}})
	if strings.Contains(got, "met") || strings.Contains(got, "missed") {
		t.Error(got)
	}
}

func TestTheRest(t *testing.T) {
	check := runs("penstock check", time.Second, time.Second)
	cold := harness.Runs{Side: "penstock", Of: []harness.Measurement{{FirstLine: 200 * time.Millisecond}}}
	got := text(t, Results{
		Expression: []exprbench.Result{{Name: "penstock", Per: 500, Allocs: 1}, {Name: "encoding/json + cel-go", Per: 6000, Allocs: 72}},
		ColdStart:  []harness.Runs{cold}, Check: &check, CheckFlows: 500, Skipped: []string{"generate: no"},
	})
	for _, w := range []string{"| penstock | 500 (500 to 500) | 1 | missed |", "| 72 |  |", "| penstock | 200 (200 to 200) | missed |", "1.00 (1.00 to 1.00) s: met", "- generate: no"} {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
}

func TestOwnMemoryIsMarked(t *testing.T) {
	got := text(t, Results{OwnPeak: 60e6, Throughput: []cases.Outcome{outcome(t, "generate", runs("peer", time.Second, time.Second))}})
	if !strings.Contains(got, "≤ 50") {
		t.Error(got)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	if err := (Results{}).Write(full{}); err == nil {
		t.Error("a failed write went unseen")
	}
}
