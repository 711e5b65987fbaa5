package cli

import (
	"bytes"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

func TestShowFinding(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		found      control.Finding
		want       string
	}{
		{
			name: "the offending text is underlined",
			file: "a: 1\nsteps: [ { flter: x } ]\n",
			found: control.Finding{Severity: control.Error, Code: "unknown-field", Pos: penstock.Pos{File: "f.yaml", Line: 2, Col: 12}, Text: "flter",
				Message: "unknown field `flter`", Hint: "did you mean `filter`?"},
			want: "f.yaml:2:12: error: unknown field `flter` [unknown-field]\n" +
				"    2 | steps: [ { flter: x } ]\n" +
				"      |            ^^^^^\n" +
				"        hint: did you mean `filter`?\n",
		},
		{
			name:  "columns count characters, and wide ones take two places",
			file:  "漢: é x\n",
			found: control.Finding{Severity: control.Warning, Pos: penstock.Pos{File: "f.yaml", Line: 1, Col: 6}, Text: "x", Message: "m"},
			want:  "f.yaml:1:6: warning: m\n    1 | 漢: é x\n      |       ^\n",
		},
		{
			name:  "a place at the quote of a text",
			file:  "a: \"b c\"\n",
			found: control.Finding{Severity: control.Error, Pos: penstock.Pos{File: "f.yaml", Line: 1, Col: 4}, Text: "b c", Message: "m"},
			want:  "f.yaml:1:4: error: m\n    1 | a: \"b c\"\n      |    ^^^^\n",
		},
		{
			name:  "a tab stays a tab",
			file:  "\tabc\n",
			found: control.Finding{Severity: control.Error, Pos: penstock.Pos{File: "f.yaml", Line: 1, Col: 2}, Text: "elsewhere", Message: "m"},
			want:  "f.yaml:1:2: error: m\n    1 | \tabc\n      | \t^\n",
		},
		{
			name:  "a place beyond the file has no line",
			file:  "a\n",
			found: control.Finding{Severity: control.Error, Pos: penstock.Pos{File: "f.yaml", Line: 9, Col: 1}, Message: "m"},
			want:  "f.yaml:9:1: error: m\n",
		},
		{
			name:  "no place at all",
			found: control.Finding{Severity: control.Error, Message: "m", Hint: "h"},
			want:  "error: m\n        hint: h\n",
		},
		{
			name:  "control characters don't reach the terminal",
			file:  "a\x1b[31m b\n",
			found: control.Finding{Severity: control.Error, Pos: penstock.Pos{File: "f.yaml", Line: 1, Col: 1}, Message: "m"},
			want:  "f.yaml:1:1: error: m\n    1 | a\uFFFD[31m b\n      | ^\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			showFinding(&out, styles{}, &sources{given: map[string][]byte{"f.yaml": []byte(tc.file)}}, tc.found)
			if out.String() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), tc.want)
			}
		})
	}
}

func TestWindowOfALongLine(t *testing.T) {
	line := strings.Repeat("a", 500) + "WRONG" + strings.Repeat("b", 500)
	shown, before, carets := window(line, 501, "WRONG")
	if n := len([]rune(shown)); n != windowWidth {
		t.Errorf("%d characters are shown, want %d", n, windowWidth)
	}
	if got := string([]rune(shown)[len(before) : len(before)+carets]); got != "WRONG" {
		t.Errorf("the carets are under %q", got)
	}
}

func FuzzWindow(f *testing.F) {
	f.Add("a: b", 2, "b")
	f.Add("", 0, "")
	f.Add("漢\t\x00", 99, "x")
	f.Fuzz(func(t *testing.T, line string, col int, text string) {
		shown, before, carets := window(line, col, text)
		if carets < 1 {
			t.Fatalf("%d carets", carets)
		}
		if len([]rune(shown)) > windowWidth {
			t.Fatalf("%d characters are shown", len([]rune(shown)))
		}
		if strings.ContainsAny(shown, "\x1b\r\x00") {
			t.Fatalf("control characters in %q", shown)
		}
		if strings.Trim(before, " \t") != "" {
			t.Fatalf("before the caret: %q", before)
		}
	})
}
