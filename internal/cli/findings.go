package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock/internal/control"
)

// sources gives the lines of files that findings are in, each file read once.
type sources struct {
	given map[string][]byte // text that is in no file: an expression of the command line
	files map[string][][]byte
}

func (s *sources) line(file string, n int) (string, bool) {
	if s.files == nil {
		s.files = map[string][][]byte{}
	}
	lines, ok := s.files[file]
	if !ok {
		text, given := s.given[file]
		if !given {
			text, _ = os.ReadFile(file) // a finding can be shown without its line
		}
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		lines = bytes.Split(text, []byte("\n"))
		s.files[file] = lines
	}
	if n < 1 || n > len(lines) {
		return "", false
	}
	return strings.TrimSuffix(string(lines[n-1]), "\r"), true
}

// showFindings writes findings for people: place, message, the line with a caret, the hint.
func showFindings(w io.Writer, c styles, src *sources, found []control.Finding) {
	for i, f := range found {
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		showFinding(w, c, src, f)
	}
}

func showFinding(w io.Writer, c styles, src *sources, f control.Finding) {
	severity := c.red("error")
	if f.Severity == control.Warning {
		severity = c.yellow("warning")
	}
	var b strings.Builder
	if f.Pos.IsValid() || f.Pos.File != "" {
		b.WriteString(c.bold(f.Pos.String()) + ": ")
	}
	b.WriteString(severity + ": " + visible(f.Message))
	if f.Code != "" {
		b.WriteString(" " + c.dim("["+f.Code+"]"))
	}
	b.WriteByte('\n')
	if line, ok := src.line(f.Pos.File, f.Pos.Line); ok && f.Pos.IsValid() && strings.TrimSpace(line) != "" {
		gutter := fmt.Sprintf("%5d | ", f.Pos.Line)
		blank := strings.Repeat(" ", len(gutter)-2) + "| "
		shown, before, width := window(line, f.Pos.Col, f.Text)
		b.WriteString(c.dim(gutter) + shown + "\n")
		b.WriteString(c.dim(blank) + before + c.red(strings.Repeat("^", width)) + "\n")
	}
	if f.Hint != "" {
		b.WriteString("        " + c.dim("hint:") + " " + visible(f.Hint) + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

// windowWidth is how much of a very long line is shown around the place that is meant.
const windowWidth = 160

// window gives the line as it is shown, what stands before the caret in the line below, and how
// many carets there are: as many as the offending text has characters, where it stands there.
func window(line string, col int, text string) (shown, before string, carets int) {
	runes := []rune(line)
	at := min(max(col-1, 0), len(runes))
	carets = 1
	if first, _, _ := strings.Cut(text, "\n"); first != "" {
		rest := string(runes[at:])
		switch {
		case strings.HasPrefix(rest, first):
			carets = utf8.RuneCountInString(first)
		case strings.HasPrefix(rest, `"`+first) || strings.HasPrefix(rest, "'"+first):
			carets = 1 + utf8.RuneCountInString(first)
		}
	}
	if len(runes) > windowWidth {
		from := max(0, min(at-windowWidth/2, len(runes)-windowWidth))
		to := min(len(runes), from+windowWidth)
		cut := append([]rune(nil), runes[from:to]...)
		at -= from
		if from > 0 {
			cut[0] = '…'
		}
		if to < len(runes) {
			cut[len(cut)-1] = '…'
		}
		runes = cut
		carets = max(1, min(carets, len(runes)-at))
	}
	var b strings.Builder
	for _, r := range runes[:at] {
		switch {
		case r == '\t':
			b.WriteByte('\t') // as wide as the tab above it, whatever the terminal makes of it
		case wide(r):
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return printable(runes), b.String(), carets
}

// printable keeps control characters of a file from reaching the terminal.
func printable(runes []rune) string {
	out := make([]rune, len(runes))
	for i, r := range runes {
		if r != '\t' && controls(r) {
			r = '\uFFFD'
		}
		out[i] = r
	}
	return string(out)
}

// visible is text as it may be written to a terminal: what a message holds, or another system has said, can't move the cursor, hide what
// stands before it, or change the order of what is read. Its lines stay.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && controls(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// controls reports whether a terminal does something with r instead of showing it: the control characters C0 and C1, and those of the direction of
// text (Unicode Standard Annex #9).
func controls(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// wide reports whether a terminal shows r two columns wide: the main East Asian blocks and emoji
// (Unicode Standard Annex #11).
func wide(r rune) bool {
	return r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 ||
		r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd
}

// tally is the last line under findings: "2 errors, 1 warning".
func tally(errs, warns int) string {
	var parts []string
	if errs > 0 {
		parts = append(parts, plural(errs, "error", "errors"))
	}
	if warns > 0 {
		parts = append(parts, plural(warns, "warning", "warnings"))
	}
	return strings.Join(parts, ", ")
}
