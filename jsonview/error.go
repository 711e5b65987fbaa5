package jsonview

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrLimit is matched by errors.Is for a document that was refused for its size or depth, not for its syntax.
var ErrLimit = errors.New("jsonview: a limit is exceeded")

// SyntaxError is why and where Parse refused a document.
type SyntaxError struct {
	// Offset is the byte, counted from 0 at the start of the document, at which the trouble was seen.
	Offset int
	// Line is the line of that byte within the document, counted from 1; lines end in \n.
	Line int
	// Msg says what is wrong there.
	Msg string

	limit bool
}

// Error names the place and the trouble.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d (line %d): %s", e.Offset, e.Line, e.Msg)
}

// Is makes errors.Is(err, ErrLimit) true where a limit was the reason.
func (e *SyntaxError) Is(target error) bool { return target == ErrLimit && e.limit }

// fail makes the error for byte off of src.
func fail(src []byte, off int, format string, args ...any) *SyntaxError {
	off = min(max(off, 0), len(src))
	return &SyntaxError{Offset: off, Line: 1 + bytes.Count(src[:off], []byte{'\n'}), Msg: fmt.Sprintf(format, args...)}
}

// failWant makes the error for an unexpected byte, or the end, at off, where want was needed.
func failWant(src []byte, off int, want string) *SyntaxError {
	if off >= len(src) {
		return fail(src, off, "the document ends where %s is needed", want)
	}
	return fail(src, off, "found %s where %s is needed", show(src[off:]), want)
}

// show names the first character of b for a message.
func show(b []byte) string {
	r, size := utf8.DecodeRune(b)
	switch {
	case r == utf8.RuneError && size <= 1:
		return fmt.Sprintf("byte 0x%02x", b[0])
	case r == '\uFEFF':
		return "a byte order mark"
	}
	return fmt.Sprintf("%q", r)
}

// clip shortens a name for a message.
func clip(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "…"
}
