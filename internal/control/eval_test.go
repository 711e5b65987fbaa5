package control_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

func TestEval(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	for _, tc := range []struct {
		name, expression, sample, file string
		params                         map[string]string
		typ                            string
		want                           []string // values, "absent", or "error: …"
		line                           int      // of the last result
	}{
		{name: "no sample", expression: "1 + 2", typ: "int", want: []string{"3"}},
		{name: "documents one after the other", expression: "body.a", sample: "{\"a\":1}\n\n{\"a\":\"x\"} {\"a\":[1.50]}", typ: "dyn", want: []string{"1", `"x"`, "[1.50]"}, line: 3},
		{name: "absent", expression: "body.?a", sample: `{}`, want: []string{"absent"}, line: 1},
		{name: "a failure is of its document alone", expression: "body.a + 1", sample: "{\"a\":1}\n{}", want: []string{"2", "error: no such key: a"}, line: 2},
		{name: "csv by its name", expression: "body.a", sample: "a,b\n1,2\n3,4\n", file: "x.csv", want: []string{`"1"`, `"3"`}, line: 3},
		{name: "params are read as YAML reads them", expression: "[params.n + 1, params.d, params.s, params.b]", typ: "list(double|string|bool)",
			params: map[string]string{"n": "41", "d": "2.5", "s": "a: b", "b": "true"}, want: []string{`[42,2.5,"a: b",true]`}},
		{name: "a template", expression: "${1 + 1} of ${params.n}", params: map[string]string{"n": "4"}, typ: "string", want: []string{`"2 of 4"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := control.EvalOptions{Expression: tc.expression, Params: tc.params}
			if tc.sample != "" {
				o.Sample, o.SampleName = strings.NewReader(tc.sample), "sample"
				if tc.file != "" {
					o.SampleName = tc.file
				}
			}
			ev, err := s.Eval(o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			failed := false
			for _, r := range ev.Results {
				switch {
				case r.Error != nil:
					failed = true
					got = append(got, "error: "+r.Error.Message)
				case r.Absent:
					got = append(got, "absent")
				default:
					got = append(got, string(r.Value))
				}
			}
			if strings.Join(got, "|") != strings.Join(tc.want, "|") {
				t.Errorf("got %q, want %q; findings %v", got, tc.want, ev.Findings)
			}
			if ev.OK == failed {
				t.Errorf("ok is %v", ev.OK)
			}
			if tc.typ != "" && ev.Type != tc.typ {
				t.Errorf("the type is %s, want %s", ev.Type, tc.typ)
			}
			if n := len(ev.Results); tc.line > 0 && n > 0 && ev.Results[n-1].Line != tc.line {
				t.Errorf("the last document is at line %d, want %d", ev.Results[n-1].Line, tc.line)
			}
		})
	}
}

func TestEvalFindsWhatIsWrong(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	ev, err := s.Eval(control.EvalOptions{Expression: `1 + "x"`})
	if err != nil || ev.OK || len(ev.Findings) != 1 || ev.Findings[0].Pos.File != control.ExpressionFile || ev.Findings[0].Pos.Line != 1 {
		t.Errorf("got %+v, %v", ev, err)
	}
	if _, err := s.Eval(control.EvalOptions{Expression: "1", Sample: strings.NewReader(`{"a":}`), SampleName: "x.json"}); err != nil {
		t.Errorf("a sample that nothing reads is opaque, and fails with %v", err)
	}
	_, err = s.Eval(control.EvalOptions{Expression: "1", Sample: strings.NewReader(""), SampleName: "x.json", Format: "yaml"})
	if err == nil || !strings.Contains(err.Error(), "no format called yaml") {
		t.Errorf("an unknown format gives %v", err)
	}
}
