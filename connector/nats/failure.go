package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
)

// kind is what an error of the client means.
type kind struct {
	is     error
	code   penstock.Code
	unsent bool
	hint   string
}

// kinds are looked through in order.
var kinds = []kind{
	{nats.ErrAuthorization, penstock.Unauthenticated, true, "check `user` and `password`, `token`, `nkey` or `credentials` of the Connection, and what the server knows of them"},
	{nats.ErrAuthExpired, penstock.Unauthenticated, true, "the user's JWT has expired: give new `credentials`"},
	{nats.ErrAuthRevoked, penstock.Unauthenticated, true, "the user was revoked: give other `credentials`"},
	{nats.ErrAccountAuthExpired, penstock.Unauthenticated, true, "the account's JWT has expired: whoever runs the servers has to renew it"},
	{nats.ErrNkeysNotSupported, penstock.Config, true, "the server knows no NKeys"},
	{nats.ErrSecureConnWanted, penstock.Config, true, "the server has no TLS: leave `tls` out, or set it up there"},
	{nats.ErrSecureConnRequired, penstock.Config, true, "the server wants TLS: add `tls: {}`"},
	{nats.ErrPermissionViolation, penstock.Forbidden, true, "give the user the permission"},
	{nats.ErrMaxPayload, penstock.TooLarge, true, "the server takes no larger messages: raise its max_payload, or send less"},
	{nats.ErrHeadersNotSupported, penstock.Config, true, "the server is older than 2.2 and knows no headers"},
	{nats.ErrBadSubject, penstock.Unprocessable, true, ""},
	{nats.ErrNoServers, penstock.Unavailable, true, "see that a server runs and can be reached"},
	{nats.ErrConnectionClosed, penstock.Unavailable, true, ""},
	{nats.ErrReconnectBufExceeded, penstock.Unavailable, true, ""},
	{nats.ErrConnectionReconnecting, penstock.Unavailable, true, ""},
	{nats.ErrMaxConnectionsExceeded, penstock.Unavailable, true, "the server takes no more connections: raise its max_connections"},
	{nats.ErrMaxAccountConnectionsExceeded, penstock.Unavailable, true, "the account has no connection left"},
	{nats.ErrDisconnected, penstock.Unavailable, false, ""},
	{nats.ErrTimeout, penstock.Timeout, false, ""},
	{context.DeadlineExceeded, penstock.Timeout, false, ""},
	{nats.ErrNoResponders, penstock.Unavailable, true, "nobody listens there"},
}

// apiCodes are what error codes of JetStream mean that their HTTP-like code doesn't say (errors.json of nats-server).
var apiCodes = map[jetstream.ErrorCode]kind{
	10002: {code: penstock.Limited, hint: "the account's limits are reached"},
	10003: {code: penstock.Config},
	10023: {code: penstock.Limited, hint: "the server has no memory or disk left for it"},
	10028: {code: penstock.Limited, hint: "the server's memory for streams is full"},
	10039: {code: penstock.Config, hint: "enable JetStream for the account"},
	10047: {code: penstock.Limited, hint: "the server's disk for streams is full"},
	10054: {code: penstock.TooLarge, hint: "raise max_msg_size of the stream, or send less"},
	10060: {code: penstock.Config, hint: "another stream takes this subject: name that in `stream`, or change the subjects of one of them"},
	10070: {code: penstock.Conflict},
	10071: {code: penstock.Conflict},
	10076: {code: penstock.Config, hint: "start the server with JetStream (-js)"},
	10077: {code: penstock.Limited, hint: "the stream is full: raise its limits (max_msgs, max_bytes), see that its messages are consumed, or let it discard old ones"},
	10097: {code: penstock.TooLarge, hint: "the headers are larger than 64 KiB"},
	10109: {code: penstock.Forbidden, hint: "the stream is sealed: nothing can be written to it any more"},
	10158: {code: penstock.Unavailable},
	10163: {code: penstock.Unavailable},
	10164: {code: penstock.Conflict},
	10165: {code: penstock.Unprocessable, hint: "Nats-TTL is a duration such as 30s, or seconds"},
	10166: {code: penstock.Config, hint: "let the stream have TTLs of messages: allow_msg_ttl"},
}

// failure makes an Error of what the client says of the connection.
func (l *link) failure(err error) error { return failure(err, "connection "+l.name, true) }

// failure makes an Error of what the client says. unsent says that nothing can have arrived.
func failure(err error, at string, unsent bool) error {
	if err == nil {
		return nil
	}
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "nats", Path: at, Err: plain(err), Unsent: unsent}
	if errors.Is(err, context.Canceled) {
		out.Code = penstock.Cancelled
		return out
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		out.Code, out.Hint = penstock.Config, "the server's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
		return out
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return apiFailure(api, at)
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return apiFailure(js.APIError(), at)
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			out.Code, out.Hint, out.Unsent = k.code, k.hint, unsent || k.unsent
			return out
		}
	}
	// The server says why it ends a connection at its beginning in a TLS alert, if that arrives before the connection ends.
	if text := err.Error(); strings.Contains(text, "tls: ") && strings.Contains(text, "remote error") || strings.Contains(text, "after TLS handshake") {
		out.Code, out.Hint = penstock.Unauthenticated, "the server refuses our certificate: see that `tls: { certificate, privateKey }` are given, valid, and of an authority that it trusts"
	}
	return out
}

// apiFailure is an error of JetStream.
func apiFailure(e *jetstream.APIError, at string) *penstock.Error {
	out := &penstock.Error{Code: penstock.Internal, Op: "nats", Path: at, Err: fmt.Errorf("%s (err_code %d)", e.Description, e.ErrorCode), Unsent: true}
	switch {
	case e.Code == 400:
		out.Code = penstock.Unprocessable
	case e.Code == 403:
		out.Code = penstock.Forbidden
	case e.Code == 404:
		out.Code = penstock.NotFound
	case e.Code == 408:
		out.Code = penstock.Timeout
	case e.Code == 409:
		out.Code = penstock.Conflict
	case e.Code >= 500:
		out.Code = penstock.Unavailable
	}
	if k, ok := apiCodes[e.ErrorCode]; ok {
		out.Code, out.Hint = k.code, k.hint
	}
	return out
}

// plain takes the client's prefix from an error of one line.
func plain(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "nats: "); ok {
		return &worded{strings.TrimSpace(text), err}
	}
	return err
}

// worded is an error in other words.
type worded struct {
	text string
	err  error
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.err }
