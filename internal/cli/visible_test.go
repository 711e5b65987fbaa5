package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

// hostile moves the cursor, sets the title of the window, turns text around, and overwrites what stands before it.
const hostile = "a\x1b[2J\x1b]0;owned\a\u009b2J\u202egnp\r\x7f"

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"as it is: äöü 漢\tx\ny": "as it is: äöü 漢\tx\ny",
		"\x1b[31mred":           "\uFFFD[31mred",
		"one\rtwo\x00\x7f":      "one\uFFFDtwo\uFFFD\uFFFD",
		"\u009b2J \u202egnp":    "\uFFFD2J \uFFFDgnp",
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What messages hold, and other systems say, is shown by many commands: none of them lets it speak to the terminal.
func TestNothingThatIsShownSpeaksToTheTerminal(t *testing.T) {
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	raw := json.RawMessage(`"` + hostile[len(hostile)-7:] + `"`) // as a body in C1 would come
	for name, show := range map[string]func(p *Program, w io.Writer) error{
		"summary": func(_ *Program, w io.Writer) error {
			sum := &control.Summary{Flows: []control.FlowSummary{{}}}
			f := &sum.Flows[0]
			f.Name, f.Failed, f.Dead, f.DeadLetter = "f", 1, 1, "f.dead"
			if err := json.Unmarshal([]byte(`[{"step":"s","message":`+string(quoted)+`,"count":1},{"step":"s","message":`+string(quoted)+`,"count":1,"refused":true}]`), &f.Causes); err != nil {
				return err
			}
			showSummary(w, styles{}, sum)
			return nil
		},
		"dlq ls": func(p *Program, _ io.Writer) error {
			return p.showClusters("", &operate.Clusters{Count: 1, Clusters: []operate.Cluster{{Flow: "f", Message: hostile, Path: hostile, Example: "f.dead@0", Count: 1}}})
		},
		"dlq show": func(p *Program, _ io.Writer) error {
			d := &operate.DeadLetter{ID: "f.dead@0", Key: hostile, Body: raw, Meta: json.RawMessage(`{"x":` + string(raw) + `}`)}
			d.Reason.Message, d.Reason.Path, d.Reason.Origin = hostile, hostile, hostile
			return p.showLetter(d)
		},
		"tap": func(p *Program, _ io.Writer) error {
			return p.showGlimpse(&operate.Glimpse{What: "dead", ID: hostile, Key: hostile, Body: raw, Meta: json.RawMessage(`{"x":` + string(raw) + `}`), Error: hostile})
		},
		"trace": func(p *Program, _ io.Writer) error {
			return p.showTrace(operate.TraceQuery{}, &operate.Trace{Hops: []operate.Hop{{Flow: "f", ID: hostile, Key: hostile, Fate: "dead"}}})
		},
		"error": func(_ *Program, w io.Writer) error {
			showTrouble(w, styles{}, troubleOf(&penstock.Error{Op: "send", Path: hostile, Hint: hostile, Err: io.EOF}))
			return nil
		},
		"finding": func(_ *Program, w io.Writer) error {
			showFinding(w, styles{}, &sources{}, control.Finding{Message: hostile, Hint: hostile})
			return nil
		},
	} {
		var out bytes.Buffer
		p := &Program{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
		if err := show(p, &out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && controls(r) }); i >= 0 {
			t.Errorf("%s: the text speaks to the terminal at %d: %q", name, i, out.String())
		}
		if out.Len() == 0 {
			t.Errorf("%s: shows nothing", name)
		}
	}
}
