// Package badinput_test runs whole flows on input that is wrong, and holds what a user gets: a dead
// letter that says what, where and why; a finding with its place; or an error of the run that says what
// to do. Nothing is lost silently, and nothing panics.
package badinput_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// letter is a line of a dead-letter file.
type letter struct {
	Body     json.RawMessage `json:"body"`
	Encoding string          `json:"encoding"`
	Meta     struct {
		File string `json:"file"`
		Line int    `json:"line"`
		Dead struct {
			Code     penstock.Code `json:"code"`
			Message  string        `json:"message"`
			Step     string        `json:"step"`
			Path     string        `json:"path"`
			Attempts int           `json:"attempts"`
			Flow     string        `json:"flow"`
			Origin   string        `json:"origin"`
			Offset   int           `json:"offset"`
		} `json:"dead"`
	} `json:"meta"`
}

// outcome is what a run left behind.
type outcome struct {
	in   string // path that was read
	sum  *control.Summary
	err  error
	out  []string // lines of standard output
	dead []letter // of the flow called bad, by line
}

func (o *outcome) flow() *control.FlowSummary { return &o.sum.Flows[0] }

func service() *control.Service { return &control.Service{Registry: edition.Standard()} }

// flowOf is a flow called bad with the given spec.
func flowOf(spec string) string {
	return "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: bad }\nspec:\n" + indent(spec)
}

// readAndPrint is a flow that reads the parameter src, does the given steps, and prints what is left.
func readAndPrint(steps string) string {
	return flowOf("from: { file: { path: \"${params.src}\" } }\nsteps:\n" + indent(steps) + "to: { stdout: {} }\n")
}

// typed is readAndPrint where the rows have the given properties.
func typed(properties, steps string) string {
	flow := strings.Replace(readAndPrint(steps), "\" } }", "\" }, schema: row }", 1)
	return flow + "---\napiVersion: penstock.dev/v1alpha1\nkind: Schema\nmetadata: { name: row }\nspec:\n  jsonSchema:\n    type: object\n    properties:\n" + indent(indent(indent(properties)))
}

func indent(text string) string {
	rows := strings.SplitAfter(strings.Trim(text, "\n"), "\n")
	return "  " + strings.Join(rows, "  ") + "\n"
}

// check reads a configuration that stands in a folder of its own, with src and dst as its parameters.
func check(t testing.TB, text, src, dst string) *control.Checked {
	t.Helper()
	dir := t.TempDir()
	text += "---\napiVersion: penstock.dev/v1alpha1\nkind: Integration\nmetadata: { name: bad }\nspec: { params: { src: { type: string, default: none }, dst: { type: string, default: none } } }\n"
	put(t, filepath.Join(dir, "flow.yaml"), text)
	params := map[string]string{}
	for name, value := range map[string]string{"src": src, "dst": dst} {
		if value != "" {
			params[name] = value
		}
	}
	return service().Check(control.Project{Paths: []string{dir}, Params: params}, false)
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// options change a run.
type options struct {
	src, dst string    // parameters
	stdout   io.Writer // nil: kept in outcome.out
	dead     string    // folder of dead letters; "": one of its own
	more     func(*control.RunOptions)
}

// runFlow runs a configuration over a file of the given name and content.
func runFlow(t testing.TB, text, name, content string) *outcome {
	t.Helper()
	src := filepath.Join(t.TempDir(), name)
	put(t, src, content)
	return runWith(t, text, options{src: src})
}

func runWith(t testing.TB, text string, o options) *outcome {
	t.Helper()
	c := check(t, text, o.src, o.dst)
	if !c.OK {
		for _, f := range c.Findings {
			t.Error(f)
		}
		t.Fatal("the configuration is wrong")
	}
	if o.dead == "" {
		o.dead = t.TempDir()
	}
	var kept bytes.Buffer
	if o.stdout == nil {
		o.stdout = &kept
	}
	ro := control.RunOptions{DeadLetters: o.dead, Stdout: o.stdout, Stdin: strings.NewReader("")}
	if o.more != nil {
		o.more(&ro)
	}
	sum, err := service().Run(context.Background(), c, ro)
	var fault *control.Fault
	if errors.As(err, &fault) {
		t.Fatalf("the run panicked: %v\n%s", fault, fault.Stack)
	}
	if sum == nil || len(sum.Flows) == 0 {
		t.Fatalf("there is no summary; the error is %v", err)
	}
	res := &outcome{in: o.src, sum: sum, err: err, out: rows(kept.String()), dead: letters(t, filepath.Join(o.dead, "bad.dead.jsonl"))}
	slices.SortStableFunc(res.dead, func(a, b letter) int { return a.Meta.Line - b.Meta.Line })
	return res
}

func rows(text string) []string {
	if text = strings.TrimSuffix(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// letters reads a dead-letter file; it need not be there.
func letters(t testing.TB, path string) []letter {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []letter
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var l letter
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatalf("%s holds what is no dead letter: %v\n%.200s", path, err, sc.Text())
		}
		all = append(all, l)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// want is what a dead letter must say.
type want struct {
	line    int
	offset  int // of the record in the file
	code    penstock.Code
	message string // a part of it
	path    string // $IN stands for the file
	step    string
	body    string // as JSON; "": not looked at
	enc     string
}

// holds compares what a run printed and dead-lettered with what it must, and holds that no message is
// unaccounted for.
func (o *outcome) holds(t testing.TB, out []string, dead []want) {
	t.Helper()
	if o.err != nil {
		t.Fatalf("the run failed: %v", o.err)
	}
	if !slices.Equal(o.out, out) {
		t.Errorf("printed\n%s\nwant\n%s", clip(o.out), clip(out))
	}
	o.accounts(t)
	if len(o.dead) != len(dead) {
		for _, l := range o.dead {
			t.Logf("dead letter: %+v", l.Meta)
		}
		t.Fatalf("%d dead letters, want %d", len(o.dead), len(dead))
	}
	for i, w := range dead {
		l := o.dead[i]
		d := l.Meta.Dead
		where := fmt.Sprintf("dead letter %d, of line %d", i+1, l.Meta.Line)
		if l.Meta.Line != w.line || d.Origin != fmt.Sprintf("%s:%d", o.in, w.line) || l.Meta.File != o.in || d.Offset != w.offset {
			t.Errorf("%s: it is of %s, byte %d; want line %d, byte %d", where, d.Origin, d.Offset, w.line, w.offset)
		}
		if d.Code != w.code || d.Step != w.step || d.Path != strings.ReplaceAll(w.path, "$IN", o.in) || d.Flow != "bad" || d.Attempts != 1 {
			t.Errorf("%s: code %s, step %s, path %q, flow %s, attempts %d; want %s, %s, %q, bad, 1", where, d.Code, d.Step, d.Path, d.Flow, d.Attempts, w.code, w.step, w.path)
		}
		if !strings.Contains(d.Message, w.message) {
			t.Errorf("%s: it says %q, want %q", where, d.Message, w.message)
		}
		if w.body != "" && string(l.Body) != w.body || l.Encoding != w.enc {
			t.Errorf("%s: the body is %.200s, encoding %q; want %.200s, %q", where, l.Body, l.Encoding, w.body, w.enc)
		}
	}
}

// accounts holds that each message that was read ended once, and is settled.
func (o *outcome) accounts(t testing.TB) {
	t.Helper()
	f := o.flow()
	if f.Read != f.Done+f.Filtered+f.Dead || f.Unsettled != 0 || f.Dead != int64(len(o.dead)) {
		t.Errorf("of %d messages %d are done, %d filtered, %d dead (%d letters), %d not settled", f.Read, f.Done, f.Filtered, f.Dead, len(o.dead), f.Unsettled)
	}
}

func clip(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%.200s\n", l)
	}
	return b.String()
}

// failsWith holds that a run ended with an error that has the code and says all of the parts.
func (o *outcome) failsWith(t testing.TB, code penstock.Code, parts ...string) {
	t.Helper()
	if o.err == nil || penstock.CodeOf(o.err) != code {
		t.Fatalf("the error is %v with code %q, want %q", o.err, penstock.CodeOf(o.err), code)
	}
	for _, p := range parts {
		if !strings.Contains(o.err.Error(), p) {
			t.Errorf("the error does not say %q: %v", p, o.err)
		}
	}
}
