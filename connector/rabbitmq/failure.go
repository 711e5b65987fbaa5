package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// failure makes an Error of what the client says of a channel or connection that was open; nil of nil.
func (l *link) failure(ctx context.Context, err error, what string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Op: "rabbitmq", Path: l.at, Err: fmt.Errorf("%s: %w", what, context.Cause(ctx))}
	}
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "rabbitmq", Path: l.at, Err: fmt.Errorf("%s: %w", what, err)}
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server {
		return out
	}
	out.Err = fmt.Errorf("%s: %s (%d)", what, e.Reason, e.Code)
	out.Code, out.Hint = meaning(e)
	return out
}

// meaning is the code and the hint of what the server says (AMQP 0.9.1, section 1.8 of the reference: reply codes).
func meaning(e *amqp.Error) (penstock.Code, string) {
	has := func(words string) bool { return strings.Contains(e.Reason, words) }
	switch e.Code {
	case amqp.NotFound:
		if has("is down or inaccessible") || has("has crashed") || has("failed to perform operation on queue") {
			return penstock.Unavailable, ""
		}
		return penstock.NotFound, "check the name and the virtual host; what isn't there yet is made by `declare`, or by who runs the server"
	case amqp.AccessRefused:
		if has("in exclusive use") {
			return penstock.Conflict, "another consumer has the queue for itself: end that one, or leave `exclusive` out. For one that takes over when another dies, declare the queue with `singleActiveConsumer: true`"
		}
		if has("Login was refused") {
			return penstock.Unauthenticated, "check user and password"
		}
		return penstock.Forbidden, "give the user the permission that it needs: rabbitmqctl set_permissions"
	case amqp.ResourceLocked:
		return penstock.Conflict, "the queue belongs to another connection alone"
	case amqp.PreconditionFailed:
		if has("inequivalent arg") {
			return penstock.Config, "it is there with other arguments: change `declare` to what is there, or give it another name; arguments of a queue that is there can't be changed"
		}
		if has(streamOffset) {
			return penstock.Config, "the queue is no stream: leave `stream` out"
		}
		if has("larger than") {
			return penstock.TooLarge, "raise max_message_size of the server, or split the message"
		}
		if has("delivery acknowledgement") && has("timed out") {
			return penstock.Unavailable, "messages were not settled within the server's consumer_timeout: lower `prefetch`, or raise consumer_timeout"
		}
		return penstock.Config, ""
	case amqp.ContentTooLarge:
		return penstock.TooLarge, ""
	case amqp.NotAllowed:
		if has("limit") { // connections, channels
			return penstock.Limited, "raise the limit of the virtual host or user"
		}
		return penstock.Forbidden, "check the virtual host, and that the user may use it: rabbitmqctl set_permissions -p <vhost>"
	case amqp.NotImplemented:
		return penstock.Config, ""
	case amqp.ResourceError:
		return penstock.Limited, ""
	}
	return penstock.Unavailable, ""
}

// fromServer says that an error is what the server says.
func fromServer(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server
}

// refused makes an Error of why a connection could not be opened.
func (l *link) refused(ctx context.Context, err error, at, what string) error {
	if ctx.Err() != nil {
		return &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Op: "rabbitmq", Path: at, Err: fmt.Errorf("%s: %w", what, context.Cause(ctx)), Unsent: true}
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "rabbitmq", Path: at, Err: fmt.Errorf("%s: %w", what, err), Hint: "see that the server runs and can be reached", Unsent: true}
	var untrusted *tls.CertificateVerificationError
	var alert *net.OpError
	var e *amqp.Error
	switch {
	case errors.As(err, &untrusted):
		out.Hint = "the server's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
		if strings.Contains(err.Error(), "expired") {
			out.Hint = "the server's certificate has expired: renew it"
		}
	case errors.As(err, &alert) && alert.Op == "remote error": // a TLS alert
		out.Hint = "the server refuses our certificate, or wants one: check `tls: { certificate, privateKey }`"
	case errors.As(err, &e) && (e.Server || errors.Is(e, amqp.ErrSASL)):
		switch {
		case e.Server && e.Code == amqp.AccessRefused && strings.Contains(e.Reason, "refused"):
			out.Code, out.Hint = penstock.Unauthenticated, "check user and password"
			if l.config.Auth == "external" {
				out.Hint = "check that a user has the name in the certificate, and that the server has the plugin rabbitmq_auth_mechanism_ssl"
			}
		case e.Server:
			out.Code, out.Hint = meaning(e)
		case errors.Is(e, amqp.ErrSASL):
			out.Code, out.Hint = penstock.Config, "the server does not offer this way to log in: check `auth`"
		}
		if e.Server {
			out.Err = fmt.Errorf("%s: %s (%d)", what, e.Reason, e.Code)
		}
	case what == "log in":
		out.Err = fmt.Errorf("the server has broken the connection off while we logged in: %w", err)
		out.Hint = "see that it runs, that it speaks AMQP 0.9.1 on this port, and whether it wants TLS; some servers do so, too, where user, password or virtual host are wrong"
	}
	return out
}
