package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Kind says what sort of failure an [Error] is.
type Kind uint8

// The kinds.
const (
	Refused  Kind = iota // the request can't be sent: its target or a header is malformed
	Dial                 // no connection: the name was not found, nobody listens there
	TLS                  // no secure connection: the certificate is not trusted, expired, or another host's
	Timeout              // the other side took longer than it may
	Closed               // the connection ended before there was an answer
	Broken               // the connection ended within the answer
	Protocol             // the answer is no HTTP, or ambiguous
	TooLarge             // the answer is over a limit
	Stopped              // the client was closed
)

// Error is what a request failed with. Where the caller's context ended it is that context's error instead.
type Error struct {
	Kind Kind
	// Sent says that the other side may have seen the request; where it is false, nothing has happened there.
	Sent bool
	// Op is what was being done: "connect", "write", "read the answer".
	Op string
	// Err is the cause.
	Err error
}

// Error gives "op: cause".
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func protocol(msg string) *Error {
	return &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: errors.New(msg)}
}

// errAborted stands for the end of the caller's context, until it is known what that ended with.
var errAborted = errors.New("aborted")

// isTimeout reports whether a deadline has passed.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// isGone reports whether the other side has closed the connection.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, net.ErrClosed)
}

// isAlert reports whether the other side has ended the TLS session with a reason: in TLS 1.3 what it thinks of our certificate comes
// after the handshake.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
