package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

// exitWith ends a command with a code after it has said itself what there was to say.
type exitWith int

func (e exitWith) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitCode is the exit code that an error ends the program with.
func exitCode(err error) int {
	var with exitWith
	var u *usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &with):
		return int(with)
	case errors.As(err, &u):
		return ExitUsage
	case errors.Is(err, control.ErrAborted), errors.Is(err, control.ErrInterrupted):
		return ExitInterrupted
	case penstock.CodeOf(err) == penstock.Config:
		return ExitConfig
	}
	return ExitFailed
}

// trouble is an error as it is shown: what, where, and what to do about it.
type trouble struct {
	Type    string        `json:"type"` // "error"
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"`
	Where   string        `json:"where,omitempty"`
	Hint    string        `json:"hint,omitempty"`
}

// report shows err and returns the exit code.
func (p *Program) report(err error) int {
	code := exitCode(err)
	var with exitWith
	if errors.As(err, &with) {
		return code
	}
	for _, one := range flatten(err) {
		t := troubleOf(one)
		if p.asJSON {
			writeJSONLine(p.machine, t)
		} else {
			p.showTrouble(t)
		}
		var fault *control.Fault
		if errors.As(one, &fault) && p.Getenv("PENSTOCK_DEBUG") != "" {
			_, _ = p.Stderr.Write(fault.Stack)
		}
	}
	return code
}

func (p *Program) showTrouble(t trouble) { showTrouble(p.Stderr, p.color, t) }

// showTrouble writes an error for people. Where that fails there is nobody left to tell.
func showTrouble(w io.Writer, c styles, t trouble) {
	_, _ = fmt.Fprintf(w, "%s %s\n", c.red("penstock:"), strings.ReplaceAll(visible(t.Message), "\n", "\n  "))
	if t.Where != "" {
		_, _ = fmt.Fprintf(w, "  %s %s\n", c.dim("where:"), visible(t.Where))
	}
	if t.Hint != "" {
		_, _ = fmt.Fprintf(w, "  %s %s\n", c.dim("hint:"), visible(t.Hint))
	}
}

// printf writes to standard error. Where that fails there is nobody left to tell.
func (p *Program) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Stderr, format, args...)
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	var e *penstock.Error
	if errors.As(err, &e) && e == err { //nolint:errorlint // only the outermost error
		if parts := flattenCause(e.Err); len(parts) > 1 {
			out := make([]error, len(parts))
			for i, part := range parts {
				copied := *e
				copied.Err = part
				out[i] = &copied
			}
			return out
		}
	}
	return []error{err}
}

func flattenCause(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return nil
}

// troubleOf finds what, where and what to do in a chain of errors: the operations on the way, the
// places from the innermost out (a file, and the line of the configuration that names it), and the
// innermost hint.
func troubleOf(err error) trouble {
	t := trouble{Type: "error", Code: penstock.CodeOf(err)}
	var u *usageError
	if errors.As(err, &u) {
		return trouble{Type: "error", Code: "usage", Message: u.message, Hint: u.hint}
	}
	var parts, where []string
	for {
		e, ok := err.(*penstock.Error) //nolint:errorlint // the chain is walked link by link
		if !ok {
			break
		}
		if e.Op != "" {
			parts = append(parts, e.Op)
		}
		if e.Path != "" && !slices.Contains(where, e.Path) {
			where = append([]string{e.Path}, where...)
		}
		if e.Hint != "" {
			t.Hint = e.Hint
		}
		if e.Err == nil {
			parts = append(parts, string(e.Code))
			err = nil
			break
		}
		err = e.Err
	}
	if err != nil {
		parts = append(parts, err.Error())
	}
	t.Message = strings.Join(parts, ": ")
	t.Where = strings.Join(where, ", by ")
	return t
}

func writeJSONLine(w io.Writer, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{"type":"error","code":"internal","message":"the result could not be written as JSON"}`)
	}
	_, _ = w.Write(append(b, '\n'))
}

// writeJSON writes v for machines and people alike: indented.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
