package pulsar

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
)

// kind is what an error of the client or the broker means.
type kind struct {
	word string // in the error's text: the broker's errors reach us as text only
	code penstock.Code
	hint string
}

// kinds are looked through in order (ServerError in PulsarApi.proto, and those of the client).
var kinds = []kind{
	{"AuthenticationError", penstock.Unauthenticated, "check `token`, `user` and `password`, `oauth2`, or `tls: { certificate, privateKey }` of the Connection, and what the brokers know of them"},
	{"AuthorizationError", penstock.Forbidden, "grant the role what it needs: pulsar-admin namespaces grant-permission <tenant/namespace> --role <role> --actions produce,consume"},
	{"TopicNotFound", penstock.NotFound, "make it: pulsar-admin topics create <topic> (or create-partitioned-topic, or let a Channel make it), and check its name, tenant and namespace"},
	{"Topic Not Found", penstock.NotFound, "make it: pulsar-admin topics create <topic> (or create-partitioned-topic, or let a Channel make it), and check its name, tenant and namespace"},
	{"Namespace not found", penstock.NotFound, "make it: pulsar-admin namespaces create <tenant/namespace>, or check its name"},
	{"Policies not found", penstock.NotFound, "make it: pulsar-admin namespaces create <tenant/namespace>, or check its name"},
	{"Tenant not found", penstock.NotFound, "make it: pulsar-admin tenants create <tenant>, or check its name"},
	{"TopicTerminated", penstock.Conflict, "the topic was ended: nothing can be written to it any more"},
	{"Topic was terminated", penstock.Conflict, "the topic was ended: nothing can be written to it any more"},
	{"IncompatibleSchema", penstock.Config, "use a schema that is compatible with the topic's, by the rule of its namespace: pulsar-admin schemas get <topic>"},
	{"ConsumerBusy", penstock.Unavailable, "an exclusive subscription has one consumer at a time; say `type: failover`, shared or key_shared, or another `subscription`"},
	{"ConsumerAssignError", penstock.Unavailable, ""},
	{"ProducerBusy", penstock.Unavailable, "a producer of this name is connected"},
	{"ProducerFenced", penstock.Unavailable, "another producer has the topic for itself"},
	{"ProducerBlockedQuotaExceeded", penstock.Limited, "the backlog of the topic is full: see that its subscriptions are read, or raise the quota: pulsar-admin namespaces set-backlog-quota"},
	{"producer blocked", penstock.Limited, "the backlog of the topic is full: see that its subscriptions are read, or raise the quota: pulsar-admin namespaces set-backlog-quota"},
	{"exceeds MaxMessageSize", penstock.TooLarge, "the brokers take no larger messages: raise maxMessageSize there, say `chunking: true`, or send less"},
	{"MessageTooBig", penstock.TooLarge, "the brokers take no larger messages: raise maxMessageSize there, say `chunking: true`, or send less"},
	{"NotAllowedError", penstock.Config, ""},
	{"InvalidTopicName", penstock.Config, ""},
	{"UnsupportedVersionError", penstock.Config, "the brokers are too old for this"},
	{"Invalid service URL", penstock.Config, ""},
	{"send timeout", penstock.Timeout, ""},
	{"request timed out", penstock.Timeout, ""},
	{"TooManyRequests", penstock.Limited, ""},
}

// denied are the broker's own words for what it does not let us do, which come with differing codes.
var denied = []string{"is not authorized", "not authorized to", "Client is not authorized", "Don't have permission", "Unauthorized to"}

// failure makes an Error of what the client says.
func failure(err error, at string) error {
	if err == nil {
		return nil
	}
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "pulsar", Path: at, Err: err}
	switch {
	case errors.Is(err, context.Canceled):
		out.Code = penstock.Cancelled
		return out
	case errors.Is(err, context.DeadlineExceeded):
		out.Code = penstock.Timeout
		return out
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		out.Code, out.Hint = penstock.Config, "the broker's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
		return out
	}
	text := err.Error()
	var alert tls.AlertError
	if errors.As(err, &alert) || strings.Contains(text, "tls: ") && strings.Contains(text, "remote error") {
		out.Code, out.Hint = penstock.Unauthenticated, "the broker refuses our certificate: see that `tls: { certificate, privateKey }` are given, valid, and of an authority that it trusts"
		return out
	}
	if strings.Contains(text, "first record does not look like a TLS handshake") {
		out.Code, out.Hint = penstock.Config, "there is no TLS at that address: begin `url` with pulsar://, or give the port of TLS, which is 6651 mostly"
		return out
	}
	for _, w := range denied {
		if strings.Contains(text, w) {
			out.Code, out.Hint = penstock.Forbidden, kinds[1].hint
			return out
		}
	}
	for _, k := range kinds {
		if strings.Contains(text, k.word) {
			out.Code, out.Hint = k.code, k.hint
			return out
		}
	}
	var e *client.Error
	if errors.As(err, &e) && e.Result() == client.InvalidConfiguration {
		out.Code = penstock.Config
	}
	return out
}
