package badinput_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
)

// TestCSV reads tables that are wrong; the rows around the bad ones pass.
func TestCSV(t *testing.T) {
	plain := readAndPrint("- { name: keep, filter: body.a != '' }")
	format := func(f string) string {
		return strings.Replace(plain, "\" } }", "\", "+f+" } }", 1)
	}
	long := strings.Repeat("x", 3000)
	bad := func(line, offset int, body, enc, message string) want {
		return want{line: line, offset: offset, code: penstock.Invalid, step: "keep", path: "body", message: message, body: body, enc: enc}
	}
	for _, c := range []struct {
		name, flow, in string
		out            []string
		dead           []want
	}{
		{"too few and too many cells", plain, "a,b\n1,2\n1\n1,2,3\n3,4\n",
			[]string{`{"a":"1","b":"2"}`, `{"a":"3","b":"4"}`}, []want{
				bad(3, 8, `"1"`, "text", "the row has 1 cells, but there are 2 columns (if rows may differ set ragged: allow)"),
				bad(4, 10, `"1,2,3"`, "text", "the row has 3 cells, but there are 2 columns"),
			}},
		{"too few and too many cells, allowed", format("format: { csv: { ragged: allow } }"), "a,b\n1\n1,2,3\n", []string{`{"a":"1"}`, `{"a":"1","b":"2","c3":"3"}`}, nil},
		{"quotes", plain, "a,b\n\"x\"y,2\nx\"y,2\n\"1\",\"2\"\"\"\n", []string{`{"a":"1","b":"2\""}`}, []want{
			bad(2, 4, `"\"x\"y,2"`, "text", "cell 1: text follows the closing quote (if quotes come as they like set lazyQuotes: true"),
			bad(3, 11, `"x\"y,2"`, "text", "cell 1: a quote stands within a cell that does not begin with one"),
		}},
		{"a quote that is never closed", plain, "a,b\n1,2\n\"never,\n5,6\n7,8\n", []string{`{"a":"1","b":"2"}`, `{"a":"5","b":"6"}`, `{"a":"7","b":"8"}`}, []want{
			{line: 3, offset: 8, code: penstock.Invalid, step: "from", path: "$IN: line 3, byte 8", message: "a quote is opened and never closed", body: `"\"never,\n"`, enc: "text"},
		}},
		{"truncated within a row", plain, "a,b\n1,2\n3", []string{`{"a":"1","b":"2"}`}, []want{bad(3, 8, `"3"`, "text", "the row has 1 cells")}},
		{"invalid UTF-8", plain, "a,b\n\xff,2\n3,4\n", []string{`{"a":"3","b":"4"}`}, []want{
			bad(2, 4, `"/ywy"`, "base64", "the row is not valid UTF-8 (say how the file is encoded"),
		}},
		{"larger than the configured limit", format("maxRecord: 1Ki"), "a,b\n1,2\n" + long + ",2\n3,4\n\"" + strings.Repeat("y\n", 3000) + "\"\n5,6\n",
			[]string{`{"a":"1","b":"2"}`, `{"a":"3","b":"4"}`, `{"a":"5","b":"6"}`}, []want{
				{line: 3, offset: 8, code: penstock.TooLarge, step: "from", path: "$IN: line 3, byte 8", message: "a row of more than 1024 bytes (raise maxRecord if it is meant)", body: `"` + long + `,2\n"`, enc: "text"},
				{line: 5, offset: 3015, code: penstock.TooLarge, step: "from", path: "$IN: line 5, byte 3015", message: "a row of more than 1024 bytes", enc: "text"},
			}},
		{"nothing", plain, "", nil, nil},
		{"a header alone", plain, "a,b", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			runFlow(t, c.flow, "in.csv", c.in).holds(t, c.out, c.dead)
		})
	}
}

// TestCellsThatAreNotWhatTheSchemaSays are refused, whether a step checks the row or only reads a cell.
func TestCellsThatAreNotWhatTheSchemaSays(t *testing.T) {
	o := runFlow(t, typed("v: { type: integer }\nm: { type: boolean }", "- { name: next, map: { v: \"${body.v + 1}\" } }"), "in.csv",
		"v,m\n1,true\n17850.0,false\n1.5,true\nx,true\n,true\n9223372036854775808,true\n9007199254740993,maybe\n9007199254740993,true\n")
	o.holds(t, []string{`{"v":2}`, `{"v":17851}`, `{"v":9007199254740994}`}, []want{
		{line: 4, offset: 25, code: penstock.Unprocessable, step: "schema", path: "body.v", message: "body.v got string, want integer", body: `{"v":"1.5","m":true}`},
		{line: 5, offset: 34, code: penstock.Unprocessable, step: "schema", path: "body.v", message: "body.v got string, want integer", body: `{"v":"x","m":true}`},
		{line: 6, offset: 41, code: penstock.Unprocessable, step: "next", path: "body.v", message: "no such key", body: `{"m":true}`},
		{line: 7, offset: 47, code: penstock.Unprocessable, step: "next", path: "body.v", message: "want an integer of 64 bits, found a number 9223372036854775808", body: `{"v":9223372036854775808,"m":true}`},
		{line: 8, offset: 72, code: penstock.Unprocessable, step: "schema", path: "body.m", message: "body.m got string, want boolean", body: `{"v":9007199254740993,"m":"maybe"}`},
	})
}
