package jsonview

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func parse(t testing.TB, src string) *Doc {
	t.Helper()
	var d Doc
	d.Reset(JSON, []byte(src))
	if err := d.Parse(Limits{}); err != nil {
		t.Fatalf("Parse(%.80q): %v", src, err)
	}
	return &d
}

// TestAccept holds documents that RFC 8259 obliges a reader to accept.
func TestAccept(t *testing.T) {
	for _, src := range []string{
		`null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `""`, `"a"`, `[]`, `{}`, ` {} `, " \t\r\n[ \t\r\n] \t\r\n",
		`[1]`, `[1,2]`, `[ 1 , 2 ]`, `[[]]`, `[[],[]]`, `[{}]`, `{"a":1}`, `{"a":{}}`, `{"a":[]}`, `{ "a" : 1 , "b" : 2 }`,
		`{"":0}`, `{"":{"":{"":0}}}`, `[""]`, `[null,1,"1",{}]`, `[1,null,null,null,2]`, "[1\n]", " [1]", `[2] `,
		// Numbers.
		`123e65`, `0e+1`, `0e1`, ` 4`, `-0.000000000000000000000000000000000000000000000000000000000000000000000000000001`,
		`20e1`, `-123`, `-1`, `-0`, `1E22`, `1E-2`, `1E+2`, `123e45`, `123.456e78`, `1e-2`, `1e+2`, `123.456789`, `0.5`, `1e400`, `1E-400`,
		`100000000000000000000000000000`, `12345678`, `1234567`, `123456789`, `1.2345678`, `1.23456789`, `0.1e1`, `1e00`,
		// Strings.
		`"\u0060\u012a\u12AB"`, `"\uD801\udc37"`, `"\ud83d\ude39\ud83d\udc8d"`, `"\"\\\/\b\f\n\r\t"`, `"\\u0000"`, `"\""`,
		`"a/*b*/c/*d//e"`, `"\\a"`, `"\\n"`, `"\u0012"`, `"\uFFFF"`, `"` + "\uffff" + `"`, `"\uDBFF\uDFFF"`, `"` + "\U0010ffff" + `"`,
		`"` + "\U0001b000" + `"`, `"\u0000"`, `"\u002c"`, `"` + "é\u2028\u2029\x7f" + `"`, `"new\u00A0line"`, `"\uFEFF"`,
		`"asd "`, `"` + strings.Repeat("x", 7) + `"`, `"` + strings.Repeat("x", 8) + `"`, `"` + strings.Repeat("x", 9) + `"`, `"` + strings.Repeat("é", 40) + `"`,
		`{"a\u0000b":1}`, `{"title":"\u041f\u043e\u043b\u0442\u043e\u0440\u0430" }`, "{\n\"a\": \"b\"\n}",
		// Keys that resemble one another but differ.
		`{"a":1,"A":2,"aa":3,"\u0061\u0062":4,"":5}`, `{"a":{"a":{"a":1}}}`, `[{"a":1},{"a":1}]`, `{"x":{"a":1},"a":2,"y":[{"a":3}]}`,
		`{"12345678":1,"123456789":2,"1234567":3,"12345678\u0000":4}`,
	} {
		if !json.Valid([]byte(src)) {
			t.Errorf("the test is wrong: encoding/json refuses %q", src)
		}
		if !Valid([]byte(src)) {
			var d Doc
			d.Reset(JSON, []byte(src))
			t.Errorf("Valid(%q) = false: %v", src, d.Parse(Limits{}))
		}
	}
}

// TestRefuse holds documents that are no JSON, with the byte at which the trouble lies and words of the message.
func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		src string
		at  int
		msg string
	}{
		{``, 0, "ends where a value"}, {` `, 1, "ends where a value"}, {"\n\n", 2, "ends where a value"},
		{`[`, 1, "ends"}, {`{`, 1, "ends"}, {`[1`, 2, "within the array that began at byte 0"}, {`{"a":1`, 6, "within the object that began at byte 0"},
		{` [1,`, 4, "a value"}, {`[1,[2`, 5, "within the array that began at byte 3"}, {`[1 `, 3, "within the array"},
		{`{"a"`, 4, "':' after a key"}, {`{"a":`, 5, "a value"}, {`{"a":1,`, 7, "a key"}, {`{"a" `, 5, "':'"},
		{`]`, 0, "a value is needed"}, {`}`, 0, "a value is needed"}, {`,`, 0, "a value"}, {`:`, 0, "a value"},
		{`[1,]`, 3, "no comma"}, {`[,1]`, 1, "a value"}, {`[1,,2]`, 3, "a value"}, {`[1 2]`, 3, "',' or ']'"}, {`[1:2]`, 2, "',' or ']'"},
		{`[1}`, 2, "',' or ']'"}, {`{"a":1]`, 6, "',' or '}'"}, {`["a":1]`, 4, "',' or ']'"}, {`[]]`, 2, "after the end"}, {`{}}`, 2, "after the end"},
		{`{,}`, 1, "a key"}, {`{"a":1,}`, 7, "after a comma"}, {`{"a":1,,"b":2}`, 7, "a key"}, {`{a:1}`, 1, "a key in double quotes"}, {`{1:1}`, 1, "a key"},
		{`{'a':1}`, 1, "a key"}, {`{"a" 1}`, 5, "':'"}, {`{"a"::1}`, 5, "a value"}, {`{"a":1 "b":2}`, 7, "',' or '}'"}, {`{"a"}`, 4, "':'"}, {`{null:1}`, 1, "a key"},
		{`{"a":"b"}#`, 9, "after the end"}, {`{"a":"b"}/**/`, 9, "after the end"}, {`1 2`, 2, "after the end"}, {`"a""b"`, 3, "after the end"}, {`nullx`, 4, "after the end"},
		{`nul`, 0, `"nul"`}, {`tru`, 0, `"tru"`}, {`fals`, 0, `"fals"`}, {`True`, 0, `"True"`}, {`NaN`, 0, `"NaN"`}, {`Infinity`, 0, `"Infinity"`}, {`undefined`, 0, `"undefined"`}, {`[nulL]`, 1, `"nulL"`},
		{`'a'`, 0, "single quote"}, {`/* c */1`, 0, "a value"}, {`*`, 0, "a value"}, {"\ufeff{}", 0, "byte order mark"}, {"\xff", 0, "byte 0xff"}, {"[\u00a01]", 1, `'\u00a0'`}, {"[\v1]", 1, `'\v'`}, {"[1\f]", 2, `'\f'`}, {"\x00", 0, `'\x00'`}, {"[1\x00]", 2, `'\x00'`},
		// Numbers.
		{`-`, 1, "a digit after '-'"}, {`[-]`, 2, "a digit after '-'"}, {`--1`, 1, "a digit"}, {`+1`, 0, "a value"}, {`.5`, 0, "a value"}, {`-.5`, 1, "a digit after '-'"}, {`01`, 0, "needless 0"}, {`-012`, 1, "needless 0"}, {`00`, 0, "needless 0"},
		{`1.`, 2, "after the decimal point"}, {`1.e1`, 2, "after the decimal point"}, {`[1.]`, 3, "after the decimal point"}, {`1e`, 2, "exponent"}, {`1e+`, 3, "exponent"}, {`1E-x`, 3, "exponent"}, {`1.5e`, 4, "exponent"}, {`1.5e+`, 5, "exponent"}, {`0x1`, 1, "after the end"}, {`1_000`, 1, "after the end"}, {`1.2.3`, 3, "after the end"}, {`1e5.2`, 3, "after the end"}, {`1a`, 1, "after the end"}, {`[1a]`, 2, "',' or ']'"}, {`-Infinity`, 1, "a digit"},
		{"\uff11", 0, "a value"},
		// Strings.
		{`"`, 1, "within the string that began at byte 0"}, {`["a`, 3, "string that began at byte 1"}, {`"\`, 2, "within an escape"}, {`"\"`, 3, "within the string"}, {`{"a`, 3, "within the string"},
		{`"\a"`, 1, "no escape"}, {`"\x00"`, 1, "no escape"}, {`"\'"`, 1, "no escape"}, {`"\U0041"`, 1, "no escape"}, {`"\é"`, 1, "'é'"}, {`"\u"`, 1, "four hexadecimal"}, {`"\u00"`, 1, "four hexadecimal"}, {`"\u00G0"`, 1, "four hexadecimal"}, {`"\u 041"`, 1, "four hexadecimal"}, {`"\u004`, 1, "four hexadecimal"},
		{"\"a\nb\"", 2, "control character 0x0a"}, {"\"a\tb\"", 2, "control character 0x09"}, {"\"\x00\"", 1, "control character 0x00"}, {"\"\x1f\"", 1, "control character 0x1f"}, {"{\"a\n\":1}", 3, "control character"}, {"\"123456789\x01\"", 10, "control character 0x01"},
		// Refused beyond RFC 8259.
		{`"\ud800"`, 1, "surrogate"}, {`"\udc00"`, 1, "surrogate"}, {`"\ud800\ud800"`, 1, "surrogate"}, {`"\ud800\n"`, 1, "surrogate"}, {`"\ud800x"`, 1, "surrogate"}, {`"\ud800\u0041"`, 1, "surrogate"}, {`"\ud800\u00"`, 1, "surrogate"}, {`"\udfff\ud800"`, 1, "surrogate"}, {`{"\ud800":1}`, 2, "surrogate"}, {`"ab\udead"`, 3, `\udead`},
		{"\"\xff\"", 1, "0xff is not valid UTF-8"}, {"\"a\xc0\xafb\"", 2, "UTF-8"}, {"\"\xed\xa0\x80\"", 1, "UTF-8"}, {"\"\xf4\x90\x80\x80\"", 1, "UTF-8"}, {"\"é\x80\"", 3, "UTF-8"}, {"\"\xe0\xff\"", 1, "UTF-8"}, {"\"12345678\xe9\"", 9, "UTF-8"}, {"{\"\xe9\":1}", 2, "UTF-8"}, {"\"\xc3\"", 1, "UTF-8"}, {"[\"" + "ééé" + "\\n\xff\"]", 10, "UTF-8"},
		{`{"a":1,"a":2}`, 7, `duplicate key "a", first seen at byte 1`}, {`{"a":1,"b":{"c":1,"d":2,"c":3}}`, 24, `duplicate key "c"`}, {`{"":1,"":2}`, 6, `duplicate key ""`}, {`{"a":1,"\u0061":2}`, 7, `duplicate key "a"`}, {`{"\u0061":1,"a":2}`, 12, `duplicate key "a"`}, {`{"\u0061":1,"\u0061":2}`, 12, `duplicate key "a"`},
		{`{"a":{"b":1},"c":[1,{}],"a":2}`, 24, `duplicate key "a"`}, {`{"12345678":1,"12345678":2}`, 14, "duplicate"}, {`{"a long key of many words":1,"b":2,"a long key of many words":2}`, 36, "duplicate"}, {`[1,{"k":[],"k":[]}]`, 11, "duplicate"}, {`{"a":1,"b":2,"c":3,"d":4,"e":5,"é":6,"é":7}`, 38, "duplicate"}, {`{"\/":1,"/":2}`, 8, "duplicate"}, {`{"a\nb":1,"a\u000Ab":2}`, 10, "duplicate"},
	} {
		var d Doc
		d.Reset(JSON, []byte(c.src))
		err := d.Parse(Limits{})
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("Parse(%q) = %v, want a *SyntaxError", c.src, err)
			continue
		}
		if se.Offset != c.at || !strings.Contains(se.Msg, c.msg) {
			t.Errorf("Parse(%q): %v; want byte %d and %q", c.src, err, c.at, c.msg)
		}
		if again := d.Parse(Limits{}); again != err {
			t.Errorf("Parse(%q) again gives %v", c.src, again)
		}
		if !d.Parsed() || d.Kind(0) != Invalid || d.Field(0, "a", nil) != None || d.First(0) != None {
			t.Errorf("Parse(%q): a refused document has nodes", c.src)
		}
		if errors.Is(err, ErrLimit) {
			t.Errorf("Parse(%q): a syntax error is called a limit", c.src)
		}
		if Valid([]byte(c.src)) {
			t.Errorf("Valid(%q) = true", c.src)
		}
	}
}

func TestErrorNamesByteAndLine(t *testing.T) {
	var d Doc
	d.Reset(JSON, []byte("{\n  \"a\": 1,\n  \"b\": x\n}"))
	err := d.Parse(Limits{})
	if got, want := fmt.Sprint(err), "invalid JSON at byte 19 (line 3): found 'x' where a value is needed"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestErrorClipsLongNames(t *testing.T) {
	long := strings.Repeat("é", 1000)
	var d Doc
	d.Reset(JSON, []byte(`{"`+long+`":1,"`+long+`":2}`))
	err := d.Parse(Limits{})
	if want := `duplicate key "` + strings.Repeat("é", 32) + `…", first seen at byte 1`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestReplaceBetweenDocuments(t *testing.T) {
	var d Doc
	if d.Kind(0) != Invalid || d.Parsed() || d.Format() != JSON {
		t.Error("the zero Doc is no unread JSON document")
	}
	d.Reset(JSON, []byte(`[1,`))
	if d.Parse(Limits{}) == nil {
		t.Fatal("accepted")
	}
	d.Reset(JSON, []byte(`[1,2]`))
	if d.Parsed() || d.Kind(0) != Invalid {
		t.Error("Reset left something of the document before")
	}
	if err := d.Parse(Limits{}); err != nil || d.Len(0) != 2 {
		t.Errorf("Parse = %v, Len = %d", err, d.Len(0))
	}
	if got := string(d.Bytes()); got != `[1,2]` {
		t.Errorf("Bytes = %s", got)
	}
}

func TestDepth(t *testing.T) {
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for _, c := range []struct {
		depth, limit int
		ok           bool
	}{{512, 0, true}, {513, 0, false}, {1, 1, true}, {2, 1, false}, {3, 3, true}, {4, 3, false}, {5000, 5000, true}, {0, 1, true}} {
		var d Doc
		src := nest(c.depth)
		if c.depth == 0 {
			src = []byte("1")
		}
		d.Reset(JSON, src)
		err := d.Parse(Limits{MaxDepth: c.limit})
		if (err == nil) != c.ok {
			t.Errorf("depth %d under the limit %d: %v", c.depth, c.limit, err)
		}
		if err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("%v is not ErrLimit", err)
		}
	}
	// Siblings do not add up.
	var d Doc
	d.Reset(JSON, []byte(`[[1],[[2]],{"a":[3]},[{"b":{}}]]`))
	if err := d.Parse(Limits{MaxDepth: 4}); err != nil {
		t.Error(err)
	}
	// A bomb that never closes costs no more than the limit.
	for _, unit := range []string{"[", `{"a":`, `[{"a":`, " [ "} {
		d.Reset(JSON, []byte(strings.Repeat(unit, 1<<18)))
		if err := d.Parse(Limits{}); !errors.Is(err, ErrLimit) {
			t.Errorf("bomb of %q: %v", unit, err)
		}
		if cap(d.nodes) > 4096 {
			t.Errorf("bomb of %q grew the tape to %d nodes", unit, cap(d.nodes))
		}
	}
}

func TestSize(t *testing.T) {
	var d Doc
	d.Reset(JSON, []byte(`[1,2,3]`))
	err := d.Parse(Limits{MaxBytes: 6})
	if !errors.Is(err, ErrLimit) || !strings.Contains(fmt.Sprint(err), "7 bytes, more than the 6 allowed") {
		t.Errorf("Parse = %v", err)
	}
	d.Reset(JSON, []byte(`[1,2,3]`))
	if err := d.Parse(Limits{MaxBytes: 7}); err != nil {
		t.Error(err)
	}
	// Larger than the tape that a Doc begins with, and than the one that it keeps.
	const n = 200_000
	d.Reset(JSON, []byte("["+strings.TrimSuffix(strings.Repeat(`{"a":"b"},`, n), ",")+"]"))
	if err := d.Parse(Limits{}); err != nil || d.Len(0) != n {
		t.Fatalf("Parse = %v, Len = %d", err, d.Len(0))
	}
	count := 0
	for e := d.First(0); e != None; e = d.Next(e) {
		if d.Str(d.Field(e, "a", nil), nil) != "b" {
			t.Fatalf("element %d is %s", count, d.Raw(e))
		}
		count++
	}
	if count != n {
		t.Errorf("a walk finds %d elements", count)
	}
	d.Reset(JSON, nil)
	if cap(d.nodes) > keepNodes {
		t.Errorf("a Reset keeps %d nodes", cap(d.nodes))
	}
}

// TestTruncation cuts a document at every byte: no cut is accepted, and none reads beyond its end.
func TestTruncation(t *testing.T) {
	const sample = `{"id":-12.5e+3,"na\u00e9me":"K\u00f6ln \ud83d\ude39 é東","list":[true,false,null,[],{},"long enough for two words",1234567890123],"o":{"a":{"b":[0]}},"last":"x"}`
	var d Doc
	for i := range len(sample) {
		cut := bytes.Clone([]byte(sample[:i]))
		d.Reset(JSON, cut[:i:i])
		if err := d.Parse(Limits{}); err == nil {
			t.Errorf("accepted %q", cut)
		}
		whole := []byte(sample)
		d.Reset(JSON, whole[:i]) // what lies beyond the end must not be read
		if err := d.Parse(Limits{}); err == nil {
			t.Errorf("accepted %q", whole[:i])
		}
	}
	parse(t, sample)
	// Every byte in turn replaced by every other: never a panic, and the verdict is encoding/json's where that is as strict.
	for i := range len(sample) {
		for c := range 256 {
			doc := []byte(sample)
			doc[i] = byte(c)
			compareVerdict(t, doc)
		}
	}
}

// compareVerdict holds the verdict on doc against encoding/json's.
func compareVerdict(t *testing.T, doc []byte) {
	t.Helper()
	var d Doc
	d.Reset(JSON, doc)
	err := d.Parse(Limits{MaxDepth: 1000})
	var se *SyntaxError
	stricter := errors.As(err, &se) && (strings.Contains(se.Msg, "duplicate") || strings.Contains(se.Msg, "surrogate") || strings.Contains(se.Msg, "UTF-8") || se.limit)
	if std := json.Valid(doc); std != (err == nil) && (!std || !stricter) {
		t.Errorf("Parse(%q) = %v, encoding/json says %t", doc, err, std)
	}
}

// TestAlignment puts every kind of end at every distance from word bounds and from the end of the source.
func TestAlignment(t *testing.T) {
	for pad := range 20 {
		x := strings.Repeat("x", pad)
		for _, inner := range []string{x, x + `\n`, x + "é", x + `\n` + x, "é" + x, `\u00e9` + x, x + `\"` + x} {
			want := ""
			if err := json.Unmarshal([]byte(`"`+inner+`"`), &want); err != nil {
				t.Fatal(err)
			}
			for _, src := range []string{`"` + inner + `"`, `["` + inner + `"]`, `["` + inner + `",1234567890]`} {
				d := parse(t, src)
				n := Node(0)
				if src[0] == '[' {
					n = d.First(0)
				}
				if got := d.Str(n, nil); got != want {
					t.Errorf("%s gives %q", src, got)
				}
			}
			for _, src := range []string{`{"` + inner + `":1}`, `{"` + inner + `":1,"other key":2}`} {
				d := parse(t, src)
				if got := string(d.Key(1, nil)); got != want {
					t.Errorf("%s has the key %q", src, got)
				}
				if d.Field(0, want, nil) != 2 || d.Field(0, want+"x", nil) != None {
					t.Errorf("Field finds %q wrongly in %s", want, src)
				}
			}
			for _, bad := range []string{x + "\x01", x + "\xff", "\xc3" + x, x + "\n"} {
				if Valid([]byte(`"`+bad+`"`)) || Valid([]byte(`{"`+bad+`":1}`)) || Valid([]byte(`["`+bad+`", "more text behind"]`)) {
					t.Errorf("accepted %q", bad)
				}
			}
		}
		num := "1" + strings.Repeat("0", pad)
		for _, src := range []string{num, "-" + num, num + ".5", "0." + num, num + "e1", "1e" + num, "[" + num + "]", "[" + num + ",       1]"} {
			parse(t, src)
		}
	}
}

// TestManyKeys holds that the check for duplicates stays right and linear in wide objects.
func TestManyKeys(t *testing.T) {
	for _, n := range []int{31, 32, 33, 34, 100, 1000} {
		doc := wideObject(n)
		d := parse(t, doc)
		if d.Len(0) != n {
			t.Errorf("Len = %d, want %d", d.Len(0), n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if v, ok := d.Int(d.Field(0, fmt.Sprintf("key%d", i), nil)); !ok || v != int64(i) {
				t.Errorf("key%d is %d of %d", i, v, n)
			}
			dup := doc[:len(doc)-1] + fmt.Sprintf(`,"key%d":0}`, i)
			if want := fmt.Sprintf(`duplicate key "key%d"`, i); Valid([]byte(dup)) {
				t.Errorf("accepted: %s with %d keys", want, n+1)
			}
			escaped := doc[:len(doc)-1] + fmt.Sprintf(`,"\u006bey%d":0}`, i)
			if Valid([]byte(escaped)) {
				t.Errorf("accepted an escaped duplicate of key%d with %d keys", i, n+1)
			}
		}
	}
	// A large object within a large object, closed before its parent goes on.
	nested := wideObject(50)
	src := nested[:len(nested)-1] + `,"in":` + nested + `,"key7":1}`
	var d Doc
	d.Reset(JSON, []byte(src))
	if err := d.Parse(Limits{}); err == nil || !strings.Contains(err.Error(), `"key7"`) {
		t.Errorf("Parse = %v", err)
	}
	// 100,000 keys that the cheap hash cannot tell apart by their ends.
	var sb strings.Builder
	sb.WriteByte('{')
	for i := range 100_000 {
		fmt.Fprintf(&sb, `"prefix--%06d--suffix":%d,`, i, i)
	}
	parse(t, strings.TrimSuffix(sb.String(), ",")+"}")
}

func TestRandomBytesNeverPanic(t *testing.T) {
	alphabet := []byte(`{}[]",:\u0e1-.tfn ` + "\n\x00\xc3\xa9")
	var d Doc
	seed := uint64(1)
	for range 50_000 {
		var doc [24]byte
		for i := range doc {
			seed = seed*6364136223846793005 + 1442695040888963407
			doc[i] = alphabet[seed>>33%uint64(len(alphabet))]
		}
		d.Reset(JSON, doc[:])
		if err := d.Parse(Limits{}); (err == nil) && !json.Valid(doc[:]) {
			t.Errorf("accepted %q", doc)
		}
	}
}
