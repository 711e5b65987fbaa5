package step

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// program is a Program of one function.
type program func(f *penstock.Frame) penstock.Value

func (p program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// constant always gives v.
func constant(v penstock.Value) program { return func(*penstock.Frame) penstock.Value { return v } }

// field reads one field of the body, without a schema.
func field(name string) program {
	hint := new(jsonview.Hint)
	return func(f *penstock.Frame) penstock.Value {
		d := f.Msg.Body
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return penstock.ErrorValue(&penstock.Error{Code: penstock.Invalid, Path: "body", Err: err})
		}
		n := d.Field(0, name, hint)
		if n == jsonview.None {
			return penstock.Absent
		}
		return penstock.NodeValue(d, n)
	}
}

// mapping is a Mapping of one function.
type mapping func(dst []byte, f *penstock.Frame) ([]byte, error)

func (m mapping) Append(dst []byte, f *penstock.Frame) ([]byte, error) { return m(dst, f) }

var errBoom = &penstock.Error{Code: penstock.Unprocessable, Op: "/", Err: errors.New("division by zero")}

// path makes a Target of its text; vars are in slot 0.
func path(t testing.TB, s string) Target {
	t.Helper()
	if s == "vars" || s == "meta" {
		t.Fatalf("%s alone is no path", s)
	}
	each := strings.Contains(s, "[*]")
	p, err := penstock.ParsePath(strings.ReplaceAll(s, "[*]", "[999]"))
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Steps: p.Steps}
	for i := range target.Steps {
		if each && target.Steps[i].Index == 999 {
			target.Steps[i].Index = Each
		}
	}
	switch p.Root {
	case "vars":
		target.Root, target.Name, target.Steps = Vars, p.Steps[0].Name, p.Steps[1:]
	case "meta":
		target.Root, target.Name, target.Steps = Meta, p.Steps[0].Name, p.Steps[1:]
	case "key":
		target.Root = Key
	case "none":
		target.Root = Discard
	}
	return target
}

func paths(t testing.TB, list ...string) []Target {
	t.Helper()
	var out []Target
	for _, s := range list {
		out = append(out, path(t, s))
	}
	return out
}

// still is a clock that a test moves.
type still struct{ now time.Time }

func (c *still) Now() time.Time { return c.now }
func (c *still) NewTimer(time.Duration) (<-chan time.Time, func()) {
	return nil, func() {}
}

// batch makes a batch of JSON bodies.
func batch(bodies ...string) *penstock.Batch {
	b := &penstock.Batch{Runtime: &penstock.Runtime{Clock: &still{now: time.Unix(1000, 0)}}}
	for _, body := range bodies {
		b.Append().Body.Reset(jsonview.JSON, []byte(body))
	}
	return b
}

// body gives the JSON text of a message, "unread" text included.
func body(m *penstock.Message) string { return string(m.Body.AppendJSON(nil, 0)) }

func process(t testing.TB, s penstock.Step, b *penstock.Batch) {
	t.Helper()
	if err := s.Process(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

// one runs a step over one message with a JSON body.
func one(t testing.TB, s penstock.Step, src string) (*penstock.Batch, *penstock.Message) {
	t.Helper()
	b := batch(src)
	m := b.Msgs[0]
	process(t, s, b)
	return b, m
}

// wantError checks the message and the code of an error.
func wantError(t testing.TB, err error, code penstock.Code, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %q", text)
	}
	if err.Error() != text {
		t.Errorf("error\n%s\nwant\n%s", err, text)
	}
	if got := penstock.CodeOf(err); got != code {
		t.Errorf("code %s, want %s", got, code)
	}
	var e *penstock.Error
	if !errors.As(err, &e) {
		t.Errorf("%T is no *penstock.Error", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// record makes m a row of cells; a cell "∅" is absent.
func record(t testing.TB, m *penstock.Message, columns []string, cells ...string) {
	t.Helper()
	shape := must(jsonview.NewShape(columns))
	src := strings.Join(cells, "")
	m.Body.ResetRecord([]byte(src), shape)
	start := 0
	for i, c := range cells {
		kind := jsonview.String
		switch {
		case c == "null":
			kind = jsonview.Null
		case jsonview.ValidNumber([]byte(c)):
			kind = jsonview.Number
		}
		if c != "∅" {
			m.Body.AddCell(i, kind, start, start+len(c))
		}
		start += len(c)
	}
	m.Body.EndRecord()
}
