package json

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// frames cuts stream, of which the framer sees chunk more bytes each time it asks; chunk 0 shows all at once. Bad
// records stand in the result with the code of their error.
func frames(t testing.TB, f *framer, stream string, chunk int) (records []string, end error) {
	t.Helper()
	data, shown := []byte(stream), 0
	if chunk <= 0 {
		shown = len(data)
	}
	for steps := 0; ; steps++ {
		if steps > 10*len(stream)+100 {
			t.Fatalf("the framer does not move on in %q", stream)
		}
		eof := shown >= len(data)
		n, record, err := f.Frame(data[:min(shown, len(data))], eof)
		switch {
		case err != nil && n == 0:
			return records, err
		case err != nil:
			records = append(records, "!"+string(penstock.CodeOf(err)))
		case record != nil:
			if len(record) == 0 {
				t.Fatalf("an empty record in %q", stream)
			}
			records = append(records, string(record))
		case n == 0 && eof:
			return records, nil
		case n == 0:
			shown += chunk
		}
		data = data[n:]
		shown -= n
	}
}

func newFramer(array bool, limit int) *framer {
	c, _ := New(Config{Array: array}, penstock.CodecOptions{MaxRecord: limit})
	return c.NewFramer("test").(*framer)
}

var layouts = []struct {
	name, in string
	want     []string
}{
	{"nothing", "", nil},
	{"white space", " \n\t\r\n", nil},
	{"lines", "{\"a\":1}\n{\"a\":2}\n", []string{`{"a":1}`, `{"a":2}`}},
	{"no last line end", "{\"a\":1}\n{\"a\":2}", []string{`{"a":1}`, `{"a":2}`}},
	{"windows", "{\"a\":1}\r\n{\"a\":2}\r\n", []string{`{"a":1}`, `{"a":2}`}},
	{"blank lines", "\n\n{\"a\":1}\n\n \n{\"a\":2}\n\n", []string{`{"a":1}`, `{"a":2}`}},
	{"byte order mark", "\ufeff{\"a\":1}\n", []string{`{"a":1}`}},
	{"nested", "{\"a\":{\"b\":{}},\"c\":[{},{}]}\n[]\n", []string{`{"a":{"b":{}},"c":[{},{}]}`, `[]`}},
	{"one after the other", `{"a":1}{"a":2} {"a":3}[1][2]"x""y"1 2 true null`,
		[]string{`{"a":1}`, `{"a":2}`, `{"a":3}`, `[1]`, `[2]`, `"x"`, `"y"`, "1", "2", "true", "null"}},
	{"concatenated within lines", "{\"a\":{\"b\":1}} {\"a\":2}\n{\"a\":3}{\"a\":4}\n", []string{`{"a":{"b":1}}`, `{"a":2}`, `{"a":3}`, `{"a":4}`}},
	{"empty objects in arrays, several on a line", "[{}] {\"\":{\"\":[0,\"\"]}}\n{\"a\":{}}[[],{}]{} []\t[{},{\"b\":{}}]{\"c\":[{}]}\n",
		[]string{"[{}]", `{"":{"":[0,""]}}`, `{"a":{}}`, "[[],{}]", "{}", "[]", `[{},{"b":{}}]`, `{"c":[{}]}`}},
	{"an array that goes on after an empty object", "[{}\n,\n{}\n]\n{}\n", []string{"[{}\n,\n{}\n]", "{}"}},
	{"braces in strings", "{\"a\":\"}{\"}\n{\"}\":\"{\"}\n{\"a\":\"\\\"}{\"}\n", []string{`{"a":"}{"}`, `{"}":"{"}`, `{"a":"\"}{"}`}},
	{"over lines", "{\n  \"a\": 1,\n  \"b\": [\n    1, {\"c\": 2}\n  ]\n}\n{\n\"a\":2\n}\n", []string{"{\n  \"a\": 1,\n  \"b\": [\n    1, {\"c\": 2}\n  ]\n}", "{\n\"a\":2\n}"}},
	{"line that ends with a brace goes on", "{\"a\":{\"b\":1}\n,\"c\":2}\n{\"d\":3}\n", []string{"{\"a\":{\"b\":1}\n,\"c\":2}", `{"d":3}`}},
	{"brace at the beginning of the next line", "{\"a\":{\"b\":1}\n}\n{\"d\":3}\n", []string{"{\"a\":{\"b\":1}\n}", `{"d":3}`}},
	{"scalars", "1\n\"a b\"\ntrue\nnull\n-1.5e3\n", []string{"1", `"a b"`, "true", "null", "-1.5e3"}},
	{"text sequence (RFC 7464)", "\x1e{\"a\":1}\n\x1e[2]\n", []string{`{"a":1}`, "[2]"}},
	{"rubbish lines", "{\"a\":1}\nrubbish here\n{\"a\":2}\n}\n{\"a\":3},\n{\"a\":4}\n", []string{`{"a":1}`, "rubbish here", `{"a":2}`, "}", `{"a":3},`, `{"a":4}`}},
	{"torn line", "{\"a\":1,\"b\":\"xy\n{\"a\":2}\n{\"a\":[1,2\n{\"a\":3}\n{\"a\":\n{\"a\":4}\n", []string{`{"a":1,"b":"xy`, `{"a":2}`, "{\"a\":[1,2", `{"a":3}`, "{\"a\":\n{\"a\":4}"}},
	{"torn at the end", "{\"a\":1}\n{\"a\":", []string{`{"a":1}`, `{"a":`}},
	{"missing colon", "{\"a\" 1}\n{\"a\":2}\n", []string{`{"a" 1}`, `{"a":2}`}},
	{"wrong bracket", "{\"a\":[1}\n{\"a\":2}\n[1}\n[2]\n", []string{`{"a":[1}`, `{"a":2}`, "[1}", "[2]"}},
	{"zeros", "\x00\x00{\"a\":1}\n{\"a\":2}\n", []string{"\x00\x00{\"a\":1}", `{"a":2}`}},
	{"unescaped line end in a string", "{\"a\":\"x\ny\"}\n{\"a\":2}\n", []string{"{\"a\":\"x", `y"}`, `{"a":2}`}},
}

func TestFramesEveryLayout(t *testing.T) {
	for _, c := range layouts {
		t.Run(c.name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				for _, chunk := range []int{0, 1, 2, 3, 7, 16} {
					f := newFramer(false, 0)
					f.slow = slow
					got, err := frames(t, f, c.in, chunk)
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got, c.want) {
						t.Errorf("slow %v, chunk %d:\n got %q\nwant %q", slow, chunk, got, c.want)
					}
				}
			}
		})
	}
}

func TestFramesArrays(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
		err      string
	}{
		{"elements", `[{"a":1}, {"a":[2,{"b":"],"}]} , 3,"x",null]`, []string{`{"a":1}`, `{"a":[2,{"b":"],"}]}`, "3", `"x"`, "null"}, ""},
		{"lines", "\ufeff [\n{\"a\":1},\n{\"a\":2}\n]\n", []string{`{"a":1}`, `{"a":2}`}, ""},
		{"empty", " [ ] ", nil, ""},
		{"nothing", " ", nil, ""},
		{"several arrays", "[1][]\n[2]", []string{"1", "2"}, ""},
		{"no array", `{"a":1}`, nil, "does not begin with ["},
		{"cut off", `[{"a":1},{"a":2}`, []string{`{"a":1}`, `{"a":2}`}, "within the array"},
		{"cut off within an element", `[{"a":1},{"a":`, []string{`{"a":1}`, `{"a":`}, "within the array"},
		{"bad element", `[{"a" 1,"b":[1]}, {"a":2}]`, []string{`{"a" 1,"b":[1]}`, `{"a":2}`}, ""},
		{"missing comma after what is well-formed", "[{\"a\":{}} {\"a\":2}, 4\n,{\"a\":3}]", []string{`{"a":{}}`, "!invalid", `{"a":3}`}, ""},
		{"missing comma", "[{\"a\":1} {\"a\":2}\n,{\"a\":3}]", []string{`{"a":1}`, "!invalid", `{"a":3}`}, ""},
		{"two commas", "[1,,\n2]", []string{"1", "!invalid", "2"}, ""},
		{"trailing comma", "[1,]", []string{"1", "!invalid"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunk := range []int{0, 1, 3, 5} {
				got, err := frames(t, newFramer(true, 0), c.in, chunk)
				if !slices.Equal(got, c.want) {
					t.Errorf("chunk %d: got %q, want %q", chunk, got, c.want)
				}
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("chunk %d: error %v, want %q", chunk, err, c.err)
				}
			}
		})
	}
}

func TestFrameLimits(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 200) + `"}`
	tall := "{\n\"a\":[\n" + strings.Repeat("1,\n", 100) + "2]}"
	want := []string{`{"b":1}`, "!tooLarge", `{"b":2}`, "!tooLarge", `{"b":3}`}
	in := "{\"b\":1}\n" + long + "\n{\"b\":2}\n" + tall + "\n{\"b\":3}\n"
	for _, chunk := range []int{0, 1, 10, 64} {
		got, err := frames(t, newFramer(false, 100), in, chunk)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("chunk %d: %q, %v", chunk, got, err)
		}
		got, err = frames(t, newFramer(true, 100), `[{"b":1},`+long+`,{"b":2},`+tall+`,{"b":3}]`, chunk)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("array, chunk %d: %q, %v", chunk, got, err)
		}
	}
}

func TestUTF16IsRefused(t *testing.T) {
	_, err := frames(t, newFramer(false, 0), "\xff\xfe{\x00}\x00", 0)
	if err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("error %v", err)
	}
}

func TestSplit(t *testing.T) {
	c, _ := New(Config{}, penstock.CodecOptions{})
	s := c.(penstock.Splitter)
	for _, tt := range []struct {
		in   string
		want int
	}{
		{"", -1},
		{"abc\"}\n", -1},
		{"abc\"}\n{\"a\":1}", 6},
		{"abc\"}\r\n\n{\"a\":1}", 7},
		{"\"x\":1,\n\"y\":{\n}\n,\"z\":{}}\n{\"a\"", 24},
		{"1}\n]\n[1]", 5},
		{"},\n{},\n{}]\n", -1},
	} {
		if got := s.Split([]byte(tt.in)); got != tt.want {
			t.Errorf("Split(%q) = %d, want %d", tt.in, got, tt.want)
		}
	}
	c, _ = New(Config{Array: true}, penstock.CodecOptions{})
	if got := c.(penstock.Splitter).Split([]byte("}\n{")); got != -1 {
		t.Errorf("an array can't be split, got %d", got)
	}
}

func doc(f jsonview.Format, src string) *jsonview.Doc {
	d := new(jsonview.Doc)
	d.Reset(f, []byte(src))
	return d
}

func TestEncode(t *testing.T) {
	shape, err := jsonview.NewShape([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	record := new(jsonview.Doc)
	record.ResetRecord([]byte("1xy"), shape)
	record.AddCell(0, jsonview.Number, 0, 1)
	record.AddCell(1, jsonview.String, 1, 3)
	record.EndRecord()
	docs := []*jsonview.Doc{
		doc(jsonview.JSON, `{"a": 1}`), doc(jsonview.JSON, "{\n \"a\" : \"x \\\" y\",\r\n \"b\": [ ]}"), new(jsonview.Doc),
		doc(jsonview.Text, "one\ntwo"), doc(jsonview.Binary, "\x00"), record,
	}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{}, "{\"a\": 1}\n{\"a\":\"x \\\" y\",\"b\":[]}\nnull\n\"one\\ntwo\"\n\"AA==\"\n{\"a\":1,\"b\":\"xy\"}\n"},
		{Config{Array: true}, "[\n{\"a\": 1},\n{\"a\":\"x \\\" y\",\"b\":[]},\nnull,\n\"one\\ntwo\",\n\"AA==\",\n{\"a\":1,\"b\":\"xy\"}\n]\n"},
		{Config{Pretty: true}, "{\n  \"a\": 1\n}\n{\n  \"a\": \"x \\\" y\",\n  \"b\": []\n}\nnull\n\"one\\ntwo\"\n\"AA==\"\n{\n  \"a\": 1,\n  \"b\": \"xy\"\n}\n"},
	} {
		codec, err := New(c.config, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		e := codec.NewEncoder()
		out := e.Begin(nil)
		for _, d := range docs {
			if out, err = e.Append(out, d); err != nil {
				t.Fatal(err)
			}
		}
		bad := doc(jsonview.JSON, "{\n1}")
		before := string(out)
		if out, err = e.Append(out, bad); err == nil || string(out) != before {
			t.Errorf("%+v: a broken document: %v, %q", c.config, err, out[len(before):])
		}
		if out = e.End(out); string(out) != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c.config, out, c.want)
		}
	}
	codec, _ := New(Config{Array: true}, penstock.CodecOptions{})
	e := codec.NewEncoder()
	if out := e.End(e.Begin(nil)); string(out) != "[\n]\n" {
		t.Errorf("no documents: %q", out)
	}
}

func TestDecodeAndEncodeOneDocument(t *testing.T) {
	c, _ := New(Config{}, penstock.CodecOptions{MaxDepth: 3})
	out, err := c.Decode([]byte("x"), []byte("\ufeff {\"a\":[1]} "))
	if err != nil || string(out) != `x{"a":[1]}` {
		t.Errorf("%q, %v", out, err)
	}
	for src, code := range map[string]penstock.Code{"{": penstock.Invalid, "{} {}": penstock.Invalid, "": penstock.Invalid, "[[[[1]]]]": penstock.TooLarge} {
		out, err := c.Decode([]byte("x"), []byte(src))
		if penstock.CodeOf(err) != code || string(out) != "x" {
			t.Errorf("%q: %v, %q", src, err, out)
		}
	}
	if out, err = c.Encode([]byte("x"), doc(jsonview.Text, "a")); err != nil || string(out) != `x"a"` {
		t.Errorf("%q, %v", out, err)
	}
}

func TestEncodeAllocations(t *testing.T) {
	c, _ := New(Config{}, penstock.CodecOptions{})
	e := c.NewEncoder()
	d := doc(jsonview.JSON, `{"id":1,"name":"a name"}`)
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := e.Append(buf, d); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a document", n)
	}
}

func FuzzFrame(f *testing.F) {
	for _, c := range layouts {
		f.Add(c.in, uint8(3), false)
		f.Add("["+strings.ReplaceAll(c.in, "\n", ",\n")+"]", uint8(5), true)
	}
	f.Fuzz(func(t *testing.T, in string, chunk uint8, array bool) {
		if len(in) > 4096 {
			return
		}
		want, wantErr := frames(t, newFramer(array, 0), in, 0)
		got, err := frames(t, newFramer(array, 0), in, int(chunk)+1)
		if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Fatalf("chunks of %d: %q, %v\nall at once: %q, %v", int(chunk)+1, got, err, want, wantErr)
		}
		if array {
			return
		}
		slow := newFramer(false, 0)
		slow.slow = true
		if got, err = frames(t, slow, in, 0); !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Fatalf("by the grammar: %q, %v\nby lines: %q, %v", got, err, want, wantErr)
		}
		// Nothing but white space is lost, and what is valid is found.
		if wantErr == nil && strings.Join(strings.FieldsFunc(strings.TrimPrefix(in, "\ufeff"), isSpace), "") != strings.Join(strings.FieldsFunc(strings.Join(want, ""), isSpace), "") {
			t.Fatalf("%q became %q", in, want)
		}
	})
}

func isSpace(r rune) bool { return strings.ContainsRune(" \t\r\n\x1e", r) }

// FuzzValid joins valid documents in every way and finds them again.
func FuzzValid(f *testing.F) {
	f.Add(`{"a":{"b":[1,"}"]}}`, `[{"x":"]"}]`, "\n")
	f.Add(`"a"`, `{"a":"\\"}`, "")
	f.Add("{\n\"a\":1}", "{}", " ")
	f.Add(`{"":{"":[0,""]}}`, `[{}]`, " ")
	f.Fuzz(func(t *testing.T, a, b, sep string) {
		for _, s := range []*string{&a, &b} {
			if *s = strings.Trim(*s, " \t\r\n"); len(*s) > 1000 || !jsonview.Valid([]byte(*s)) {
				return
			}
		}
		if strings.Trim(sep, " \t\r\n") != "" || sep == "" && !strings.ContainsAny(a[len(a)-1:]+b[:1], `{}[]"`) {
			return
		}
		for _, first := range []string{a, b} {
			second := a + b
			second = second[len(first):]
			if first == b {
				second = a
			}
			if sep == "" && !strings.ContainsAny(first[len(first)-1:]+second[:1], `{}[]"`) {
				continue
			}
			for _, chunk := range []int{0, 1, 3} {
				for _, slow := range []bool{false, true} {
					f := newFramer(false, 0)
					f.slow = slow
					got, err := frames(t, f, first+sep+second+sep, chunk)
					if err != nil || !slices.Equal(got, []string{first, second}) {
						t.Fatalf("%q, slow %v, chunk %d: %q, %v", first+sep+second+sep, slow, chunk, got, err)
					}
				}
				f := newFramer(true, 0)
				got, err := frames(t, f, "["+first+sep+","+sep+second+"]", chunk)
				if err != nil || !slices.Equal(got, []string{first, second}) || f.state != wantOpen {
					t.Fatalf("as an array, chunk %d: %q, %v", chunk, got, err)
				}
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	flat := []byte(`{"id":1234567,"name":"a name of some length","country":"DE","amount":123.45,"note":"` + strings.Repeat("lorem ipsum ", 15) + `"}` + "\n")
	nested := []byte(`{"id":1234567,"customer":{"name":"a name","address":{"country":"DE"}},"lines":[{"sku":"a","n":1},{"sku":"b","n":2}],"note":"` + strings.Repeat("lorem ipsum ", 13) + `"}` + "\n")
	for name, line := range map[string][]byte{"flat": flat, "nested": nested} {
		data := bytes.Repeat(line, 200)
		b.Run(fmt.Sprintf("%s-%d", name, len(line)), func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			f := newFramer(false, 0)
			rest := data
			for b.Loop() {
				n, _, err := f.Frame(rest, true)
				if err != nil || n == 0 {
					b.Fatal(n, err)
				}
				if rest = rest[n:]; len(rest) == 0 {
					rest = data
				}
			}
		})
	}
}

func TestRecordsOfAReader(t *testing.T) {
	in := strings.Repeat("{\"a\":1}\n", 1000) + "{\"a\":\n" + strings.Repeat("{\"a\":2}\n", 1000)
	src := strings.NewReader(in)
	c, _ := New(Config{}, penstock.CodecOptions{})
	r := penstock.Records{Framer: c.NewFramer("x"), Read: src.Read, Stream: "x", Fill: true, MetaLine: "line"}
	var lines, bad int
	var next int64
	for {
		var b penstock.Batch
		err := r.Next(&b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Msgs {
			lines++
			if m.Pos.Offset != next || m.Pos.Line != m.Meta.Get("line").Int() {
				t.Fatalf("message %d: position %+v, want offset %d", lines, m.Pos, next)
			}
			if next = m.Pos.Next; m.Body.Parse(jsonview.Limits{}) != nil {
				bad++
			}
		}
	}
	if lines != 2000 || bad != 1 || next != int64(len(in)) {
		t.Errorf("%d records, %d bad, up to byte %d of %d", lines, bad, next, len(in))
	}
}

func TestMaxDepth(t *testing.T) {
	for depth, ok := range map[int]bool{2: false, 3: true, 0: true} {
		c, err := New(Config{MaxDepth: depth}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var d jsonview.Doc
		c.NewFramer("test").Bind(&d, []byte(`[[[1]]]`))
		if err := d.Parse(jsonview.Limits{}); (err == nil) != ok {
			t.Errorf("maxDepth %d: %v", depth, err)
		}
	}
}

// TestNestingWithoutEnd: what nests deeper than any limit is one bad document in little memory, and what
// comes after it is found.
func TestNestingWithoutEnd(t *testing.T) {
	const n = 4 * mostNested
	deep := strings.Repeat("[", n)
	got, err := frames(t, newFramer(false, 0), deep+"\n{\"a\":1}\n", 0)
	if err != nil || !slices.Equal(got, []string{deep, `{"a":1}`}) {
		t.Errorf("%d records, %v", len(got), err)
	}
	element := deep + strings.Repeat("]", n)
	f := newFramer(true, 0)
	got, err = frames(t, f, "["+element+",{\"a\":1}]", 1<<16)
	if err != nil || !slices.Equal(got, []string{element, `{"a":1}`}) {
		t.Errorf("in an array: %d records, %v", len(got), err)
	}
	if len(f.scan.kinds) > mostNested/64 {
		t.Errorf("%d words for the brackets", len(f.scan.kinds))
	}
}
