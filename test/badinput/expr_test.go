package badinput_test

import (
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

type finding = control.Finding

const severityError = control.Error

// ones is a JSON list of n numbers.
func ones(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }

// counting is a JSON list of the numbers from 0 to n−1.
func counting(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",%d", i)
	}
	return "[" + b.String()[1:] + "]"
}

// TestPoisonMessages: those that always fail are dead-lettered after one try; the others pass in their
// order, whatever order the flow promises and however many lanes it has.
func TestPoisonMessages(t *testing.T) {
	const n = 1000
	var in strings.Builder
	var out []string
	var dead []want
	for i := range n {
		doc := fmt.Sprintf(`{"v":%d,"k":"%d","s":"x"}`, i, i%5)
		if i%7 == 3 {
			doc = strings.Replace(doc, `"x"`, "1", 1)
			dead = append(dead, want{line: i + 1, offset: in.Len(), code: penstock.Unprocessable, step: "poison", message: "no such overload: size of int", body: doc})
		} else {
			out = append(out, fmt.Sprintf(`{"v":%d}`, i))
		}
		in.WriteString(doc + "\n")
	}
	for _, order := range []string{"total", "per-key"} {
		t.Run(order, func(t *testing.T) {
			flow := readAndPrint("- { name: poison, map: { v: \"${body.v}\", size: \"${body.s.size()}\" } }\n- remove: [ body.size ]")
			keys := 1
			if order == "per-key" {
				keys = 5
				flow += "  order: per-key\n  key: body.k\n  concurrency: 4\n"
			}
			o := runFlow(t, flow, "in.jsonl", in.String())
			last := make([]int, keys)
			for _, row := range o.out { // per key, where there are keys
				var v int
				if _, err := fmt.Sscanf(row, `{"v":%d}`, &v); err != nil || v < last[v%keys] {
					t.Fatalf("%s comes after %v: %v", row, last, err)
				}
				last[v%keys] = v
			}
			if order == "per-key" {
				o.out = out // the order between keys is free; which there are is held by their number
				if f := o.flow(); f.Done != int64(len(out)) {
					t.Errorf("%d passed, want %d", f.Done, len(out))
				}
			}
			o.holds(t, out, dead)
			if causes := o.flow().Causes; len(causes) != 1 || causes[0].Count != int64(len(dead)) || causes[0].Step != "poison" {
				t.Errorf("the summary gives %+v", causes)
			}
		})
	}
}

// TestExpressionsThatFail fails one message between two that pass.
func TestExpressionsThatFail(t *testing.T) {
	big := strings.Repeat("a", 1<<20)
	for _, c := range []struct {
		name, expr string
		bad, good  string
		code       penstock.Code
		message    string
		path       string
	}{
		{"a field that is not there", "body.x.size()", `{}`, `{"x":""}`, "", "no such key: x", "body.x"},
		{"another type", "body.x.size()", `{"x":1}`, `{"x":""}`, "", "no such overload: size of int", ""},
		{"a regular expression of the message", "'abc'.matches(body.x)", `{"x":"("}`, `{"x":"b"}`, "", `the regular expression "(" is wrong: error parsing regexp: missing closing )`, ""},
		{"a regular expression that repeats too often", "'abc'.matches(body.x)", `{"x":"(a{1000}){1000}"}`, `{"x":"b"}`, "", "invalid repeat count", ""},
		{"an index", "body.l[body.x]", `{"l":[1],"x":1}`, `{"l":[1],"x":0}`, "", "no such key", "body.l[]"},
		{"an index that is no whole number", "body.l[body.x]", `{"l":[1],"x":0.5}`, `{"l":[1],"x":0}`, "", "a list is indexed by whole numbers", ""},
		{"a number in text", "int(body.x)", `{"x":"9223372036854775808"}`, `{"x":"9223372036854775807"}`, "", "is no int", ""},
		{"a number beyond int", "int(body.x)", `{"x":1e300}`, `{"x":1e3}`, "", "integer overflow", ""},
		{"a time", "timestamp(body.x)", `{"x":"2026-02-30T00:00:00Z"}`, `{"x":"2026-02-28T00:00:00Z"}`, "", "is no RFC 3339 timestamp", ""},
		{"a time beyond the calendar", "timestamp(body.x) + duration('24h')", `{"x":"9999-12-31T23:59:59Z"}`, `{"x":"2026-02-28T00:00:00Z"}`, "", "timestamp overflow", ""},
		{"a duration", "duration(body.x)", `{"x":"10000000000h"}`, `{"x":"1h"}`, "", "is no duration", ""},
		{"base64", "base64.decode(body.x)", `{"x":"#"}`, `{"x":"YQ=="}`, "", "is no base64", ""},
		{"a place in a text", "'abc'.substring(body.x)", `{"x":4}`, `{"x":3}`, "", "index out of range: 4", ""},
		{"nested loops over a large list", "body.x.map(a, body.x.map(b, body.x.filter(c, c == a + b).size())).size()", `{"x":` + ones(3000) + `}`, `{"x":[1,2]}`, "", "expression cost limit: its loops went round too often", ""},
		{"a range without end", "lists.range(body.x).size()", `{"x":1000000000000}`, `{"x":3}`, "", "cost limit", ""},
		{"a list searched for each of its elements", "body.x.all(a, a in body.x)", `{"x":` + counting(20_000) + `}`, `{"x":[1,2]}`, "", "cost limit", ""},
		{"large lists taken for sets", "sets.contains(body.x, body.x)", `{"x":` + counting(20_000) + `}`, `{"x":[1,2]}`, "", "cost limit", ""},
		{"a large list compared again and again", "body.x.all(a, body.x == body.x)", `{"x":` + counting(20_000) + `}`, `{"x":[1,2]}`, "", "cost limit", ""},
		{"a large text searched again and again", "body.l.exists(a, body.x.matches('b$'))", `{"x":"` + big + `","l":` + ones(1000) + `}`, `{"x":"b","l":[1]}`, "", "cost limit", ""},
		{"a text that grows", "body.x.replace('a', body.x).replace('a', body.x).size()", `{"x":"` + big + `"}`, `{"x":"aa"}`, penstock.TooLarge, "a text of over 64 MiB or a list of over 4 Mi elements", ""},
		{"texts that are put together", "body.l.map(x, body.x).join(body.x).size()", `{"x":"` + big + `","l":` + ones(1000) + `}`, `{"x":"a","l":[1]}`, penstock.TooLarge, "a text of over 64 MiB", ""},
		{"a list that grows", "body.x.map(a, body.x).flatten().size()", `{"x":` + counting(5000) + `}`, `{"x":[1,2]}`, penstock.TooLarge, "a list of over 4 Mi elements", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.code == "" {
				c.code = penstock.Unprocessable
			}
			flow := readAndPrint("- { name: step, map: { q: \"${" + c.expr + "}\" } }\n- map: ok")
			in := []string{c.good, c.bad, c.good}
			runFlow(t, flow, "in.jsonl", lined(in)).holds(t, []string{`"ok"`, `"ok"`}, []want{
				{line: 2, offset: len(c.good) + 1, code: c.code, step: "step", message: c.message, path: c.path, body: c.bad},
			})
		})
	}
}

// TestMatchingIsLinear matches long texts against the patterns that make other engines run for
// years: that it ends at all is what is tested.
func TestMatchingIsLinear(t *testing.T) {
	in := `{"s":"` + strings.Repeat("a", 1<<18) + `b","r":"(a?){20}a{20}$"}` + "\n"
	runFlow(t, readAndPrint("- map: [ \"${body.s.matches('^(a+)+$')}\", \"${body.s.matches('^(a|aa)+$')}\", \"${body.s.matches('(.*)(.*)(.*)(.*)[c]')}\", \"${body.s.matches(body.r)}\" ]"), "in.jsonl", in).
		holds(t, []string{"[false,false,false,false]"}, nil)
}

// TestExpressionsThatCheckRefuses: each with its place in the file, and before anything runs.
func TestExpressionsThatCheckRefuses(t *testing.T) {
	for _, c := range []struct{ name, step, code, message string }{
		{"a regular expression", "- filter: body.x.matches(\"(\")", "", "missing closing )"},
		{"one with a repeat that is too large", "- filter: body.x.matches(\"a{2000}\")", "", "invalid repeat count"},
		{"syntax", "- filter: body.x ==", "expression-syntax", ""},
		{"an integer that is too large", "- filter: body.x == 9223372036854775808", "", ""},
		{"an expression that nests too deep", "- filter: \"" + strings.Repeat("[", 300) + strings.Repeat("]", 300) + ".size() == 1\"", "", ""},
		{"an expression that is too long", "- filter: body.x == \"" + strings.Repeat("x", 200_000) + "\"", "", ""},
		{"a template that is not closed", "- map: { q: \"${body.x\" }", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			checked := check(t, readAndPrint(c.step), "", "")
			if checked.OK {
				t.Fatal("there is no finding")
			}
			for _, f := range checked.Findings {
				if f.Pos.Line != 7 || f.Pos.Col < 5 || c.code != "" && f.Code != c.code || !strings.Contains(f.Message, c.message) {
					t.Errorf("finding %.300v, want line 7, %s, %q", f, c.code, c.message)
				}
			}
		})
	}
}
