package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func TestFilter(t *testing.T) {
	b := batch(`{"k":1,"ok":true}`, `{"k":2,"ok":false}`, `{"k":3,"ok":"yes"}`, `{"k":4,"ok":true}`, `{"k":5}`, `{"k":6,"ok":false}`, `{`)
	process(t, &Filter{Condition: field("ok")}, b)
	var got []string
	for i, m := range b.Msgs {
		s := string(m.Body.Bytes())
		if err := b.Err(i); err != nil {
			s += " " + err.Error()
		}
		got = append(got, s)
	}
	want := []string{
		`{"k":1,"ok":true}`,
		`{"k":3,"ok":"yes"} filter: the condition is a string, not a bool (a condition must be true or false)`,
		`{"k":4,"ok":true}`,
		`{"k":5} filter: the condition is absent, not a bool (a condition must be true or false)`,
		`{ filter: body: invalid JSON at byte 1 (line 1): the document ends where a key in double quotes is needed`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if b.Failed() != 3 {
		t.Errorf("%d failed", b.Failed())
	}
}

// TestFilterMarks holds the marks to the messages that they belong to, whatever is dropped around them.
func TestFilterMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fates := rapid.SliceOf(rapid.IntRange(0, 2)).Draw(t, "fates") // drop, keep, fail
		b := batch()
		var want []uint64
		for i := range fates {
			m := b.Append()
			m.Seq = uint64(i)
			if fates[i] > 0 {
				want = append(want, m.Seq)
			}
		}
		f := &Filter{Condition: program(func(f *penstock.Frame) penstock.Value {
			switch fates[f.Msg.Seq] {
			case 0:
				return penstock.False
			case 1:
				return penstock.OptionalValue(penstock.True)
			}
			return penstock.ErrorValue(errBoom)
		})}
		if err := f.Process(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for i, m := range b.Msgs {
			got = append(got, m.Seq)
			if failed := b.Err(i) != nil; failed != (fates[m.Seq] == 2) {
				t.Fatalf("message %d: failed is %t", m.Seq, failed)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("kept %v, want %v", got, want)
		}
	})
}

type checks func(d *jsonview.Doc) []Violation

func (c checks) Validate(d *jsonview.Doc) []Violation { return c(d) }

func TestValidate(t *testing.T) {
	v := &Validate{Validator: checks(func(d *jsonview.Doc) []Violation {
		if d.Field(0, "a", nil) != jsonview.None {
			return nil
		}
		return []Violation{{"", "lacks the field a"}, {"lines[0].price", "is a string, not a number"}, {"[1]", "is odd"}}
	})}
	b := batch(`{"a":1}`, `{"b":1}`, `{"b":`)
	process(t, v, b)
	if b.Err(0) != nil {
		t.Error(b.Err(0))
	}
	wantError(t, b.Err(1), penstock.Unprocessable, "validate: body lacks the field a; body.lines[0].price is a string, not a number; body[1] is odd")
	wantError(t, b.Err(2), penstock.Invalid, "validate: body: invalid JSON at byte 5 (line 1): the document ends where a value is needed")
	var all *ValidationError
	if !errors.As(b.Err(1), &all) || len(all.Violations) != 3 {
		t.Error("the list of violations is not there")
	}
	many := &ValidationError{Violations: make([]Violation, 25)}
	if s := many.Error(); !strings.HasSuffix(s, "; and 5 more") || strings.Count(s, ";") != 20 {
		t.Error(s)
	}
}

// csvish is a codec of one line of cells.
type csvish struct{ penstock.Codec }

func (csvish) Decode(dst, src []byte) ([]byte, error) {
	if bytes.ContainsRune(src, '"') {
		return dst, errors.New("a quote at byte 1")
	}
	if bytes.ContainsRune(src, '!') {
		return dst, penstock.E(penstock.TooLarge, "csv", "", "too large")
	}
	dst = append(dst, '[')
	for i, c := range bytes.Split(src, []byte(",")) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsonview.AppendString(dst, string(c))
	}
	return append(dst, ']'), nil
}

func (csvish) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if d.Kind(0) != jsonview.Array {
		return dst, penstock.E(penstock.Unprocessable, "csv", "body", "is no list")
	}
	for e := d.First(0); e != jsonview.None; e = d.Next(e) {
		dst = append(dst, d.Str(e, nil)...)
		dst = append(dst, ',')
	}
	return bytes.ReplaceAll(bytes.TrimSuffix(dst, []byte(",")), []byte("latin"), []byte{0xe9}), nil
}

func TestDecode(t *testing.T) {
	b := batch(`"a,b"`, `a,"`, `x,y`, `"\u0061\n"`, `!`)
	text := b.Append()
	text.Body.Reset(jsonview.Text, []byte("p,q"))
	binary := b.Append()
	binary.Body.Reset(jsonview.Binary, []byte("r"))
	row := b.Append()
	record(t, row, []string{"a"}, "x")
	process(t, &Decode{Codec: csvish{}}, b)
	for i, want := range map[int]string{0: `["a","b"]`, 2: `["x","y"]`, 3: `["a\n"]`, 5: `["p","q"]`, 6: `["r"]`} {
		if got := body(b.Msgs[i]); got != want || b.Err(i) != nil {
			t.Errorf("message %d: %s (%v), want %s", i, got, b.Err(i), want)
		}
	}
	wantError(t, b.Err(1), penstock.Invalid, "decode: a quote at byte 1")
	wantError(t, b.Err(4), penstock.TooLarge, "decode: csv: too large")
	wantError(t, b.Err(7), penstock.Unprocessable, "decode: body: is a record, which is decoded already")

	from := &Decode{Codec: csvish{}, From: field("raw"), Into: path(t, "vars.x")}
	b = batch(`{"raw":"a,b"}`, `{"raw":1}`, `{}`, `{`)
	process(t, from, b)
	if got := b.Msgs[0].Vars[0].String(); got != `["a","b"]` || body(b.Msgs[0]) != `{"raw":"a,b"}` {
		t.Error(got)
	}
	wantError(t, b.Err(1), penstock.Unprocessable, "decode: what is to be decoded is an int (a format is read from a string or bytes)")
	wantError(t, b.Err(2), penstock.Unprocessable, "decode: what is to be decoded is absent (a format is read from a string or bytes)")
	if b.Err(3) == nil {
		t.Error("a body that is no JSON was read")
	}
	_, m := one(t, &Decode{Codec: csvish{}, From: constant(penstock.BytesValue([]byte("z")))}, `{}`)
	if got := body(m); got != `["z"]` {
		t.Error(got)
	}
}

func TestEncode(t *testing.T) {
	b := batch(`["a","b"]`, `["latin"]`, `{}`, `[`)
	process(t, &Encode{Codec: csvish{}}, b)
	if d := b.Msgs[0].Body; d.Format() != jsonview.Text || string(d.Bytes()) != "a,b" {
		t.Errorf("%s %s", d.Format(), d.Bytes())
	}
	if d := b.Msgs[1].Body; d.Format() != jsonview.Binary || string(d.Bytes()) != "\xe9" {
		t.Errorf("%s %s", d.Format(), d.Bytes())
	}
	wantError(t, b.Err(2), penstock.Unprocessable, "encode: csv: body: is no list")
	wantError(t, b.Err(3), penstock.Invalid, "encode: body: invalid JSON at byte 1 (line 1): the document ends where a value is needed")
	b = batch(`["a","b"]`, `["latin"]`)
	process(t, &Encode{Codec: csvish{}, Into: path(t, "vars.x")}, b)
	if v := b.Msgs[0].Vars[0]; v.Kind() != penstock.KindString || v.Str() != "a,b" {
		t.Error(v)
	}
	if v := b.Msgs[1].Vars[0]; v.Kind() != penstock.KindBytes || string(v.Bytes()) != "\xe9" {
		t.Error(v)
	}
}

// item reads a field of the element in slot 1.
func item(name string) program {
	return func(f *penstock.Frame) penstock.Value {
		d, n := f.Msg.Vars[1].Node()
		if n = d.Field(n, name, nil); n == jsonview.None {
			return penstock.OptionalValue(penstock.Absent)
		}
		return penstock.NodeValue(d, n)
	}
}

func TestSort(t *testing.T) {
	for _, c := range []struct {
		name, src, want string
		step            *Sort
	}{
		{"numbers of all kinds", `[3, 1.5,2,18446744073709551615,-1]`, `[-1,1.5,2,3,18446744073709551615]`, &Sort{}},
		{"beyond 2^53", `[9007199254740993,9007199254740992.0,9007199254740991]`, `[9007199254740991,9007199254740992.0,9007199254740993]`, &Sort{}},
		{"strings by code point", `["b","Z","é","a","\ud83d\ude00","\uffff"]`, `["Z","a","b","é","\uffff","\ud83d\ude00"]`, &Sort{}},
		{"bools", `[true,false,true]`, `[false,true,true]`, &Sort{}},
		{"descending, stable", `[{"k":1,"n":"a"},{"k":2},{"k":1,"n":"b"}]`, `[{"k":2},{"k":1,"n":"a"},{"k":1,"n":"b"}]`, &Sort{By: item("k"), Slot: 1, Descending: true}},
		{"absent and null last", `[{"n":"a"},{"k":null},{"k":2},{"k":1}]`, `[{"k":1},{"k":2},{"n":"a"},{"k":null}]`, &Sort{By: item("k"), Slot: 1}},
		{"… and descending", `[{"n":"a"},{"k":1},{"k":2}]`, `[{"k":2},{"k":1},{"n":"a"}]`, &Sort{By: item("k"), Slot: 1, Descending: true}},
		{"sorted already", `[ 1, 2 ]`, `[ 1, 2 ]`, &Sort{}},
		{"empty", `[ ]`, `[ ]`, &Sort{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, m := one(t, c.step, c.src)
			if got := body(m); got != c.want || b.Err(0) != nil {
				t.Errorf("got  %s (%v)\nwant %s", got, b.Err(0), c.want)
			}
			if c.step.By != nil && (len(m.Vars) != 2 || !m.Vars[1].IsAbsent()) {
				t.Error("item is still there")
			}
		})
	}
	for _, c := range []struct {
		src, want string
		by        penstock.Program
	}{
		{`[1,"a"]`, `sort: body: a string and an int have no order (sort by a key that has the same kind for every element)`, nil},
		{`[[],[]]`, `sort: body: a list and a list have no order (sort by a key that has the same kind for every element)`, nil},
		{`{}`, `sort: body: is an object, not a list`, nil},
		{`[1`, `sort: body: invalid JSON at byte 2 (line 1): the document ends within the array that began at byte 0`, nil},
		{`[1,2]`, `sort: body[0]: /: division by zero`, constant(penstock.ErrorValue(errBoom))},
		{`[1,2]`, `sort: body: a double and a double have no order (sort by a key that has the same kind for every element)`, constant(penstock.DoubleValue(math.NaN()))},
	} {
		b, m := one(t, &Sort{By: c.by, Slot: 1}, c.src)
		if b.Err(0) == nil || b.Err(0).Error() != c.want {
			t.Errorf("got  %v\nwant %s", b.Err(0), c.want)
		}
		if string(m.Body.Bytes()) != c.src {
			t.Errorf("the body became %s", body(m))
		}
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	plan := &Log{Message: field("msg"), Level: slog.LevelWarn}
	env := penstock.Env{Name: "orders/log1", Logger: logger}
	b := batch(`{"msg":"hello"}`, `{"msg":{"a":1.0}}`, `{"msg":null}`, `{`)
	b.Msgs[1].Key = "k 1"
	process(t, plan.Bind(env), b)
	want := `level=WARN msg=hello flow=orders step=log1
level=WARN msg="{\"a\":1.0}" flow=orders step=log1 key="k 1"
level=WARN msg="" flow=orders step=log1
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	if b.Failed() != 1 || b.Err(3) == nil || len(b.Msgs) != 4 {
		t.Errorf("%d failed: %v", b.Failed(), b.Err(3))
	}
	out.Reset()
	process(t, (&Log{Message: constant(penstock.ErrorValue(errBoom)), Level: slog.LevelDebug}).Bind(env), b)
	if out.Len() > 0 {
		t.Error(out.String())
	}
	if err := plan.Process(context.Background(), b); penstock.CodeOf(err) != penstock.Internal {
		t.Errorf("a step that is not bound: %v", err)
	}
}

func TestFail(t *testing.T) {
	b := batch(`{"msg":"no stock"}`, `{}`, `{`)
	process(t, &Fail{Code: penstock.Conflict, Message: field("msg")}, b)
	wantError(t, b.Err(0), penstock.Conflict, "fail: no stock")
	wantError(t, b.Err(1), penstock.Conflict, "fail: conflict")
	wantError(t, b.Err(2), penstock.Conflict, "fail: body: invalid JSON at byte 1 (line 1): the document ends where a key in double quotes is needed (the step's message could not be computed)")
	b = batch(`1`)
	process(t, &Fail{Code: penstock.Limited}, b)
	wantError(t, b.Err(0), penstock.Limited, "fail: limited")
}

// sampled runs batches of the sizes through s, a second apart, and gives the numbers of the messages that passed.
func sampled(t *testing.T, s *Sample, sizes ...int) (passed []uint64) {
	t.Helper()
	step := must(NewSample(s)).Bind(penstock.Env{})
	clock := &still{now: time.Unix(1000, 0)}
	seq := uint64(0)
	for _, n := range sizes {
		b := batch()
		b.Runtime.Clock = clock
		for range n {
			b.Append().Seq = seq
			seq++
		}
		process(t, step, b)
		for _, m := range b.Msgs {
			passed = append(passed, m.Seq)
		}
		clock.now = clock.now.Add(time.Second)
	}
	return passed
}

func TestSample(t *testing.T) {
	for _, c := range []struct {
		name  string
		step  *Sample
		sizes []int
		want  string
	}{
		{"every third", &Sample{Every: 3}, []int{4, 0, 4}, "[0 3 6]"},
		{"every one", &Sample{Every: 1}, []int{3}, "[0 1 2]"},
		{"one in two seconds", &Sample{Interval: 2 * time.Second}, []int{2, 2, 0, 2, 2}, "[0 4]"},
		{"two a second", &Sample{Rate: 2}, []int{5, 1, 0, 5}, "[0 1 5 6 7]"},
		{"one in two seconds as a rate", &Sample{Rate: 0.5}, []int{2, 2, 2, 2}, "[0 4]"},
		{"all", &Sample{Share: 1}, []int{3}, "[0 1 2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // the second run begins anew
				if got := fmt.Sprint(sampled(t, c.step, c.sizes...)); got != c.want {
					t.Errorf("passed %s, want %s", got, c.want)
				}
			}
		})
	}
	a, b := sampled(t, &Sample{Share: 0.1, Seed: 1}, 5000, 5000), sampled(t, &Sample{Share: 0.1, Seed: 1}, 10000)
	if len(a) < 900 || len(a) > 1100 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("%d and %d of 10000 passed", len(a), len(b))
	}
	if other := sampled(t, &Sample{Share: 0.1, Seed: 2}, 10000); fmt.Sprint(a) == fmt.Sprint(other) {
		t.Error("the seed has no effect")
	}
}

func TestSampleClockSetBack(t *testing.T) {
	for _, s := range []*Sample{{Interval: time.Second}, {Rate: 1}} {
		step := s.Bind(penstock.Env{})
		clock := &still{now: time.Unix(1000, 0)}
		pass := func() int {
			b := batch(`1`)
			b.Runtime.Clock = clock
			process(t, step, b)
			return len(b.Msgs)
		}
		if pass() != 1 {
			t.Error("the first did not pass")
		}
		clock.now = time.Unix(500, 0)
		pass()
		clock.now = time.Unix(501, 0)
		if pass() != 1 {
			t.Errorf("%+v: nothing passes until the clock is where it was", s)
		}
	}
}

func TestSampleErrors(t *testing.T) {
	for _, s := range []*Sample{{}, {Every: 2, Share: 0.5}, {Every: -1}, {Interval: -1}, {Share: 1.5}, {Share: -1}, {Share: math.NaN()}, {Rate: -1}, {Rate: math.Inf(1)}} {
		if _, err := NewSample(s); penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// from is a lineage for tests.
type from string

// Origin implements penstock.Lineage.
func (f from) Origin() string { return string(f) }

// AppendIdentity implements penstock.Lineage.
func (f from) AppendIdentity(dst []byte, d penstock.Descent) []byte {
	return d.Append(append(dst, f...))
}

func TestLogSaysWhichMessageItWas(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		name string
		meta map[string]string
		want string
	}{
		{"nothing", nil, "message_id=in:1 correlation_id=in:1"},
		{"a correlation", map[string]string{"x-correlation-id": "c-1"}, "message_id=in:1 correlation_id=c-1"},
		{"a trace", map[string]string{"traceparent": trace}, "trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 message_id=in:1 correlation_id=0af7651916cd43dd8448eb211c80319c"},
		{"both", map[string]string{"traceparent": trace, "x-correlation-id": "c-1"}, "trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 message_id=in:1 correlation_id=c-1"},
		{"no trace", map[string]string{"traceparent": "x"}, "message_id=in:1 correlation_id=in:1"},
	} {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, nil))
		l := (&Log{Message: constant(penstock.StringValue("hello"))}).Bind(penstock.Env{Name: "f/log1", Logger: logger})
		var b penstock.Batch
		m := b.Append()
		m.Lineage = from("in:1")
		for k, v := range c.meta {
			m.Meta.Set(k, penstock.StringValue(v))
		}
		if err := l.Process(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(out.String(), "msg=hello flow=f step=log1 "+c.want+"\n") {
			t.Errorf("%s: %s", c.name, out.String())
		}
	}
}
