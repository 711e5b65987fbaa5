package exec

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

func templates(texts ...string) (out []penstock.Template) {
	for i, s := range texts {
		out = append(out, penstock.Template{Source: s, Pos: penstock.Pos{File: "main.yaml", Line: i + 1, Col: 1}})
	}
	return out
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		config CallConfig
		want   []string
	}{
		{"good", CallConfig{Command: templates("/usr/bin/jq", "-c", "${body.x}")}, nil},
		{"a shell whose text is fixed", CallConfig{Command: templates("/bin/sh", "-c", `echo "$1"`, "sh", "${body.x}")}, nil},
		{"a relative program", CallConfig{Command: templates("jq", ".")}, []string{"`jq` is none"}},
		{"a roundabout program", CallConfig{Command: templates("/usr/bin/../../tmp/x")}, []string{"absolute path"}},
		{"a program that varies", CallConfig{Command: templates("${body.x}")}, []string{"the program is fixed"}},
		{"a shell that would run a message", CallConfig{Command: templates("/bin/bash", "-ec", "echo ${body.x}")}, []string{"a shell would run what a message brings along"}},
		{"environment", CallConfig{Command: templates("/bin/true"), Process: Process{
			Environment: map[string]penstock.Template{"A=B": {}, "TOKEN": {}}, Secrets: map[string]penstock.Secret{"TOKEN": {}, "": {}}}},
			[]string{"`A=B` can't be the name", "TOKEN stands under environment and under secrets", "`` can't be the name"}},
		{"codes", CallConfig{Command: templates("/bin/true"), Run: Run{Codes: map[string]penstock.Code{"0": "invalid", "256": "invalid", "x": "invalid", "3": "notFound"}}},
			[]string{"codes: `0`", "codes: `256`", "codes: `x`"}},
	} {
		errs := c.config.Validate()
		var all strings.Builder
		for _, err := range errs {
			all.WriteString(err.Error() + "\n")
		}
		if len(errs) != len(c.want) {
			t.Errorf("%s: %q", c.name, errs)
		}
		for _, want := range c.want {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s: no %q in %s", c.name, want, all.String())
			}
		}
	}
	if errs := (&SinkConfig{Command: templates("x"), Run: Run{Codes: map[string]penstock.Code{"0": "invalid"}}}).Validate(); len(errs) != 2 {
		t.Errorf("sink: %q", errs)
	}
	if errs := (&SourceConfig{Command: templates("x"), Process: Process{Secrets: map[string]penstock.Secret{"=": {}}}}).Validate(); len(errs) != 2 {
		t.Errorf("source: %q", errs)
	}
}

func TestNeeds(t *testing.T) {
	command := templates("/usr/bin/jq", ".")
	for _, c := range []penstock.Restricted{&CallConfig{Command: command}, &SinkConfig{Command: command}, &SourceConfig{Command: command}} {
		if got := c.Needs(); len(got) != 1 || got[0] != (penstock.Permission{Kind: "exec", What: "/usr/bin/jq", Pos: command[0].Pos}) {
			t.Errorf("%T: %+v", c, got)
		}
	}
	if got := (&CallConfig{}).Needs(); got != nil {
		t.Errorf("without a command: %+v", got)
	}
}

func TestReplyType(t *testing.T) {
	text := types.StringType
	if got := (&CallConfig{}).ReplyType(text); got != text {
		t.Error(got)
	}
	got := (&CallConfig{Reply: "full", Format: penstock.Format{Name: "csv"}}).ReplyType(text)
	if got.Kind != types.Object || got.Fields[1].Type.Kind != types.List || got.Fields[1].Type.Elem != text {
		t.Error(got)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"one\ntwo\r\n\n three\t4":       "one two three 4",
		"\x1b[31mred\x1b[0m\a":          "[31mred [0m",
		"bad \xff utf-8":                "bad � utf-8",
		"\u202eevil and \u2028 no line": "\u202eevil and no line",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestEnding(t *testing.T) {
	w := &ending{}
	for i := range 3000 {
		_, _ = w.Write([]byte{byte('a' + i%26)})
	}
	_, _ = w.Write([]byte("\nthe end\n"))
	if s := w.String(); len(s) > tailSize+8 || !strings.HasPrefix(s, "… ") || !strings.HasSuffix(s, " the end") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
	_, _ = w.Write([]byte(strings.Repeat("x", 5000)))
	if s := w.String(); s != "… "+strings.Repeat("x", tailSize) {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}
