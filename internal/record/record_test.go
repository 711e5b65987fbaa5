package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func doc(f jsonview.Format, s string) *jsonview.Doc {
	d := new(jsonview.Doc)
	d.Reset(f, []byte(s))
	return d
}

func node(t testing.TB, s string) penstock.Value {
	d := doc(jsonview.JSON, s)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	return penstock.NodeValue(d, 0)
}

// exact shows a value with its kind, so that two are the same where their texts are.
func exact(v penstock.Value) string {
	k := v.Kind()
	switch k {
	case penstock.KindBool:
		return fmt.Sprint(v.Bool())
	case penstock.KindInt:
		return fmt.Sprintf("int %d", v.Int())
	case penstock.KindUint:
		return fmt.Sprintf("uint %d", v.Uint())
	case penstock.KindDouble:
		return fmt.Sprintf("double %x %q", math.Float64bits(v.Double()), v.NumberText())
	case penstock.KindDecimal:
		return fmt.Sprintf("decimal %s/%d", v.Decimal(), v.Decimal().Scale())
	case penstock.KindString:
		return fmt.Sprintf("string %q", v.Str())
	case penstock.KindType:
		return fmt.Sprintf("type %q", v.Str())
	case penstock.KindBytes:
		return fmt.Sprintf("bytes %x", v.Bytes())
	case penstock.KindTimestamp:
		return fmt.Sprintf("timestamp %d.%d", v.Timestamp().Unix(), v.Timestamp().Nanosecond())
	case penstock.KindDuration:
		return fmt.Sprintf("duration %d", v.Duration())
	case penstock.KindList:
		var s []string
		for _, e := range v.List().Elems {
			s = append(s, exact(e))
		}
		return "[" + strings.Join(s, ", ") + "]"
	case penstock.KindMap:
		var s []string
		for _, e := range v.Map().Entries {
			s = append(s, exact(e.Key)+": "+exact(e.Value))
		}
		return "{" + strings.Join(s, ", ") + "}"
	case penstock.KindOptional:
		return "optional " + exact(v.Optional())
	case penstock.KindError:
		var e *penstock.Error
		errors.As(v.Err(), &e)
		return fmt.Sprintf("error %+v", *e)
	case penstock.KindNode:
		d, n := v.Node()
		return "node " + string(d.AppendJSON(nil, n))
	}
	return fmt.Sprintf("kind %d", k)
}

// values draws values of every kind.
func values(depth int) *rapid.Generator[penstock.Value] {
	return rapid.Custom(func(t *rapid.T) penstock.Value {
		most := 15
		if depth == 0 {
			most = 11
		}
		switch rapid.IntRange(0, most).Draw(t, "kind") {
		case 0:
			return penstock.Null
		case 1:
			return penstock.BoolValue(rapid.Bool().Draw(t, "bool"))
		case 2:
			return penstock.IntValue(rapid.Int64().Draw(t, "int"))
		case 3:
			return penstock.UintValue(rapid.Uint64().Draw(t, "uint"))
		case 4:
			return penstock.DoubleValue(math.Float64frombits(rapid.Uint64().Draw(t, "bits")))
		case 5:
			i, f := rapid.Int16().Draw(t, "whole"), rapid.IntRange(0, 99).Draw(t, "cents")
			text := fmt.Sprintf("%d.%02d", i, f)
			var d float64
			_, _ = fmt.Sscan(text, &d)
			return penstock.DoubleTextValue(d, []byte(text))
		case 6:
			d, err := penstock.ParseDecimal(rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]{1,20})?(e-?[0-9]{1,3})?`).Draw(t, "decimal"))
			if err != nil {
				t.Fatal(err)
			}
			return penstock.DecimalValue(d)
		case 7:
			return penstock.StringValue(rapid.String().Draw(t, "string"))
		case 8:
			return penstock.BytesValue(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		case 9:
			return penstock.TimestampValue(time.Unix(rapid.Int64().Draw(t, "sec"), rapid.Int64Range(0, 999999999).Draw(t, "nanos")))
		case 10:
			return penstock.DurationValue(time.Duration(rapid.Int64().Draw(t, "duration")))
		case 11:
			return penstock.TypeValue("google.protobuf.Timestamp")
		case 12:
			return penstock.ListValue(&penstock.List{Elems: rapid.SliceOfN(values(depth-1), 0, 4).Draw(t, "list")})
		case 13:
			m := &penstock.Map{}
			for i, v := range rapid.SliceOfN(values(depth-1), 0, 4).Draw(t, "map") {
				m.Entries = append(m.Entries, penstock.Entry{Key: penstock.IntValue(int64(i)), Value: v})
			}
			return penstock.MapValue(m)
		case 14:
			v := penstock.Absent
			if rapid.Bool().Draw(t, "some") {
				v = values(depth-1).Draw(t, "inner")
			}
			return penstock.OptionalValue(v)
		default:
			return penstock.ErrorValue(&penstock.Error{Code: penstock.Timeout, Op: rapid.String().Draw(t, "op"), Path: "p", Hint: "h", Err: errors.New("m")})
		}
	})
}

func TestValuesRoundTrip(t *testing.T) {
	names := []string{"a", "", "b", "absent"}
	rapid.Check(t, func(t *rapid.T) {
		gen := values(3)
		m := &penstock.Message{Key: rapid.String().Draw(t, "key"), Body: doc(jsonview.JSON, `{"a": 1.0 }`)}
		if rapid.Bool().Draw(t, "time") {
			m.Time = time.Unix(rapid.Int64Range(-1e12, 1e12).Draw(t, "sec"), 5)
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "headers") {
			m.Meta.Add(fmt.Sprint("h", i), gen.Draw(t, "value"))
		}
		m.Vars = []penstock.Value{gen.Draw(t, "a"), gen.Draw(t, "unnamed"), gen.Draw(t, "b"), penstock.Absent}
		h := Header{Time: rapid.Int64().Draw(t, "at"), Origin: rapid.String().Draw(t, "origin"), Flags: rapid.Byte().Draw(t, "flags")}
		rec := Append([]byte("before"), h, m, names)[6:]
		v, err := Parse(rec)
		if err != nil {
			t.Fatal(err)
		}
		if v.Time() != h.Time || v.Origin() != h.Origin || v.Flags() != h.Flags || v.Key() != m.Key || !v.EventTime().Equal(m.Time) || Key(rec) != m.Key {
			t.Fatalf("%+v is not %+v", v, h)
		}
		again := v.Draft()
		if got := again.Append(nil); !bytes.Equal(got, rec) {
			t.Fatalf("a draft that nothing changed differs:\n%x\n%x", got, rec)
		}
		var b penstock.Batch
		got, err := v.Message(&b, []string{"b", "other", "a"})
		if err != nil {
			t.Fatal(err)
		}
		if got.Key != m.Key || !got.Time.Equal(m.Time) || string(got.Body.Bytes()) != `{"a": 1.0 }` || len(b.Msgs) != 1 {
			t.Fatalf("got %+v", got)
		}
		for i, e := range m.Meta.Entries() {
			if o := got.Meta.Entries()[i]; o.Name != e.Name || exact(o.Value) != exact(e.Value) {
				t.Fatalf("header %s: got %s, want %s", o.Name, exact(o.Value), exact(e.Value))
			}
		}
		for i, want := range []penstock.Value{m.Vars[2], penstock.Absent, m.Vars[0]} {
			if exact(got.Vars[i]) != exact(want) {
				t.Fatalf("variable %d: got %s, want %s", i, exact(got.Vars[i]), exact(want))
			}
		}
	})
}

func TestNodes(t *testing.T) {
	shape, err := jsonview.NewShape([]string{"n", "s"})
	if err != nil {
		t.Fatal(err)
	}
	row := new(jsonview.Doc)
	row.ResetRecord([]byte("1.50x"), shape)
	row.AddCell(0, jsonview.Number, 0, 4)
	row.AddCell(1, jsonview.String, 4, 5)
	row.EndRecord()
	inner, _ := node(t, `{"a": [1.0, {"b":"é\n"}]}`).Node()
	for _, c := range []struct {
		v    penstock.Value
		want string
	}{
		{node(t, ` {"a" : 1} `), `node {"a" : 1}`},
		{penstock.NodeValue(inner, inner.Field(0, "a", nil)), `node [1.0, {"b":"é\n"}]`},
		{node(t, `"x"`), `node "x"`}, {node(t, `null`), `node null`},
		{penstock.NodeValue(row, 0), `node {"n":1.50,"s":"x"}`},
		{penstock.NodeValue(row, row.Field(0, "n", nil)), `node 1.50`},
		{penstock.NodeValue(doc(jsonview.Text, "t"), 0), `node "t"`},
		{penstock.NodeValue(doc(jsonview.Binary, "\xff"), 0), `bytes ff`},
		{penstock.NodeValue(inner, jsonview.None), "kind 0"},
		{penstock.NodeValue(doc(jsonview.JSON, "[1]"), 0), "node [1]"}, // unread
		{penstock.NodeValue(doc(jsonview.JSON, "[1"), 0), "kind 0"},
	} {
		m := &penstock.Message{Body: doc(jsonview.JSON, "1")}
		m.Meta.Add("h", penstock.ListValue(&penstock.List{Elems: []penstock.Value{c.v, penstock.True}}))
		v, err := Parse(Append(nil, Header{}, m, nil))
		if err != nil {
			t.Fatal(err)
		}
		var b penstock.Batch
		got, err := v.Message(&b, nil)
		if err != nil {
			t.Fatal(err)
		}
		elems := got.Meta.Get("h").List().Elems
		if s := exact(elems[0]); s != c.want || !elems[1].Bool() {
			t.Errorf("got %s, want %s", s, c.want)
		}
		for _, heap := range v.Meta() {
			if s := exact(heap.List().Elems[0]); s != c.want {
				t.Errorf("on the heap %s, want %s", s, c.want)
			}
		}
	}
}

// columns is a decoder of rows with two cells of one byte.
type columns struct{ shape *jsonview.Shape }

func (c columns) DecodeRecord(d *jsonview.Doc, src []byte) error {
	if len(src) != 2 {
		return errors.New("two cells are wanted")
	}
	d.ResetRecord(src, c.shape)
	d.AddCell(0, jsonview.Number, 0, 1)
	d.AddCell(1, jsonview.String, 1, 2)
	d.EndRecord()
	return nil
}

func TestBodies(t *testing.T) {
	shape, _ := jsonview.NewShape([]string{"n", "s"})
	lazy := func(s string, read bool) *jsonview.Doc {
		d := new(jsonview.Doc)
		d.ResetLazy([]byte(s), columns{shape})
		if read {
			_ = d.Parse(jsonview.Limits{})
		}
		return d
	}
	broken := doc(jsonview.JSON, "{no")
	_ = broken.Parse(jsonview.Limits{})
	for _, c := range []struct {
		body   *jsonview.Doc
		format jsonview.Format
		want   string
		json   string
	}{
		{doc(jsonview.JSON, ` {"a": 1}`), jsonview.JSON, ` {"a": 1}`, ` {"a": 1}`},
		{doc(jsonview.JSON, "{no"), jsonview.JSON, "{no", "{no"},
		{broken, jsonview.JSON, "{no", "{no"},
		{doc(jsonview.Text, "a\n"), jsonview.Text, "a\n", `"a\n"`},
		{doc(jsonview.Binary, "\x00\xff"), jsonview.Binary, "\x00\xff", `"AP8="`},
		{lazy("1x", false), jsonview.JSON, `{"n":1,"s":"x"}`, `{"n":1,"s":"x"}`},
		{lazy("1x", true), jsonview.JSON, `{"n":1,"s":"x"}`, `{"n":1,"s":"x"}`},
		{lazy("1xy", true), jsonview.Text, `1xy`, `"1xy"`},
		{lazy("1x\xff", true), jsonview.Binary, "1x\xff", `"MXj/"`},
	} {
		v, err := Parse(Append(nil, Header{}, &penstock.Message{Body: c.body}, nil))
		if err != nil {
			t.Fatal(err)
		}
		if v.Format() != c.format || string(v.Body()) != c.want || string(v.AppendBody(nil)) != c.json {
			t.Errorf("got %v %q %q, want %v %q", v.Format(), v.Body(), v.AppendBody(nil), c.format, c.want)
		}
	}
}

func TestDraft(t *testing.T) {
	str := penstock.StringValue
	m := &penstock.Message{Key: "k", Body: doc(jsonview.JSON, "1"), Time: time.Unix(5, 6), Vars: []penstock.Value{str("v")}}
	m.Meta.Add("a", str("1"))
	m.Meta.Add("b", str("2"))
	m.Meta.Add("c", str("3"))
	v, err := Parse(Append(nil, Header{Time: 1, Origin: "o"}, m, []string{"var"}))
	if err != nil {
		t.Fatal(err)
	}
	show := func(rec []byte) string {
		v, err := Parse(rec)
		if err != nil {
			t.Fatal(err)
		}
		s := []string{fmt.Sprint(v.Time()), v.Key(), v.Origin(), v.Format().String(), string(v.Body()), v.EventTime().Format("05.999999999")}
		for n, val := range v.Meta() {
			s = append(s, n+"="+val.String())
		}
		for n, val := range v.Vars() {
			s = append(s, n+":"+val.String())
		}
		return strings.Join(s, " ")
	}
	d := v.Draft()
	d.Key, d.Body, d.Format, d.Time = "other", []byte("text"), jsonview.Text, 2
	d.Meta = []penstock.MetaEntry{{Name: "b", Value: str("new")}, {Name: "a", Value: penstock.Absent}, {Name: "d", Value: penstock.IntValue(4)}}
	if got, want := show(d.Append(nil)), `2 other o text text 05.000000006 c="3" b="new" d=4 var:"v"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d.NoMeta, d.NoVars, d.EventTime = true, true, time.Time{}
	if got, want := show(d.Append(nil)), `2 other o text text 00 b="new" d=4`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := show(Draft{Body: []byte("null")}.Append(nil)), `0   json null 00`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	meta := new(penstock.Meta)
	meta.Add("only", penstock.True)
	rec := Append(nil, Header{Key: "x", EventTime: time.Unix(7, 0), Body: doc(jsonview.Text, "t"), Meta: meta}, m, nil)
	if got, want := show(rec), `0 x  text t 07 only=true`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDamaged(t *testing.T) {
	m := &penstock.Message{Key: "key", Body: doc(jsonview.JSON, "1"), Time: time.Unix(5, 6), Vars: []penstock.Value{penstock.True}}
	m.Meta.Add("n", node(t, `{"a":1}`))
	good := Append(nil, Header{Origin: "o", Flags: 1}, m, []string{"v"})
	for n := range len(good) - 1 { // the body alone may be cut: nothing says how long it is
		if _, err := Parse(good[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	for _, c := range []struct {
		at   int
		to   byte
		want error
	}{{0, 2, ErrVersion}, {0, 0, ErrDamaged}, {1, 0xff, ErrDamaged}, {1, 3, ErrDamaged}} {
		bad := slices.Clone(good)
		bad[c.at] = c.to
		if _, err := Parse(bad); !errors.Is(err, c.want) {
			t.Errorf("byte %d is %d: %v", c.at, c.to, err)
		}
	}
	bad := bytes.Replace(good, []byte(`{"a":1}`), []byte(`{"a":1!`), 1)
	v, err := Parse(bad)
	if err != nil {
		t.Fatal(err)
	}
	var b penstock.Batch
	if _, err := v.Message(&b, nil); !errors.Is(err, ErrDamaged) || len(b.Msgs) != 0 {
		t.Errorf("%v, %d messages", err, len(b.Msgs))
	}
	for _, val := range v.Meta() {
		if !val.IsError() {
			t.Errorf("damaged JSON reads as %v", val)
		}
	}
}

func TestNesting(t *testing.T) {
	v := penstock.True
	for range 3 * maxNesting {
		v = penstock.OptionalValue(v)
	}
	m := &penstock.Message{Body: doc(jsonview.JSON, "1")}
	m.Meta.Add("deep", v)
	p, err := Parse(Append(nil, Header{}, m, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range p.Meta() {
		for got.Kind() == penstock.KindOptional {
			got = got.Optional()
		}
		if penstock.CodeOf(got.Err()) != penstock.TooLarge {
			t.Errorf("got %v", got)
		}
	}
	hostile := binary.AppendUvarint([]byte{version, hasMeta, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1)
	hostile = append(append(hostile, 0), bytes.Repeat([]byte{tagOptional}, 1<<20)...)
	if _, err := Parse(hostile); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func typical() *penstock.Message {
	m := &penstock.Message{Key: "customer-17", Time: time.Unix(1e9, 0), Body: doc(jsonview.JSON, `{"id":17,"text":"`+strings.Repeat("x", 270)+`"}`)}
	m.Meta.Add("file", penstock.StringValue("orders-2010-12-01.csv"))
	m.Meta.Add("line", penstock.IntValue(4711))
	d, _ := penstock.ParseDecimal("12.50")
	m.Vars = []penstock.Value{penstock.DecimalValue(d), penstock.Absent, penstock.StringValue("DE")}
	return m
}

var typicalVars = []string{"amount", "unused", "country"}

func TestAllocations(t *testing.T) {
	m, h := typical(), Header{Time: 1, Origin: "orders.csv:17"}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], h, m, typicalVars) }); n != 0 {
		t.Errorf("to append takes %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(buf) }); n != 0 {
		t.Errorf("to parse takes %v allocations", n)
	}
	v, _ := Parse(buf)
	var b penstock.Batch
	make1 := func() {
		b.Reset()
		if _, err := v.Message(&b, typicalVars); err != nil {
			t.Fatal(err)
		}
	}
	make1()
	if n := testing.AllocsPerRun(100, make1); n != 0 {
		t.Errorf("to make a message takes %v allocations", n)
	}
	out := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { d := v.Draft(); d.Key = "x"; out = d.Append(out[:0]) }); n != 0 {
		t.Errorf("a draft takes %v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, Header{Time: 1, Origin: "o", Flags: 3}, typical(), typicalVars))
	m := &penstock.Message{Body: doc(jsonview.Text, "t")}
	m.Meta.Add("l", penstock.ListValue(&penstock.List{Elems: []penstock.Value{penstock.OptionalValue(penstock.Absent), penstock.ErrorValue(errors.New("e")), penstock.DoubleTextValue(1.5, []byte("1.50"))}}))
	m.Meta.Add("m", penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: penstock.UintValue(1), Value: penstock.DurationValue(-1)}}}))
	m.Meta.Add("n", node(f, `{"a":[1]}`))
	m.Meta.Add("t", penstock.TimestampValue(time.Unix(-1, 1)))
	f.Add(Append(nil, Header{}, m, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = Key(data)
		v, err := Parse(data)
		if err != nil {
			return
		}
		if n := testing.AllocsPerRun(1, func() { _, _ = Parse(data) }); n != 0 {
			t.Fatalf("%v allocations", n)
		}
		d := v.Draft()
		again, err := Parse(d.Append(nil))
		if err != nil || again.Key() != v.Key() || !bytes.Equal(again.Body(), v.Body()) {
			t.Fatalf("a copy is not the same: %v", err)
		}
		var b penstock.Batch
		got, err := v.Message(&b, typicalVars)
		if err != nil {
			return
		}
		h := Header{Time: v.Time(), Origin: v.Origin(), Flags: v.Flags()}
		one := Append(nil, h, got, typicalVars)
		w, err := Parse(one)
		if err != nil {
			t.Fatal(err)
		}
		got2, err := w.Message(&b, typicalVars)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Vars {
			if exact(got.Vars[i]) != exact(got2.Vars[i]) {
				t.Fatalf("%s became %s", exact(got.Vars[i]), exact(got2.Vars[i]))
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	m, buf := typical(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], Header{Time: 1, Origin: "orders.csv:17"}, m, typicalVars)
	}
}

func BenchmarkMessage(b *testing.B) {
	rec := Append(nil, Header{Time: 1, Origin: "orders.csv:17"}, typical(), typicalVars)
	var batch penstock.Batch
	b.ReportAllocs()
	for b.Loop() {
		v, _ := Parse(rec)
		_, _ = v.Message(&batch, typicalVars)
		if len(batch.Msgs) == 256 {
			batch.Reset()
		}
	}
}
