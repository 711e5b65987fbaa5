package run

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// unreadable is a record that can't be cut into cells.
type unreadable struct{}

func (unreadable) DecodeRecord(*jsonview.Doc, []byte) error {
	return penstock.E(penstock.Invalid, "csv", "", "the row has 1 cells, but there are 2 columns")
}

func doc(f jsonview.Format, text string, parse bool) *jsonview.Doc {
	d := new(jsonview.Doc)
	if f == jsonview.Record {
		d.ResetLazy([]byte(text), unreadable{})
	} else {
		d.Reset(f, []byte(text))
	}
	if parse {
		_ = d.Parse(limits)
	}
	return d
}

// TestDeadLetterFileHoldsWhatCame writes bodies of all kinds: each is one line of JSON, from which the
// bytes that came can be had back.
func TestDeadLetterFileHoldsWhatCame(t *testing.T) {
	for _, c := range []struct {
		name string
		body *jsonview.Doc
		want string
	}{
		{"document", doc(jsonview.JSON, `{"a":1.50}`, true), `{"body":{"a":1.50},"meta":{}}`},
		{"document that nothing read", doc(jsonview.JSON, `{"a": 1}`, false), `{"body":{"a": 1},"meta":{}}`},
		{"document over several lines", doc(jsonview.JSON, "{\n \"a\" : \"x \\n y\",\r\n \"b\": [ ]\n}", true), `{"body":{"a":"x \n y","b":[]},"meta":{}}`},
		{"broken document", doc(jsonview.JSON, "{\"a\"\n", true), `{"body":"{\"a\"\n","encoding":"text","meta":{}}`},
		{"broken document that nothing read", doc(jsonview.JSON, `{"a"`, false), `{"body":"{\"a\"","encoding":"text","meta":{}}`},
		{"bytes that are no characters", doc(jsonview.JSON, "\xff", true), `{"body":"/w==","encoding":"base64","meta":{}}`},
		{"broken row", doc(jsonview.Record, "x", true), `{"body":"x","encoding":"text","meta":{}}`},
		{"broken row that nothing read", doc(jsonview.Record, "\xffx", false), `{"body":"/3g=","encoding":"base64","meta":{}}`},
		{"text", doc(jsonview.Text, "a\nb", false), `{"body":"a\nb","encoding":"text","meta":{}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new", "dead.jsonl")
			d := &deadFile{path: path}
			b := &penstock.Batch{}
			b.Append().Body = readable(b, c.body)
			if err := errors.Join(d.Write(context.Background(), b), d.Flush(context.Background()), d.Close(context.Background())); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != c.want+"\n" {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestDeadLetterFileThatCantBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{filepath.Join(file, "dead.jsonl"): "not a directory", dir: "is a directory"} {
		b := &penstock.Batch{}
		b.Append()
		err := (&deadFile{path: path}).Write(context.Background(), b)
		if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), path+": "+why) || !strings.Contains(err.Error(), "another folder") {
			t.Errorf("%v, want the path, %q and what to do", err, why)
		}
	}
}

// TestBrokenBodyReachesADeclaredDeadLetter: a sink that can only write what it can read still gets it.
func TestBrokenBodyReachesADeclaredDeadLetter(t *testing.T) {
	b := &bench{
		flow:   &plan.Flow{Name: "f", Nodes: next(plan.Node{Op: &plan.Apply{Step: keyed}})},
		source: &lines{docs: []string{`{"k":"a"}`, `{"k":`}, batch: 10},
	}
	b.run(t)
	if len(b.dead.got) != 1 || b.dead.got[0] != `"{\"k\":"` {
		t.Errorf("dead letters %q", b.dead.got)
	}
}

var keyed = steps(func(b *penstock.Batch, m *penstock.Message) error {
	if v := field("k")(b.Frame(m)); v.IsError() {
		return v.Err()
	}
	return nil
})

func TestPathOfAFailure(t *testing.T) {
	inner := penstock.E(penstock.Unprocessable, "", "body.a", "want a number")
	for want, err := range map[string]error{
		"":       errors.New("x"),
		"body.a": &penstock.Error{Op: "map", Err: &penstock.Error{Op: "v", Err: inner}},
		"x.csv":  &penstock.Error{Path: "x.csv", Err: inner},
		"body.b": &penstock.Error{Op: "validate", Err: placed{}},
	} {
		if got := pathOf(err); got != want {
			t.Errorf("%v: path %q, want %q", err, got, want)
		}
	}
}

type placed struct{}

func (placed) Error() string { return "is no number" }
func (placed) Path() string  { return "body.b" }

// full is a sink whose disk is full when it comes to making durable what it took.
type full struct{ noted }

var errFull = penstock.E(penstock.Unavailable, "file.write", "out.jsonl", "no space left on device")

func (*full) Flush(context.Context) error { return errFull }

// unending is a source that begins again.
type unending struct{ lines }

func (s *unending) Read(ctx context.Context, into *penstock.Batch) error {
	if ctx.Err() != nil {
		return io.EOF
	}
	s.next = 0
	return s.lines.Read(ctx, into)
}

// TestWhatCantBeMadeDurableEndsTheRun: the source has no end, so that a run which only told of the
// failure when it is over would never end.
func TestWhatCantBeMadeDurableEndsTheRun(t *testing.T) {
	f := &plan.Flow{Name: "f", Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(send("out"))}
	src := &unending{lines{docs: docs(10, `{"i":%d}`), batch: 10}}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{DeadLetters: t.TempDir(), Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		switch role {
		case RoleSource:
			return src, true
		case RoleSink:
			return &full{}, true
		}
		return nil, false
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sum, err := r.Run(ctx)
	if !errors.Is(err, errFull) || sum.Stopped || len(src.settled) > 0 {
		t.Errorf("%v, stopped %v, %d settled", err, sum.Stopped, len(src.settled))
	}
}

// TestTheSourceHearsWhatDied: a message, or a part of one, or one of a group.
func TestTheSourceHearsWhatDied(t *testing.T) {
	odd := plan.Node{Op: &plan.Apply{Step: parsed(func(_ *penstock.Batch, m *penstock.Message) error {
		if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n%2 == 1 {
			return penstock.E(penstock.Invalid, "odd", "body", "it is odd")
		}
		return nil
	})}}
	for _, order := range orders {
		out := &noted{}
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Concurrency: 2, Slots: 2, Nodes: next(plan.Node{Op: &plan.Split{Each: field("list"), As: -1, Index: -1}}, odd, send("out"))},
			source: &lines{docs: []string{`{"list":[{"n":2},{"n":1},{"n":4}]}`, `{"list":[]}`, `{"list":[{"n":4}]}`, `{"list":7}`, `{`}, batch: 2},
			sinks:  map[string]*noted{"out": out},
		}
		b.run(t)
		dead := make([]bool, 5)
		for _, o := range b.source.settled {
			dead[o.Pos.Offset] = o.Dead
			if o.Err != nil {
				t.Error(o.Err)
			}
		}
		if want := []bool{true, false, false, true, true}; !slices.Equal(dead, want) {
			t.Errorf("%s: %v died, want %v", order, dead, want)
		}
	}
}
