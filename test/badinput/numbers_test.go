package badinput_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

// numbers are what a reader that takes every number for a double would spoil, one a line.
var numbers = []string{
	"9007199254740993", "-9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616",
	"1.10000000000000000000000001", "1e400", "123456789012345678901234567890.5", "-0", "1E2",
}

func each(format string, values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprintf(format, v)
	}
	return out
}

func lined(values []string) string { return strings.Join(values, "\n") + "\n" }

// TestNumbersThatAreForwardedKeepTheirText, whether the body goes on, is added to, or is made anew.
func TestNumbersThatAreForwardedKeepTheirText(t *testing.T) {
	for _, c := range []struct{ name, flow, out string }{
		{"read by a filter", readAndPrint("- filter: body.size() == 1"), `{"v":%s}`},
		{"set beside", readAndPrint("- set: { body.seen: true }"), `{"v":%s,"seen":true}`},
		{"moved by a map", readAndPrint("- map: { w: [ \"${body.v}\" ] }"), `{"w":[%s]}`},
		{"moved, typed decimal", typed("v: { type: number, format: decimal }", "- map: { w: \"${body.?v}\" }"), `{"w":%s}`},
		{"in an expression", readAndPrint("- map: { w: \"${[body].map(b, {'v': b.v})}\" }"), `{"w":[{"v":%s}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			runFlow(t, c.flow, "in.jsonl", lined(each(`{"v":%s}`, numbers))).holds(t, each(c.out, numbers), nil)
		})
	}
	t.Run("csv", func(t *testing.T) {
		ints := []string{"9007199254740993", "-9223372036854775808", "18446744073709551616"}
		o := runFlow(t, typed("v: { type: integer }", "- validate: {}"), "in.csv", "v\n"+lined(ints))
		o.holds(t, each(`{"v":%s}`, ints), nil)
	})
}

// TestArithmetic: integers are of 64 bits and never wrap; decimals are exact within their bounds; what can't be
// computed fails that message alone, with the place.
func TestArithmetic(t *testing.T) {
	pair := func(typ string) string { return "a: { " + typ + " }\nb: { " + typ + " }" }
	const integer, decimal, double = "type: integer", "type: number, format: decimal", "type: number"
	nines := func(n int) string { return strings.Repeat("9", n) }
	for _, c := range []struct {
		name, flow string
		in         []string // objects of a and b, as "a b"
		out        []string
		bad        map[int]string // by line, part of the message; !… comes from the schema
	}{
		{"integers", typed(pair(integer), "- { name: op, map: { q: \"${body.a + body.b}\" } }"),
			[]string{"9007199254740992 1", "9223372036854775807 1", "9223372036854775808 0", "-9223372036854775808 -1", "1 1.5", "1e400 1", "1E2 1.0"},
			[]string{"9007199254740993", "101"},
			map[int]string{2: "q: integer overflow", 3: "body.a: want an integer of 64 bits, found a number 9223372036854775808", 4: "q: integer overflow", 5: "!body.b got number, want integer", 6: "body.a: want an integer of 64 bits"}},
		{"integer multiplication", typed(pair(integer), "- { name: op, map: { q: \"${body.a * body.b}\" } }"),
			[]string{"4611686018427387904 2", "-4611686018427387904 2", "3037000500 3037000500"}, []string{"-9223372036854775808"},
			map[int]string{1: "integer overflow", 3: "integer overflow"}},
		{"integer division", typed(pair(integer), "- { name: op, map: { q: \"${body.a / body.b}\" } }"),
			[]string{"7 2", "7 0", "-9223372036854775808 -1", "-7 2"}, []string{"3", "-3"}, map[int]string{2: "q: division by zero", 3: "q: integer overflow"}},
		{"remainder", typed(pair(integer), "- { name: op, map: { q: \"${body.a % body.b}\" } }"),
			[]string{"7 2", "7 0"}, []string{"1"}, map[int]string{2: "by zero"}},
		{"integers without a schema", readAndPrint("- { name: op, map: { q: \"${body.a + body.b}\" } }"),
			[]string{"9007199254740992 1", "9223372036854775807 1", "9223372036854775808 1", "18446744073709551615 1"},
			[]string{"9007199254740993", "9223372036854775809", "18446744073709551616"}, map[int]string{2: "q: integer overflow"}},
		{"beyond a double without a schema", readAndPrint("- { name: op, map: { q: \"${body.a + body.b}\" } }"),
			[]string{"1e400 1"}, nil, map[int]string{1: "the number 1e400 is beyond the range of double (declare it decimal in the schema)"}},
		{"doubles", typed(pair(double), "- { name: op, map: { q: \"${body.a / body.b}\" } }"),
			[]string{"7 2", "7 0", "0 0", "1e308 1e-10"}, []string{"3.5"},
			map[int]string{2: "+Inf is no JSON number", 3: "NaN is no JSON number", 4: "+Inf is no JSON number"}},
		{"decimals", typed(pair(decimal), "- { name: op, map: { q: \"${body.a + body.b}\" } }"),
			[]string{"0.1 0.2", "123456789012345678901234567890.5 1", "1e5000 1e-5000", "1e10000 1", nines(10001) + " 1", "1 1e999999999999"},
			[]string{"0.3", "123456789012345678901234567891.5"},
			map[int]string{3: "q: decimal has more than 10000 digits", 4: "q: decimal has more than 10000 digits", 5: "!body.a the number is out of bounds: decimal has more than 10000 digits", 6: "!body.b"}},
		{"decimal division", typed(pair(decimal), "- { name: op, map: { q: \"${body.a / body.b}\" } }"),
			[]string{"1 3", "2 3", "7 0"}, []string{"0.3333333333333333333333333333333333", "0.6666666666666666666666666666666667"}, map[int]string{3: "q: division by zero"}},
		{"decimals that grow", typed(pair(decimal), "- { name: op, map: { q: \"${body.a * body.b}\" } }"),
			[]string{nines(9000) + " " + nines(9000), "3 4"}, []string{"12"}, map[int]string{1: "q: decimal has more than 10000 digits"}},
		{"decimals of text", readAndPrint("- { name: op, map: { q: \"${decimal(body.a) + decimal(body.b)}\" } }"),
			[]string{`"1" "2"`, `"1e999999999999999999999" "1"`, `"x" "1"`, `"" "1"`}, []string{"3"},
			map[int]string{2: "decimal has more than 10000 digits", 3: "q: ", 4: "q: "}},
		{"comparison is exact", readAndPrint("- { name: op, map: { q: \"${body.a > 9007199254740992}\" } }"),
			[]string{"9007199254740993 0", "9007199254740992 0"}, []string{"true", "false"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var in []string
			for _, ab := range c.in {
				a, b, _ := strings.Cut(ab, " ")
				in = append(in, `{"a":`+a+`,"b":`+b+`}`)
			}
			var dead []want
			offset := 0
			for i, doc := range in {
				if msg := c.bad[i+1]; msg != "" {
					w := want{line: i + 1, offset: offset, code: penstock.Unprocessable, step: "op", body: doc}
					w.message = strings.TrimPrefix(msg, "!")
					if w.message != msg {
						w.step = "schema"
					}
					if strings.HasPrefix(w.message, "body.") {
						w.path = w.message[:len("body.a")]
					}
					dead = append(dead, w)
				}
				offset += len(doc) + 1
			}
			runFlow(t, c.flow, "in.jsonl", lined(in)).holds(t, each(`{"q":%s}`, c.out), dead)
		})
	}
}

// TestUntypedDivisionIsRefused: whether 7/2 is 3 or 3.5 must not depend on the message.
func TestUntypedDivisionIsRefused(t *testing.T) {
	for _, op := range []string{"/", "%"} {
		c := check(t, readAndPrint("- map: { q: \"${body.a "+op+" 2}\" }"), "", "")
		i := slices.IndexFunc(c.Findings, func(f finding) bool { return f.Severity == severityError && f.Pos.Line == 7 && f.Pos.Col > 0 })
		if c.OK || i < 0 || c.Findings[i].Hint == "" {
			t.Errorf("%s: findings %v", op, c.Findings)
		}
	}
}
