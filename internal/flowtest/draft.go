package flowtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// Draft is what a test is to be made of: messages that were seen on their way through a flow.
type Draft struct {
	Name    string // of the test; a number is put behind it where there is one of this name
	Flow    string
	Path    string   // of the file that the test is meant for; "" is any
	Comment []string // lines that stand above the test
	Seen    []Seen   // in the order in which they are sent
}

// Seen is one message that was seen. Documents are JSON text.
type Seen struct {
	ID      string // for what is said of it
	Source  int    // the number of the source that it came from, from 1; 0: the first
	Body    []byte // as it came into the flow
	Meta    []byte // an object; nil: none
	Request []byte // of a flow that is called: {method, path, query, header}; nil: nobody knows
	Answers []SeenAnswer
	// Failed says that it died, or was refused, at Step with Code.
	Failed bool
	Step   string
	Code   penstock.Code
	// Grouped says that a step made something else of it and others, of which nothing is known here.
	Grouped bool
}

// SeenAnswer is how a call of one of its steps ended.
type SeenAnswer struct {
	Step  string
	Asked []byte        // body of the message that asked; nil: nobody knows
	Reply []byte        // nil: nobody knows, or it failed
	Code  penstock.Code // of a failure; else ""
	Text  string
}

// Drafted is a test that was made.
type Drafted struct {
	Name string `json:"name"`
	// Text is the Test as YAML: one document, without a line that divides it from others.
	Text string `json:"text"`
	// Notes say what of it somebody should look at.
	Notes []string `json:"notes"`
}

// Write makes a Test. It sends what was seen, answers calls as they were
// answered, and expects what the flow makes of that now, which is found by running it; so it passes. The notes say what of it somebody
// should look at. The error is an [*Invalid] where the configuration is wrong.
func (d Draft) Write(ctx context.Context, o Options) (*Drafted, error) {
	o.Filter, o.Update, o.Cover, o.Crash = nil, false, false, false
	w := &writer{d: d, o: o, notes: []string{}}
	if err := w.open(); err != nil {
		return nil, err
	}
	w.name()
	if err := w.answers(); err != nil {
		return nil, err
	}
	if err := w.script(); err != nil {
		return nil, err
	}
	played, err := w.play(ctx)
	if err != nil {
		return nil, err
	}
	w.expectations(played)
	w.compare(played)
	text := w.text()
	if err := w.verify(ctx, text); err != nil {
		return nil, err
	}
	return &Drafted{Name: w.d.Name, Text: string(text), Notes: w.notes}, nil
}

// writer makes one test.
type writer struct {
	d     Draft
	o     Options
	suite *suite
	flow  *plan.Flow
	spec  *resource.Resource // of the flow

	mocks  []mockText
	sends  []string // of the script
	expect []string
	notes  []string
}

// mockText is one mock, as it is written.
type mockText struct{ step, rest string }

func (w *writer) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(w.notes, s) {
		w.notes = append(w.notes, s)
	}
}

func (w *writer) open() error {
	s, err := newSuite(w.o)
	if err != nil {
		return err
	}
	w.suite, w.flow = s, s.plan.Flow(w.d.Flow)
	r, ok := s.set.Find(resource.KindFlow, w.d.Flow)
	if w.flow == nil || !ok {
		return &penstock.Error{Code: penstock.NotFound, Op: "test", Path: w.d.Flow, Err: fmt.Errorf("there is no flow called %s any more", w.d.Flow), Hint: "name the files that it is in"}
	}
	w.spec = r
	return nil
}

// name chooses one that no other test has.
func (w *writer) name() {
	taken := func(name string) bool {
		_, ok := w.suite.set.Find(resource.KindTest, name)
		return ok
	}
	name := w.d.Name
	if len(name) > 60 {
		name = strings.TrimRight(name[:60], "-.")
	}
	w.d.Name = name
	for n := 2; taken(w.d.Name); n++ {
		w.d.Name = fmt.Sprintf("%s-%d", name, n)
	}
}

// script writes what is sent.
func (w *writer) script() error {
	for i := range w.d.Seen {
		s := &w.d.Seen[i]
		n := max(s.Source, 1)
		if n > len(w.flow.Sources) {
			w.note("%s came from source %d of flow %s, which it no longer has; the first is taken", s.ID, n, w.flow.Name)
			n = 1
		}
		ep := w.flow.Sources[n-1]
		body, err := w.document(s.Body, ep.Type)
		if err != nil {
			return fmt.Errorf("%s: %w", s.ID, err)
		}
		line := ""
		if ep.Server != nil {
			if line, err = w.request(s, ep, body); err != nil {
				return fmt.Errorf("%s: %w", s.ID, err)
			}
		} else {
			if n > 1 {
				line = fmt.Sprintf("source: %d, ", n)
			}
			if meta := w.entries(s.Meta, "meta"); meta != "" {
				line += "meta: " + meta + ", "
			}
			line += "body: " + yamlFlow(body)
		}
		w.sends = append(w.sends, line)
	}
	return nil
}

// play runs the script, and answers what was not seen.
func (w *writer) play(ctx context.Context) (*world, error) {
	for range 100 { // calls of one flow
		w.expect = []string{"- { dead: true, count: 0 }"} // something has to stand there
		s, t, err := w.load(w.text())
		if err != nil {
			return nil, err
		}
		w.suite = s
		played := t.played(ctx)
		if played == nil || len(t.failures) == 0 {
			return played, failed(t.failures)
		}
		missing := played.mocks.unanswered()
		if len(missing) == 0 {
			return nil, failed(t.failures)
		}
		for _, ep := range missing {
			step, reply := played.places[ep].node.Name, "{}"
			if c, ok := played.places[ep].node.Op.(*plan.Call); ok && c.Maybe {
				reply = "null"
			}
			if slices.ContainsFunc(w.mocks, func(m mockText) bool {
				return m.step == step && !strings.Contains(m.rest, "when:") && !strings.Contains(m.rest, "times:")
			}) {
				return nil, failed(t.failures)
			}
			w.mocks = append(w.mocks, mockText{step, "reply: " + reply})
			w.note("what step %s is answered was not seen; its mock answers %s: write what it should be", step, reply)
		}
	}
	return nil, errors.New("there are too many calls")
}

// load compiles the configuration with the test.
func (w *writer) load(text []byte) (*suite, *test, error) {
	o := w.o
	o.texts = []resource.Text{{Path: w.d.Path, Text: text}}
	s, err := newSuite(o)
	if err != nil { // the configuration was right without it
		return nil, nil, &penstock.Error{Code: penstock.Internal, Op: "test", Err: fmt.Errorf("the test that was made is wrong: %s", err), Hint: "please report this: " + string(text)} //nolint:errorlint // it is no error of the user's
	}
	r, ok := s.set.Find(resource.KindTest, w.d.Name)
	if !ok {
		return nil, nil, errors.New("the test can't be read")
	}
	return s, &test{suite: s, spec: r.Spec.(*resource.Test), name: r.Name(), pos: r.Metadata.At("name")}, nil
}

// verify holds the test to what it says.
func (w *writer) verify(ctx context.Context, text []byte) error {
	_, t, err := w.load(text)
	if err != nil {
		return err
	}
	t.run(ctx)
	return failed(t.failures)
}

// failed is why a test could not be made.
func failed(all []Failure) error {
	if len(all) == 0 {
		return nil
	}
	var lines []string
	for _, f := range all {
		lines = append(lines, strings.TrimRight(f.Message+"\n"+f.Diff, "\n"))
	}
	return &penstock.Error{Code: penstock.Unprocessable, Op: "test", Err: errors.New("no test can be made of it: " + strings.Join(lines, "; "))}
}

// text is the test as YAML.
func (w *writer) text() []byte {
	var b strings.Builder
	for _, line := range slices.Concat(w.d.Comment, w.notes) {
		b.WriteString("# " + strings.Join(strings.Fields(line), " ") + "\n")
	}
	fmt.Fprintf(&b, "apiVersion: %s\nkind: Test\nmetadata: { name: %s }\nspec:\n  flow: %s\n", resource.APIVersion, w.d.Name, w.d.Flow)
	if p := w.params(); p != "" {
		b.WriteString("  params: " + p + "\n")
	}
	if len(w.mocks) > 0 {
		b.WriteString("  mocks:\n")
		for _, m := range w.mocks {
			fmt.Fprintf(&b, "    - { step: %s, %s }\n", m.step, m.rest)
		}
	}
	b.WriteString("  script:\n")
	for _, s := range w.sends {
		fmt.Fprintf(&b, "    - send: { %s }\n", s)
	}
	b.WriteString("  expect:\n")
	for _, e := range w.expect {
		b.WriteString("    " + strings.ReplaceAll(e, "\n", "\n    ") + "\n")
	}
	return []byte(b.String())
}

// params are values of those parameters that have none without the command line.
func (w *writer) params() string {
	t := penstock.Tree{Kind: penstock.TreeMap}
	for _, p := range w.suite.set.Params {
		declared, _ := w.suite.set.Integration().Params.Get(p.Name)
		if !p.Given || declared.Default != nil {
			continue
		}
		v, err := p.Value.AppendJSON(nil)
		if err != nil {
			continue
		}
		if value, err := parse(v); err == nil {
			t.Keys, t.Elems = append(t.Keys, p.Name), append(t.Elems, value)
		}
	}
	if len(t.Keys) == 0 {
		return ""
	}
	return yamlFlow(&t)
}
