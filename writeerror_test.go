package penstock_test

import (
	"errors"
	"slices"
	"testing"

	"penstock.dev/penstock"
)

// TestWriteError: behind a message that may be written later, none of its key counts as written.
func TestWriteError(t *testing.T) {
	full, no := penstock.E(penstock.Limited, "", "", "full"), penstock.E(penstock.NotFound, "", "", "no")
	for name, c := range map[string]struct {
		keys  string // a letter a message; "-" for none
		fates []error
		want  []penstock.Code
	}{
		"nothing":             {"", nil, nil},
		"all written":         {"aba", []error{nil, nil, nil}, nil},
		"those of its key":    {"ababa", []error{nil, full, nil, nil, nil}, []penstock.Code{"", penstock.Limited, "", penstock.Limited, ""}},
		"an error of its own": {"aaa", []error{full, no, nil}, []penstock.Code{penstock.Limited, penstock.NotFound, penstock.Limited}},
		"one for good":        {"aaa", []error{nil, no, nil}, []penstock.Code{"", penstock.NotFound, ""}},
		"no keys":             {"-a-", []error{full, nil, nil}, []penstock.Code{penstock.Limited, "", penstock.Limited}},
	} {
		t.Run(name, func(t *testing.T) {
			var b penstock.Batch
			for _, k := range c.keys {
				if m := b.Append(); k != '-' {
					m.Key = string(k)
				}
			}
			err := b.WriteError("broker", "queue q", func(i int) error { return c.fates[i] })
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var each *penstock.BatchError
			if !errors.As(err, &each) {
				t.Fatalf("%T", err)
			}
			got := make([]penstock.Code, len(b.Msgs))
			for i, err := range each.Errs {
				got[i] = penstock.CodeOf(err)
			}
			if !slices.Equal(got, c.want) {
				t.Fatalf("%q, want %q", got, c.want)
			}
		})
	}
	var b penstock.Batch
	b.Append()
	if n := testing.AllocsPerRun(100, func() {
		if err := b.WriteError("broker", "", func(int) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Fatalf("a batch that was written costs %v allocations", n)
	}
}

// answer is a program that gives one value.
type answer struct {
	penstock.Program
	v penstock.Value
}

func (a answer) Eval(*penstock.Frame) penstock.Value { return a.v }

func TestFixed(t *testing.T) {
	for name, c := range map[string]struct {
		text  penstock.Template
		want  string
		fails string
	}{
		"left out": {},
		"plain":    {text: penstock.Template{Source: "orders"}, want: "orders"},
		"computed": {text: penstock.Template{Source: "${params.n}", Program: answer{v: penstock.IntValue(7)}}, want: "7"},
		"failed":   {text: penstock.Template{Source: "${params.n}", Program: answer{v: penstock.ErrorValue(errors.New("no such parameter"))}, Pos: penstock.Pos{File: "f.yaml", Line: 3, Col: 5}}, fails: "broker: f.yaml:3:5: no such parameter"},
		"nothing":  {text: penstock.Template{Source: "${params.n}", Program: answer{}, Pos: penstock.Pos{File: "f.yaml", Line: 3, Col: 5}}, fails: "broker: f.yaml:3:5: text: the value is absent"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.text.Fixed("broker", penstock.Env{})
			if got != c.want || (err == nil) != (c.fails == "") || err != nil && (err.Error() != c.fails || penstock.CodeOf(err) != penstock.Config) {
				t.Fatalf("%q, %v, want %q, %s", got, err, c.want, c.fails)
			}
		})
	}
}
