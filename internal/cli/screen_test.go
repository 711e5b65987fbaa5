package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/run"
)

// terminal understands what screen writes: lines, up, and erase to the end.
type terminal struct {
	lines []string
	row   int
}

func (t *terminal) Write(b []byte) (int, error) {
	rest := string(b)
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "\x1b["):
			end := strings.IndexAny(rest, "AJ")
			if rest[end] == 'A' {
				n := 0
				for _, d := range rest[2:end] {
					n = n*10 + int(d-'0')
				}
				t.row -= n
			} else {
				t.lines = t.lines[:t.row]
			}
			rest = rest[end+1:]
		case rest[0] == '\r':
			rest = rest[1:]
		default:
			line, after, _ := strings.Cut(rest, "\n")
			t.lines = append(t.lines[:t.row], line)
			t.row++
			rest = after
		}
	}
	return len(b), nil
}

func TestScreenKeepsItsBlockAtTheEnd(t *testing.T) {
	term := &terminal{}
	s := &screen{w: term}
	show := func(lines ...string) { s.show(lines) }
	_, _ = io.WriteString(s, "log 1\n")
	show("a 1", "b 1")
	show("a 2", "b 2")
	_, _ = io.WriteString(s, "log 2\n")
	show("a 3")
	if got, want := strings.Join(term.lines, "|"), "log 1|log 2|a 3"; got != want {
		t.Errorf("the terminal shows %s, want %s", got, want)
	}
	show()
	_, _ = io.WriteString(s, "end\n")
	if got, want := strings.Join(term.lines, "|"), "log 1|log 2|end"; got != want {
		t.Errorf("the terminal shows %s, want %s", got, want)
	}
}

func snapshot(seconds float64, read ...int64) *control.Summary {
	s := &control.Summary{Seconds: seconds}
	for i, n := range read {
		s.Flows = append(s.Flows, control.FlowSummary{FlowSummary: run.FlowSummary{Name: "flow" + string(rune('a'+i)), Read: n}})
	}
	return s
}

func TestRateIsThatOfTheLastSeconds(t *testing.T) {
	var r rates
	for _, s := range []struct {
		at   float64
		read int64
		want float64
	}{{1, 100, 100}, {2, 200, 100}, {3, 1200, 550}, {4, 2200, 1000}, {5, 2200, 500}, {6, 2200, 0}} {
		r.add(snapshot(s.at, s.read))
		if got := r.of("flowa"); got != s.want {
			t.Errorf("after %vs the rate is %v, want %v", s.at, got, s.want)
		}
	}
}

func TestLiveFitsTheTerminal(t *testing.T) {
	term := &terminal{}
	l := &live{screen: &screen{w: term}, size: func() (int, int) { return 40, 6 }}
	l.show(snapshot(1, 1, 2, 3, 4, 5))
	if len(term.lines) > 5 {
		t.Errorf("%d lines are shown on 6 rows: %q", len(term.lines), term.lines)
	}
	for _, line := range term.lines {
		if len([]rune(line)) >= 40 {
			t.Errorf("a line of %d characters on 40 columns: %q", len([]rune(line)), line)
		}
	}
	if want := "… and 3 more flows"; !strings.Contains(strings.Join(term.lines, "\n"), want) {
		t.Errorf("%q is not said in %q", want, term.lines)
	}
}

func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	p := &plain{w: &out}
	s := snapshot(5, 50000)
	s.Flows[0].Dead = 3
	s.Flows[0].Sent = []control.Sent{{Count: 40000}}
	p.show(s)
	if got, want := out.String(), "5.0s  flowa: read 50,000, sent 40,000, dead 3, 10,000/s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestManyFlowsShareALine(t *testing.T) {
	var out bytes.Buffer
	(&plain{w: &out}).show(snapshot(5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))
	if got, want := out.String(), "5.0s  11 flows: read 66, sent 0, 13/s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
