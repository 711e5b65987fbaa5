package sql

import (
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// parameter stands in the text of a statement where a value is bound; see penstock.Template with the place sql.
const parameter = '\x00'

// statement is an SQL template whose text was seen. It is immutable and safe for concurrent use.
type statement struct {
	text     string // with parameters
	dollar   string // with $1, $2 … in their place
	marks    string // with ?1, ?2 …
	question string // with ? for each
	params   int

	writes  bool // it may change something
	changes bool // it counts the rows that it changes
}

func newStatement(text string) *statement {
	s := &statement{text: text}
	var dollar, marks, question strings.Builder
	for rest := text; ; s.params++ {
		at := strings.IndexByte(rest, parameter)
		if at < 0 {
			dollar.WriteString(rest)
			marks.WriteString(rest)
			question.WriteString(rest)
			s.dollar, s.marks, s.question = dollar.String(), marks.String(), question.String()
			return s
		}
		n := strconv.Itoa(s.params + 1)
		dollar.WriteString(rest[:at] + "$" + n)
		marks.WriteString(rest[:at] + "?" + n)
		question.WriteString(rest[:at] + "?")
		rest = rest[at+1:]
	}
}

// textOf gives the text of a template's statement.
func textOf(t penstock.Template, env penstock.Env) (string, error) {
	if s, ok := t.Program.(penstock.Statement); ok {
		return s.Text(&penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)})
	}
	return "", penstock.E(penstock.Internal, "sql", t.Pos.String(), "the statement was not compiled as one")
}

// values gives what a template binds. The memory is the frame's.
func values(t penstock.Template, f *penstock.Frame) ([]penstock.Value, error) {
	v := t.Program.Eval(f)
	if v.IsError() {
		return nil, v.Err()
	}
	return v.List().Elems[1:], nil
}
