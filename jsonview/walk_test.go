package jsonview

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// toAny reads a whole tree through the node API.
func toAny(t testing.TB, d *Doc, n Node) any {
	t.Helper()
	switch d.Kind(n) {
	case Null:
		return nil
	case True:
		return true
	case False:
		return false
	case Number:
		return json.Number(d.Raw(n))
	case String:
		return d.Str(n, nil)
	case Array:
		list := make([]any, 0, d.Len(n))
		for e := d.First(n); e != None; e = d.Next(e) {
			if i := d.Index(n, len(list)); i != e {
				t.Errorf("element %d is node %d by Index and %d by Next", len(list), i, e)
			}
			list = append(list, toAny(t, d, e))
		}
		if len(list) != d.Len(n) || d.Index(n, len(list)) != None || d.Index(n, -1) != None {
			t.Errorf("%d elements, Len = %d", len(list), d.Len(n))
		}
		return list
	case Object:
		m := make(map[string]any, d.Len(n))
		var h Hint
		for k := d.First(n); k != None; k = d.Next(d.Value(k)) {
			name := string(d.Key(k, nil))
			if d.Str(k, nil) != name || d.Kind(k) != String {
				t.Errorf("key %q reads as %v %q", name, d.Kind(k), d.Str(k, nil))
			}
			if d.Next(k) != d.Next(d.Value(k)) {
				t.Errorf("Next of the key %q and of its value differ", name)
			}
			if d.Field(n, name, nil) != d.Value(k) || d.Field(n, name, &h) != d.Value(k) || d.Field(n, name, &h) != d.Value(k) {
				t.Errorf("Field(%q) does not find the value of its key", name)
			}
			m[name] = toAny(t, d, d.Value(k))
		}
		if len(m) != d.Len(n) {
			t.Errorf("%d fields, Len = %d", len(m), d.Len(n))
		}
		return m
	}
	t.Fatalf("node %d is invalid", n)
	return nil
}

// stdAny is the same tree by encoding/json.
func stdAny(t testing.TB, src []byte) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(src)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTreeAgreesWithEncodingJSON(t *testing.T) {
	lines, _ := orderLines(20)
	docs := strs(lines)
	docs = append(docs,
		`[]`, `{}`, `[[],{},[[]],[{}],"",0]`, `{"a":{},"b":[],"c":{"d":{}},"e":[[1,2],[3]],"f":null}`,
		` { "a" : [ 1 , { "b" : "c\n" } , [ ] ] , "\u00e9" : true } `, `"only"`, `12.50`, `[1,2,3,[4],5]`, `[{"a":1},{"a":2,"b":[{"c":[]}]}]`,
		`{"1":1,"2":{"1":1,"2":[{"1":1}]},"3":[]}`, wideObject(100), "["+wideObject(40)+","+wideObject(3)+"]",
	)
	for _, src := range docs {
		d := parse(t, src)
		if got, want := toAny(t, d, 0), stdAny(t, []byte(src)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nreads as %v\nwant     %v", src, got, want)
		}
	}
}

func TestRaw(t *testing.T) {
	d := parse(t, ` {"a" : [1.50, "x\n"] , "b":{ } ,"c":true}  `)
	for n, want := range map[Node]string{
		0: `{"a" : [1.50, "x\n"] , "b":{ } ,"c":true}`, 1: `"a"`, 2: `[1.50, "x\n"]`, 3: `1.50`, 4: `"x\n"`,
		6: `{ }`, 8: `true`, None: "", 99: "",
	} {
		if got := string(d.Raw(n)); got != want {
			t.Errorf("Raw(%d) = %s, want %s", n, got, want)
		}
	}
	if raw := d.Raw(3); cap(raw) != len(raw) {
		t.Error("an append to Raw would write into the document")
	}
}

func TestNoneIsHarmless(t *testing.T) {
	d := parse(t, `{"a":1,"b":[2]}`)
	for _, n := range []Node{None, -7, 99} {
		if d.Kind(n) != Invalid || d.Raw(n) != nil || d.Len(n) != 0 || d.Index(n, 0) != None || d.First(n) != None || d.Next(n) != None ||
			d.Value(n) != None || d.Key(n, nil) != nil || d.Str(n, nil) != "" || d.Field(n, "a", nil) != None || d.Field(n, "a", new(Hint)) != None || d.IsInt(n) {
			t.Errorf("node %d is there", n)
		}
		if _, ok := d.Float(n); ok {
			t.Errorf("node %d is a number", n)
		}
		if got := string(d.AppendJSON(nil, n)); got != "null" {
			t.Errorf("node %d renders as %s", n, got)
		}
	}
	scalar := d.Field(0, "a", nil)
	if d.Field(scalar, "a", nil) != None || d.First(scalar) != None || d.Index(scalar, 0) != None || d.Value(scalar) != None || d.Key(scalar, nil) != nil || d.Str(scalar, nil) != "" || d.Len(scalar) != 0 {
		t.Error("a number has members")
	}
	if d.Index(0, 0) != None || d.Field(d.Field(0, "b", nil), "a", nil) != None {
		t.Error("an object has elements, or an array fields")
	}
}

func TestHintAcrossShapes(t *testing.T) {
	docs := []string{
		`{"a":1,"x":2}`, `{"x":3,"a":4}`, `{"a":{"b":1,"x":5},"x":6}`, `{"a":{"x":7}}`, `{"a":[{"x":1}],"b":1}`, `{}`, `[]`, `"x"`,
		`{"y":0,"\u0078":8}`, `{"a":{"x":{"x":9}},"x":{"x":10}}`, `{"a":"x","x":11}`, `{"x":{"a":1,"x":2},"a":[]}`, `{"xx":1,"X":2,"x ":3}`,
	}
	var h Hint
	for range 3 {
		for i := range docs {
			for j := range docs {
				for _, src := range []string{docs[i], docs[j]} {
					d := parse(t, src)
					want := None
					for k := d.First(0); k != None && d.Kind(0) == Object; k = d.Next(k) {
						if string(d.Key(k, nil)) == "x" {
							want = d.Value(k)
						}
					}
					if got := d.Field(0, "x", &h); got != want {
						t.Fatalf("Field(x) of %s = %d, want %d", src, got, want)
					}
					// The same hint on an inner object.
					if in := d.Field(0, "a", nil); d.Kind(in) == Object {
						if got, want := d.Field(in, "x", &h), d.Field(in, "x", nil); got != want {
							t.Fatalf("Field(a.x) of %s = %d, want %d", src, got, want)
						}
					}
				}
			}
		}
	}
}

// TestHintFarAway holds that fields beyond what a hint can remember are found all the same.
func TestHintFarAway(t *testing.T) {
	d := parse(t, `{"list":[`+strings.TrimSuffix(strings.Repeat("0,", 70_000), ",")+`],"x":7}`)
	var h Hint
	for range 2 {
		if v, ok := d.Int(d.Field(0, "x", &h)); !ok || v != 7 {
			t.Errorf("x = %d, %t", v, ok)
		}
	}
	if h != (Hint{}) {
		t.Error("the hint remembers a place that it has no room for")
	}
}

func TestConcurrentReaders(t *testing.T) {
	lines, _ := orderLines(4)
	docs := make([]Doc, len(lines)+1)
	for i, l := range lines {
		docs[i].Reset(JSON, l)
	}
	docs[len(lines)].Reset(JSON, []byte(`{"country":"é\u00e9","price":1,"other":[1,2]}`))
	for i := range docs {
		if err := docs[i].Parse(Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	var h Hint
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var copied Doc
			for i := range 500 {
				d := &docs[i%len(docs)]
				if err := d.Parse(Limits{}); err != nil {
					t.Error(err)
				}
				if d.Str(d.Field(0, "country", &h), nil) == "" {
					t.Error("no country")
				}
				d.CloneInto(&copied, nil)
				if copied.Field(0, "country", &h) != d.Field(0, "country", nil) {
					t.Error("the copy differs")
				}
			}
		})
	}
	wg.Wait()
}

func TestCloneOutlivesItsSource(t *testing.T) {
	src := []byte(`{"a":"one","b":[1,2,{"c":"t\u0077o"}]}`)
	want := string(src)
	var d, c, unread Doc
	d.Reset(JSON, src)
	d.CloneInto(&unread, nil)
	if err := d.Parse(Limits{}); err != nil {
		t.Fatal(err)
	}
	var arena []byte
	d.CloneInto(&c, func(n int) []byte { arena = make([]byte, n+10); return arena })
	clear(src)
	d.Reset(JSON, []byte(`[]`))
	if got := string(c.AppendJSON(nil, 0)); got != want || string(c.Bytes()) != want {
		t.Errorf("the copy reads %s", got)
	}
	if &arena[0] != &c.src[0] || !c.Parsed() {
		t.Error("the copy does not lie in the memory it was given, or is not parsed")
	}
	if got := c.Str(c.Field(c.Index(c.Field(0, "b", nil), 2), "c", nil), nil); got != "two" {
		t.Errorf("b[2].c = %q", got)
	}
	if unread.Parsed() || unread.Parse(Limits{}) != nil || string(unread.Bytes()) != want {
		t.Error("the copy of an unread document is not the same unread document")
	}
	// A refused document stays refused.
	d.Reset(JSON, []byte(`[1,`))
	err := d.Parse(Limits{})
	d.CloneInto(&c, nil)
	if c.Parse(Limits{}) != err || err == nil {
		t.Error("the copy forgot the error")
	}
}

func TestNamesOfKindsAndFormats(t *testing.T) {
	if got := fmt.Sprint(Invalid, Null, False, True, Number, String, Array, Object, Bytes, Kind(99)); got != "invalid null false true number string array object bytes invalid" {
		t.Error(got)
	}
	if got := fmt.Sprint(JSON, Record, Text, Binary, Format(99)); got != "json record text binary invalid" {
		t.Error(got)
	}
}

// TestSaturatedCount holds the ways that serve containers with more members than a node can count (16 million), on
// small ones that say so.
func TestSaturatedCount(t *testing.T) {
	arr := parse(t, `[1,2,[3],4]`)
	arr.nodes[0].meta |= countMax << countShift
	if arr.Len(0) != 4 || string(arr.Raw(arr.Index(0, 3))) != "4" || arr.Index(0, 4) != None {
		t.Error("an array is read wrongly")
	}
	obj := parse(t, `{"a":1,"b":2,"c":3}`)
	obj.nodes[0].meta |= countMax << countShift
	if obj.Len(0) != 3 || string(obj.Raw(obj.Field(0, "c", nil))) != "3" || obj.Field(0, "d", nil) != None {
		t.Error("an object is read wrongly")
	}
}
