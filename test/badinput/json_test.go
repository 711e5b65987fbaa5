package badinput_test

import (
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

// TestJSON reads JSON that is wrong in every way that files are. The bad documents are dead letters with the
// bytes that came, the byte and the line; those around them pass, in order.
func TestJSON(t *testing.T) {
	step := "- { name: keep, filter: body.a != 0 }"
	plain := readAndPrint(step)
	limited := strings.Replace(plain, "\" } }", "\", maxRecord: 1Ki, format: { json: { maxDepth: 4 } } } }", 1)
	array := strings.Replace(plain, "\" } }", "\", format: { json: { array: true } } } }", 1)
	long := strings.Repeat("x", 3000)
	syntax := func(line, offset int, body, message string) want {
		return want{line: line, offset: offset, code: penstock.Invalid, step: "keep", path: "body", message: "invalid JSON at " + message, body: body, enc: "text"}
	}
	for _, c := range []struct {
		name, flow, in string
		out            []string
		dead           []want
	}{
		{"malformed", plain, "{\"a\":1}\n{\"a\" 2}\nrubbish\n{\"a\":[1}\n{\"a\":3,}\n{\"a\":01}\n{\"a\":\"x\ty\"}\n{'a':1}\n{\"a\":4} trailing\n{\"a\":NaN}\n{\"a\":5}\n",
			[]string{`{"a":1}`, `{"a":4}`, `{"a":5}`}, []want{
				syntax(2, 8, `"{\"a\" 2}"`, "byte 5 (line 1): found '2' where ':' after a key is needed"),
				syntax(3, 16, `"rubbish"`, `byte 0 (line 1): found "rubbish" where a value is needed`),
				syntax(4, 24, `"{\"a\":[1}"`, "byte 7 (line 1): found '}' where ',' or ']' is needed"),
				syntax(5, 33, `"{\"a\":3,}"`, "byte 7 (line 1): found '}' after a comma"),
				syntax(6, 42, `"{\"a\":01}"`, "byte 5 (line 1): a number must not begin with a needless 0"),
				syntax(7, 51, `"{\"a\":\"x\ty\"}"`, "byte 7 (line 1): control character 0x09"),
				syntax(8, 63, `"{'a':1}"`, "byte 1 (line 1): found '\\'' where"),
				syntax(9, 79, `"trailing"`, `byte 0 (line 1): found "trailing"`),
				syntax(10, 88, `"{\"a\":NaN}"`, `byte 5 (line 1): found "NaN"`),
			}},
		{"over several lines", plain, "{\n  \"a\": 1\n}\n{\n  \"a\": 2,\n  \"b\" 3\n}\n{\n  \"b\": 1\n}\n{\n  \"a\": 4\n}\n",
			[]string{`{"a":1}`, `{"a":4}`}, []want{
				syntax(4, 13, `"{\n  \"a\": 2,\n  \"b\" 3"`, "byte 18 (line 3): found '3'"),
				syntax(7, 33, `"}"`, "byte 0 (line 1): found '}' where a value is needed"),
				{line: 8, offset: 35, code: penstock.Unprocessable, step: "keep", path: "body.a", message: "no such key", body: `{"b":1}`},
			}},
		{"truncated within a string", plain, "{\"a\":1}\n{\"a\":2,\"b\":\"xy",
			[]string{`{"a":1}`}, []want{syntax(2, 8, `"{\"a\":2,\"b\":\"xy"`, "byte 14 (line 1): the document ends within the string that began at byte 11")}},
		{"truncated within an array", plain, "{\"a\":1}\n{\"a\":[1,2",
			[]string{`{"a":1}`}, []want{syntax(2, 8, `"{\"a\":[1,2"`, "byte 9 (line 1): the document ends within the array that began at byte 5")}},
		{"a torn line takes no more than the next with it", plain, "{\"a\":1}\n{\"a\":\n{\"a\":2}\n{\"a\":3}\n",
			[]string{`{"a":1}`, `{"a":3}`}, []want{syntax(2, 8, `"{\"a\":\n{\"a\":2}"`, "byte 13 (line 2): the document ends within the object")}},
		{"zeros of a torn block", plain, "{\"a\":1}\n\x00\x00\x00\x00\n{\"a\":2}\n",
			[]string{`{"a":1}`, `{"a":2}`}, []want{syntax(2, 8, `"\u0000\u0000\u0000\u0000"`, "byte 0 (line 1)")}},
		{"deeply nested", plain, "{\"a\":1}\n" + strings.Repeat("[", 600) + strings.Repeat("]", 600) + "\n" + strings.Repeat("[", 1e5) + "\n{\"a\":2}\n{\"a\":3}\n",
			[]string{`{"a":1}`, `{"a":2}`, `{"a":3}`}, []want{
				{line: 2, offset: 8, code: penstock.TooLarge, step: "keep", path: "body", message: "byte 512 (line 1): nested more than 512 deep", enc: "text"},
				{line: 3, offset: 1209, code: penstock.TooLarge, step: "keep", path: "body", message: "byte 512 (line 1): nested more than 512 deep", enc: "text"},
			}},
		{"deeper than the configured limit", limited, "{\"a\":[[[1]]]}\n{\"a\":[[[[1]]]]}\n{\"a\":2}\n",
			[]string{`{"a":[[[1]]]}`, `{"a":2}`}, []want{
				{line: 2, offset: 14, code: penstock.TooLarge, step: "keep", path: "body", message: "byte 8 (line 1): nested more than 4 deep", body: `"{\"a\":[[[[1]]]]}"`, enc: "text"},
			}},
		{"larger than the configured limit", limited, "{\"a\":1}\n{\"a\":\"" + long + "\"}\n{\"a\":2}\n{\n\"a\":\"" + long + "\"}\n{\"a\":3}\n{\"a\":\"" + long,
			[]string{`{"a":1}`, `{"a":2}`, `{"a":3}`}, []want{
				{line: 2, offset: 8, code: penstock.TooLarge, step: "from", path: "$IN: line 2, byte 8", message: "a document of more than 1024 bytes (raise maxRecord if it is meant)", body: `"{\"a\":\"` + long + `\"}\n"`, enc: "text"},
				{line: 4, offset: 3025, code: penstock.TooLarge, step: "from", path: "$IN: line 4, byte 3025", message: "more than 1024 bytes", enc: "text"},
				{line: 7, offset: 6043, code: penstock.TooLarge, step: "from", path: "$IN: line 7, byte 6043", message: "more than 1024 bytes", enc: "text"},
			}},
		{"invalid UTF-8", plain, "{\"a\":\"\xff\"}\n{\"a\":1}\n{\"\xc3\x28\":1,\"a\":1}\n\xff\xfe\n{\"a\":\"\\ud800\"}\n{\"a\":\"\xed\xa0\x80\"}\n{\"a\":2}\n",
			[]string{`{"a":1}`, `{"a":2}`}, []want{
				{line: 1, code: penstock.Invalid, step: "keep", path: "body", message: "byte 6 (line 1): byte 0xff is not valid UTF-8", body: `"eyJhIjoi/yJ9"`, enc: "base64"},
				{line: 3, offset: 18, code: penstock.Invalid, step: "keep", path: "body", message: "byte 2 (line 1): byte 0xc3 is not valid UTF-8", body: `"eyLDKCI6MSwiYSI6MX0="`, enc: "base64"},
				{line: 4, offset: 33, code: penstock.Invalid, step: "keep", path: "body", message: "byte 0 (line 1): found byte 0xff", body: `"//4="`, enc: "base64"},
				syntax(5, 36, `"{\"a\":\"\\ud800\"}"`, `byte 6 (line 1): \ud800 is half of a surrogate pair`),
				{line: 6, offset: 51, code: penstock.Invalid, step: "keep", path: "body", message: "byte 6 (line 1): byte 0xed is not valid UTF-8", enc: "base64"},
			}},
		{"duplicate keys", plain, "{\"a\":1,\"a\":2}\n{\"a\":1,\"b\":{\"c\":1,\"\\u0063\":2}}\n{\"a\":3}\n",
			[]string{`{"a":3}`}, []want{
				syntax(1, 0, `"{\"a\":1,\"a\":2}"`, `byte 7 (line 1): duplicate key "a", first seen at byte 1`),
				syntax(2, 14, `"{\"a\":1,\"b\":{\"c\":1,\"\\u0063\":2}}"`, `byte 18 (line 1): duplicate key "c", first seen at byte 12`),
			}},
		{"an array", array, "[{\"a\":1},{\"a\" 2},\n{\"a\":3}\n{\"a\":4}\n,{\"a\":5}]",
			[]string{`{"a":1}`, `{"a":3}`, `{"a":5}`}, []want{
				syntax(1, 9, `"{\"a\" 2}"`, "byte 5 (line 1)"),
				{line: 3, offset: 26, code: penstock.Invalid, step: "from", path: "$IN: line 3, byte 26", message: "between two elements of an array stands exactly one comma", body: `"{\"a\":4}\n"`, enc: "text"},
			}},
		{"nothing", plain, "", nil, nil},
		{"white space", plain, " \n\r\n\t", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			runFlow(t, c.flow, "in.json", c.in).holds(t, c.out, c.dead)
		})
	}
}

// TestStreamsThatCantGoOn: where nothing after a place can be understood, the run fails and says where.
func TestStreamsThatCantGoOn(t *testing.T) {
	array := strings.Replace(readAndPrint("- filter: body.a != 0"), "\" } }", "\", format: { json: { array: true } } } }", 1)
	for _, c := range []struct {
		name, flow, file, in string
		parts                []string
	}{
		{"UTF-16", readAndPrint("- filter: body.a != 0"), "in.json", "\xff\xfe{\x00}\x00", []string{"$IN: line 1, byte 0", "UTF-16", "convert the file to UTF-8"}},
		{"no array", array, "in.json", "{\"a\":1}\n", []string{"$IN: line 1, byte 0", "does not begin with ["}},
		{"an array that is cut off", array, "in.json", "[{\"a\":1},\n{\"a\":2}", []string{"$IN: line 2, byte 17", "the stream ends within the array", "cut off"}},
		{"a header with a column twice", readAndPrint("- filter: body.a != ''"), "in.csv", "a,a\n1,2\n", []string{"$IN: line 1, byte 0", `columns 1 and 2 have the same name "a"`, "columns: […]"}},
		{"a header that is no text", readAndPrint("- filter: body.a != ''"), "in.csv", "a\xff,b\n1,2\n", []string{"$IN: line 1, byte 0", "not valid UTF-8", "encoding"}},
		{"a header with a stray quote", readAndPrint("- filter: body.a != ''"), "in.csv", "\"a\"x,b\n1,2\n", []string{"$IN: line 1, byte 0", "header, cell 1", "text follows the closing quote"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := runFlow(t, c.flow, c.file, c.in)
			for i := range c.parts {
				c.parts[i] = strings.ReplaceAll(c.parts[i], "$IN", o.in)
			}
			o.failsWith(t, penstock.Invalid, c.parts...)
		})
	}
}

// TestWhatNothingReadsIsForwarded: without a step or schema that reads it, a body is opaque and goes out
// byte for byte, right or wrong.
func TestWhatNothingReadsIsForwarded(t *testing.T) {
	in := []string{`{"a" : 1.0}`, `{"a"}`, "rubbish", "{\"a\":\"\xff\"}", `{"a":1,"a":2}`}
	o := runFlow(t, flowOf("from: { file: { path: \"${params.src}\" } }\nto: { stdout: {} }"), "in.jsonl", strings.Join(in, "\n")+"\n")
	o.holds(t, in, nil)
}

// TestBrokenBodiesReachADeclaredDeadLetter: one that can only write what it can read gets them as text or base64.
func TestBrokenBodiesReachADeclaredDeadLetter(t *testing.T) {
	dead := "onError: { deadLetter: { file: { path: \"${params.dst}\", format: { json: {} } } } }\n"
	for _, c := range []struct {
		name, file, in string
		dead           []want
	}{
		{"json", "in.jsonl", "{\"a\":1}\n{\"a\"\n}\n\"\xff\"\n{\"a\":2}\n", []want{
			{line: 2, offset: 8, code: penstock.Invalid, step: "map1", path: "body", message: "invalid JSON at byte 5 (line 2)", body: `"{\"a\"\n}"`, enc: "text"},
			{line: 4, offset: 15, code: penstock.Invalid, step: "map1", path: "body", message: "invalid JSON at byte 1 (line 1)", body: `"Iv8i"`, enc: "base64"},
		}},
		{"csv", "in.csv", "a,b\n1,2\n1\n\xff,2\n2,4\n", []want{
			{line: 3, offset: 8, code: penstock.Invalid, step: "map1", path: "body", message: "the row has 1 cells", body: `"1"`, enc: "text"},
			{line: 4, offset: 10, code: penstock.Invalid, step: "map1", path: "body", message: "not valid UTF-8", body: `"/ywy"`, enc: "base64"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := filepath.Join(t.TempDir(), c.file), filepath.Join(t.TempDir(), "dead.jsonl")
			put(t, src, c.in)
			o := runWith(t, readAndPrint("- map: { a: \"${int(body.a)}\" }")+indent(dead), options{src: src, dst: dst})
			o.dead = letters(t, dst)
			o.holds(t, []string{`{"a":1}`, `{"a":2}`}, c.dead)
		})
	}
}
