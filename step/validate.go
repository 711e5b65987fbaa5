package step

import (
	"context"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Violation is one place where a body differs from its schema.
type Violation struct {
	Path    string // below the body: "lines[0].price"; empty for the body itself
	Message string // "is a string, not a number"
}

// Validator checks a whole document, which has been parsed. It is immutable and safe for concurrent use.
type Validator interface {
	// Validate lists what is wrong with d, in the order of the document; nil where nothing is.
	Validate(d *jsonview.Doc) []Violation
}

// ValidationError is the cause of the error that [Validate] fails a message with.
type ValidationError struct{ Violations []Violation }

// maxViolations is how many violations the text of an error spells out; the list has all.
const maxViolations = 20

// Error lists the violations with their paths.
func (e *ValidationError) Error() string {
	var b strings.Builder
	for i, v := range e.Violations {
		if i > 0 {
			b.WriteString("; ")
		}
		if i == maxViolations {
			b.WriteString("and " + strconv.Itoa(len(e.Violations)-i) + " more")
			break
		}
		b.WriteString(v.where())
		b.WriteByte(' ')
		b.WriteString(v.Message)
	}
	return b.String()
}

// Path is where the first violation is: "body.lines[0].price".
func (e *ValidationError) Path() string {
	if len(e.Violations) == 0 {
		return "body"
	}
	return e.Violations[0].where()
}

// Details implements penstock.Detailed.
func (e *ValidationError) Details() []penstock.Detail {
	out := make([]penstock.Detail, len(e.Violations))
	for i, v := range e.Violations {
		out[i] = penstock.Detail{Path: v.where(), Message: v.Message}
	}
	return out
}

// where is the path from the body on.
func (v Violation) where() string {
	if v.Path != "" && v.Path[0] != '[' && v.Path[0] != '.' {
		return "body." + v.Path
	}
	return "body" + v.Path
}

// Validate checks each whole body. One that differs fails with the code unprocessable and a *[ValidationError]; one that is
// no well-formed document fails with the code invalid.
type Validate struct{ Validator Validator }

// Process checks each message.
func (s *Validate) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		if err := read(m.Body); err != nil {
			b.Fail(i, failed("validate", at("body", err)))
			continue
		}
		if found := s.Validator.Validate(m.Body); len(found) > 0 {
			b.Fail(i, &penstock.Error{Code: penstock.Unprocessable, Op: "validate", Err: &ValidationError{found}})
		}
	}
	return nil
}
