// Package badinput_test runs whole flows on input that is wrong, and holds what a user gets: a dead
// letter that says what, where and why; a finding with its place; or an error of the run that says what
// to do. Nothing is lost silently, and nothing panics.
package badinput_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
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
	Key      string          `json:"key"`
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
		} `json:"dead"`
	} `json:"meta"`
}

// outcome is what a run left behind.
type outcome struct {
	sum  *control.Summary
	err  error
	out  []string // lines of standard output
	dead []letter // of the flow called "bad", in the order in which they were written
}

func (o *outcome) flow() *control.FlowSummary { return &o.sum.Flows[0] }

func service() *control.Service { return &control.Service{Registry: edition.Standard()} }

// flowOf is a flow called bad; its spec is given as indented YAML.
func flowOf(spec string) string {
	return "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: bad }\nspec:\n" + indent(spec)
}

// schemaOf is a schema called row.
func schemaOf(properties string) string {
	return "---\napiVersion: penstock.dev/v1alpha1\nkind: Schema\nmetadata: { name: row }\nspec:\n  jsonSchema:\n    type: object\n    properties:\n" + indent(indent(indent(properties)))
}

func indent(text string) string {
	lines := strings.SplitAfter(strings.Trim(text, "\n"), "\n")
	return "  " + strings.Join(lines, "  ") + "\n"
}

// check reads a configuration that stands in a folder of its own, with in as its parameter src, and a folder to write to as dst.
func check(t testing.TB, text, in string) *control.Checked {
	t.Helper()
	dir := t.TempDir()
	integration := "---\napiVersion: penstock.dev/v1alpha1\nkind: Integration\nmetadata: { name: bad }\nspec: { params: { src: { type: string, default: none }, dst: { type: string, default: none } } }\n"
	if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(text+integration), 0o644); err != nil {
		t.Fatal(err)
	}
	return service().Check(control.Project{Paths: []string{dir}, Params: map[string]string{"src": in, "dst": filepath.Join(dir, "out")}}, false)
}

// options change a run.
type options struct {
	in     string    // path of what is read; "": a file with the given content
	stdout io.Writer // "": kept in outcome.out
	stdin  io.Reader
	dead   string // folder of dead letters
	ctx    context.Context
	more   func(*control.RunOptions)
}

// runFlow runs a configuration over a file of the given name and content.
func runFlow(t testing.TB, text, name, content string) *outcome {
	t.Helper()
	in := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(in, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return runWith(t, text, options{in: in})
}

func runWith(t testing.TB, text string, o options) *outcome {
	t.Helper()
	c := check(t, text, o.in)
	if !c.OK {
		for _, f := range c.Findings {
			t.Error(f)
		}
		t.Fatal("the configuration is wrong")
	}
	if o.dead == "" {
		o.dead = t.TempDir()
	}
	if o.ctx == nil {
		o.ctx = context.Background()
	}
	var kept bytes.Buffer
	if o.stdout == nil {
		o.stdout = &kept
	}
	if o.stdin == nil {
		o.stdin = strings.NewReader("")
	}
	ro := control.RunOptions{DeadLetters: o.dead, Stdout: o.stdout, Stdin: o.stdin}
	if o.more != nil {
		o.more(&ro)
	}
	sum, err := service().Run(o.ctx, c, ro)
	res := &outcome{sum: sum, err: err, out: lines(kept.String())}
	var fault *control.Fault
	if asFault(err, &fault) {
		t.Fatalf("the run panicked: %v\n%s", fault, fault.Stack)
	}
	res.dead = letters(t, filepath.Join(o.dead, "bad.dead.jsonl"))
	return res
}

func lines(text string) []string {
	if text = strings.TrimSuffix(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// letters reads a dead-letter file; it need not be there.
func letters(t testing.TB, path string) []letter {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
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
