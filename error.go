package penstock

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Code classifies an error. The set is closed: it decides what is retried, which
// HTTP status answers and which exit code a command ends with (LANGUAGE.md §5).
type Code string

// The codes. The comment names the HTTP status.
const (
	Invalid         Code = "invalid"         // 400: the message or request is malformed
	Unauthenticated Code = "unauthenticated" // 401
	Forbidden       Code = "forbidden"       // 403
	NotFound        Code = "notFound"        // 404
	Conflict        Code = "conflict"        // 409
	TooLarge        Code = "tooLarge"        // 413: over a stated limit
	Unprocessable   Code = "unprocessable"   // 422: well-formed, but breaks a rule
	Internal        Code = "internal"        // 500: a fault of this program
	Limited         Code = "limited"         // 429: transient, slow down
	Unavailable     Code = "unavailable"     // 503: transient
	Timeout         Code = "timeout"         // 504: transient
	Cancelled       Code = "cancelled"       // the caller went away, or the run was stopped
	Config          Code = "config"          // the configuration is wrong; exit code 2
)

// Codes lists every code in the order of the language reference.
func Codes() []Code {
	return []Code{Invalid, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge, Unprocessable,
		Internal, Limited, Unavailable, Timeout, Cancelled, Config}
}

// Transient reports whether an error of this code may pass by itself, so that the
// same message is worth another try.
func (c Code) Transient() bool { return c == Limited || c == Unavailable || c == Timeout }

// HTTPStatus is the status that answers a request which failed with this code
// (RFC 9110; 499 for cancelled, as nginx has it).
func (c Code) HTTPStatus() int {
	switch c {
	case Invalid:
		return 400
	case Unauthenticated:
		return 401
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case Conflict:
		return 409
	case TooLarge:
		return 413
	case Unprocessable:
		return 422
	case Limited:
		return 429
	case Unavailable:
		return 503
	case Timeout:
		return 504
	case Cancelled:
		return 499
	}
	return 500
}

// Error is the one error type of Penstock.
type Error struct {
	Code Code   // what kind of failure; empty counts as Internal
	Op   string // what was being done: "file.read", "map", "call country"
	Path string // where: a resource, a step, a field path, a file and line
	Hint string // what to do about it
	Err  error  // the cause, or the plain message as errors.New
	// RetryAfter is how long the other side asks not to be asked again (Retry-After, RFC 9110 section 10.2.3); 0 where it says nothing.
	// The engine waits at least so long before another try, within bounds.
	RetryAfter time.Duration
	// Unsent says that nothing of the request has left (a refused connection, an open breaker), so that another try is no second
	// effect, whatever was asked.
	Unsent bool
}

// E builds the common form of an error: a code, what was being done, where, and what is wrong.
func E(code Code, op, path, msg string) *Error {
	return &Error{Code: code, Op: op, Path: path, Err: errors.New(msg)}
}

// Error gives "op: path: cause (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	for _, s := range []string{e.Op, e.Path} {
		if s != "" {
			b.WriteString(s)
			b.WriteString(": ")
		}
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(string(e.Code))
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf finds the code of err: that of the outermost [Error] in its chain,
// timeout and cancelled for the context errors, else internal. Nil gives "".
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) && e.Code != "" {
		return e.Code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return Internal
}

// RetryAfterOf is how long the other side asked not to be asked again: that of the outermost [Error] in err's chain that says
// so, 0 where none does.
func RetryAfterOf(err error) time.Duration {
	var e *Error
	for next := err; errors.As(next, &e); next = e.Err {
		if e.RetryAfter > 0 {
			return e.RetryAfter
		}
	}
	return 0
}

// IsUnsent reports whether an [Error] in err's chain says that nothing of the request has left.
func IsUnsent(err error) bool {
	var e *Error
	for next := err; errors.As(next, &e); next = e.Err {
		if e.Unsent {
			return true
		}
	}
	return false
}

// ErrDisconnected is returned by [Source.Read] when the connection was lost and the
// engine should call Open again, after a pause.
var ErrDisconnected = errors.New("disconnected")
