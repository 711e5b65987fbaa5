package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock"
)

// refusal is a reason code (MQTT 5, section 2.4) with what the broker says beside it.
type refusal struct {
	code byte
	text string
}

func (r *refusal) Error() string {
	name := reasons[r.code].text
	if name == "" {
		name = "refused"
	}
	if r.text != "" && r.text != name {
		name += ": " + r.text
	}
	return fmt.Sprintf("%s (0x%02X)", name, r.code)
}

// reason is what a reason code means.
type reason struct {
	text string
	code penstock.Code
	hint string
}

// reasons are those of MQTT 5, section 2.4, that are failures.
var reasons = map[byte]reason{
	packets.ConnackUnspecifiedError:              {"unspecified error", penstock.Unavailable, ""},
	packets.ConnackMalformedPacket:               {"malformed packet", penstock.Internal, ""},
	packets.ConnackProtocolError:                 {"protocol error", penstock.Internal, ""},
	packets.ConnackImplementationSpecificError:   {"the broker does not accept it", penstock.Unavailable, "see the broker's log"},
	packets.ConnackUnsupportedProtocolVersion:    {"the broker does not speak MQTT 5", penstock.Config, "use a broker that does: Mosquitto 1.6, EMQX 3, HiveMQ 4 and later"},
	packets.ConnackInvalidClientID:               {"the client identifier is not allowed", penstock.Config, "change `clientId`"},
	packets.ConnackBadUsernameOrPassword:         {"bad user or password", penstock.Unauthenticated, "check user and password"},
	packets.ConnackNotAuthorized:                 {"not authorized", penstock.Forbidden, "give the user the permission that it needs (ACL of the broker)"},
	packets.ConnackServerUnavailable:             {"the broker is not available", penstock.Unavailable, ""},
	packets.ConnackServerBusy:                    {"the broker is busy", penstock.Limited, ""},
	packets.ConnackBanned:                        {"this client is banned", penstock.Forbidden, ""},
	packets.DisconnectServerShuttingDown:         {"the broker shuts down", penstock.Unavailable, ""},
	packets.ConnackBadAuthenticationMethod:       {"bad authentication method", penstock.Config, ""},
	packets.DisconnectKeepAliveTimeout:           {"the broker has not heard of us for too long", penstock.Unavailable, ""},
	packets.DisconnectSessionTakenOver:           {"another client has taken over the session", penstock.Conflict, "give each process a `clientId` of its own: two of the same name put each other out"},
	packets.DisconnectTopicFilterInvalid:         {"the topic filter is invalid", penstock.Config, "check `topics`"},
	packets.ConnackTopicNameInvalid:              {"the topic is not allowed", penstock.Unprocessable, "check the topic"},
	packets.PubackPacketIdentifierInUse:          {"packet identifier in use", penstock.Unavailable, ""},
	packets.DisconnectReceiveMaximumExceeded:     {"receive maximum exceeded", penstock.Unavailable, ""},
	packets.ConnackPacketTooLarge:                {"the packet is too large", penstock.TooLarge, "raise the broker's limit, or split the message"},
	packets.DisconnectMessageRateTooHigh:         {"too many messages a second", penstock.Limited, ""},
	packets.ConnackQuotaExceeded:                 {"quota exceeded", penstock.Limited, ""},
	packets.DisconnectAdministrativeAction:       {"the broker's operator has ended the connection", penstock.Unavailable, ""},
	packets.ConnackPayloadFormatInvalid:          {"the payload is not of its format", penstock.Unprocessable, ""},
	packets.ConnackRetainNotSupported:            {"the broker keeps no messages", penstock.Config, "leave `retain` out"},
	packets.ConnackQoSNotSupported:               {"the broker does not support this QoS", penstock.Config, "lower `qos`"},
	packets.ConnackUseAnotherServer:              {"another broker is to be used", penstock.Unavailable, "change the `url`"},
	packets.ConnackServerMoved:                   {"the broker has moved", penstock.Config, "change the `url`"},
	packets.SubackSharedSubscriptionnotsupported: {"the broker has no shared subscriptions", penstock.Config, "leave `share` out"},
	packets.ConnackConnectionRateExceeded:        {"too many connections a second", penstock.Limited, ""},
	0xA1:                                         {"the broker has no subscription identifiers", penstock.Config, ""},
	0xA2:                                         {"the broker has no wildcards", penstock.Config, "name the topics in full"},
}

// disconnected is why the broker has ended a connection.
func disconnected(d *paho.Disconnect) error {
	r := &refusal{code: d.ReasonCode}
	if d.Properties != nil {
		r.text = d.Properties.ReasonString
	}
	return r
}

// failure makes an Error of why something failed on a connection that was open; nil of nil.
func (s *session) failure(ctx context.Context, err error, what string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Op: "mqtt", Path: s.at, Err: fmt.Errorf("%s: %w", what, context.Cause(ctx))}
	}
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "mqtt", Path: s.at, Err: fmt.Errorf("%s: %w", what, err)}
	var r *refusal
	if errors.As(err, &r) {
		if is, ok := reasons[r.code]; ok {
			out.Code, out.Hint = is.code, is.hint
		}
	}
	return out
}

// refused makes an Error of why a connection could not be opened. answer is what the broker says, if it does.
func (s *session) refused(ctx context.Context, err error, answer *paho.Connack) error {
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	if answer != nil && answer.ReasonCode >= packets.ConnackUnspecifiedError {
		r := &refusal{code: answer.ReasonCode}
		if answer.Properties != nil {
			r.text = answer.Properties.ReasonString
		}
		out := s.failure(ctx, r, "connect")
		var e *penstock.Error
		if errors.As(out, &e) && r.code == packets.ConnackNotAuthorized { // some brokers say so of a wrong password, too
			e.Code, e.Hint = penstock.Unauthenticated, "check user and password, and that the user may connect"
		}
		return out
	}
	out, ok := s.failure(ctx, err, "connect").(*penstock.Error) //nolint:errorlint // just made
	if !ok || ctx.Err() != nil {
		return s.failure(ctx, err, "connect")
	}
	out.Unsent = true
	out.Hint = "see that the broker runs and can be reached, and that it speaks MQTT 5 on this port"
	var untrusted *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.As(err, &untrusted):
		out.Hint = "the broker's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
		if expired(untrusted) {
			out.Hint = "the broker's certificate has expired: renew it"
		}
	case errors.As(err, &alert) && alert.Op == "remote error", // a TLS alert
		errors.As(err, new(*early)) && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)): // behind which it has closed the connection, so that it may not arrive
		out.Hint = "the broker refuses our certificate, or wants one: check `tls: { certificate, privateKey }`"
	}
	return out
}

// early is what fails on a connection with TLS before the broker has said anything on it: it may have refused our certificate (RFC 8446, section 4.4.2.4, lets the
// client be done before the server is).
type early struct{ error }

// Unwrap gives what has failed.
func (e *early) Unwrap() error { return e.error }

// expired says that a certificate was good once.
func expired(err *tls.CertificateVerificationError) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err.Err, &invalid) && invalid.Reason == x509.Expired
}
