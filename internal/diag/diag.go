// Package diag holds what the compiler has to say about a configuration:
// findings with a place, the offending text and a way out, collected so that the
// user sees all of them at once.
package diag

import (
	"fmt"
	"sort"
	"strings"

	"penstock.dev/penstock"
)

// Severity says whether a finding stops the configuration from running.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Diagnostic is one finding.
type Diagnostic struct {
	Severity Severity     `json:"severity"`
	Code     string       `json:"code"` // stable, kebab-case: unknown-field, type-mismatch, dangling-reference …
	Pos      penstock.Pos `json:"position"`
	Text     string       `json:"text,omitempty"` // the offending text, as it stands in the file
	Message  string       `json:"message"`        // what is wrong
	Hint     string       `json:"hint,omitempty"` // what to do: "did you mean `deadLetter`?"
}

// String gives the one-line form: file:line:column: severity: message (hint) [code].
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", d.Pos, d.Severity, d.Message)
	if d.Hint != "" {
		fmt.Fprintf(&b, " (%s)", d.Hint)
	}
	if d.Code != "" {
		fmt.Fprintf(&b, " [%s]", d.Code)
	}
	return b.String()
}

// List collects findings. The zero List is empty and ready. It is not safe for
// concurrent use.
type List struct {
	items []Diagnostic
	seen  map[Diagnostic]struct{}
}

// Add appends d, unless the same finding at the same place is there already.
func (l *List) Add(d Diagnostic) {
	if d.Severity == "" {
		d.Severity = Error
	}
	if _, twice := l.seen[d]; twice {
		return
	}
	if l.seen == nil {
		l.seen = map[Diagnostic]struct{}{}
	}
	l.seen[d] = struct{}{}
	l.items = append(l.items, d)
}

// Errorf adds an error at pos.
func (l *List) Errorf(pos penstock.Pos, code, text, hint, format string, args ...any) {
	l.Add(Diagnostic{Severity: Error, Code: code, Pos: pos, Text: text, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// Warnf adds a warning at pos.
func (l *List) Warnf(pos penstock.Pos, code, text, hint, format string, args ...any) {
	l.Add(Diagnostic{Severity: Warning, Code: code, Pos: pos, Text: text, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// HasErrors reports whether any finding is an error.
func (l *List) HasErrors() bool {
	for _, d := range l.items {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// Len is the number of findings.
func (l *List) Len() int { return len(l.items) }

// Sorted returns the findings by file, line and column; the order of equal places
// is the order in which they were added.
func (l *List) Sorted() []Diagnostic {
	out := append([]Diagnostic(nil), l.items...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i].Pos, out[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	return out
}

// Merge adds all findings of other.
func (l *List) Merge(other *List) {
	for _, d := range other.items {
		l.Add(d)
	}
}
