package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
)

// meaning is what an error of the protocol is to Penstock.
type meaning struct {
	code penstock.Code
	hint string
}

// meanings are those of Kafka's error codes that are not simply temporary (https://kafka.apache.org/protocol#protocol_error_codes).
var meanings = map[error]meaning{
	kerr.SaslAuthenticationFailed:           {penstock.Unauthenticated, "check user and password (or the token), and that the broker knows this user with this mechanism"},
	kerr.UnsupportedSaslMechanism:           {penstock.Config, "the broker has other mechanisms: see its sasl.enabled.mechanisms"},
	kerr.IllegalSaslState:                   {penstock.Config, "the port that is connected to does not want SASL: leave `sasl` out, or use the port that does"},
	kerr.TopicAuthorizationFailed:           {penstock.Forbidden, "give the user the right to Read (sources) or Write (sinks) the topic, and to Describe it"},
	kerr.GroupAuthorizationFailed:           {penstock.Forbidden, "give the user the right to Read the group"},
	kerr.ClusterAuthorizationFailed:         {penstock.Forbidden, "give the user the right that the cluster asks for"},
	kerr.TransactionalIDAuthorizationFailed: {penstock.Forbidden, "give the user the right to Write the transactional id, and to Describe it"},
	kerr.UnknownTopicOrPartition:            {penstock.NotFound, "make the topic, or check its name"},
	kerr.UnknownTopicID:                     {penstock.NotFound, "the topic was deleted, and perhaps made anew"},
	kerr.InvalidTopicException:              {penstock.Config, "check the topic's name"},
	kerr.MessageTooLarge:                    {penstock.TooLarge, "raise `maxMessage` of the sink, and max.message.bytes of the topic"},
	kerr.RecordListTooLarge:                 {penstock.TooLarge, "raise segment.bytes of the topic"},
	kerr.InvalidRecord:                      {penstock.Unprocessable, "the broker refuses it: a topic that is compacted wants a key"},
	kerr.InvalidTimestamp:                   {penstock.Unprocessable, "the topic bounds how far a timestamp may be from now: leave `timestamp` out"},
	kerr.FencedInstanceID:                   {penstock.Config, "another member of the group has the same `instanceId`: each needs its own"},
	kerr.InvalidSessionTimeout:              {penstock.Config, "choose `session` within the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"},
	kerr.InconsistentGroupProtocol:          {penstock.Config, "the group's other members assign partitions otherwise, or are no consumers: give this flow a `group` of its own"},
	kerr.InvalidGroupID:                     {penstock.Config, "check `group`"},
	kerr.UnsupportedVersion:                 {penstock.Config, "the broker is too old for this"},
	kerr.UnsupportedForMessageFormat:        {penstock.Config, "the topic's messages are of a format that is too old for headers"},
	kerr.InvalidReplicationFactor:           {penstock.Config, "the cluster has not so many brokers: lower `replication`"},
	kerr.InvalidConfig:                      {penstock.Config, "check the topic's `config`"},
	kerr.InvalidPartitions:                  {penstock.Config, "check `partitions`"},
	kerr.PolicyViolation:                    {penstock.Config, "the cluster's policy forbids it"},
	kerr.ProducerFenced:                     {penstock.Conflict, "another process writes with the same `transactionalId`: each needs its own"},
	kerr.InvalidProducerEpoch:               {penstock.Conflict, "another process writes with the same `transactionalId`, or the transaction took too long"},
	kerr.InvalidProducerIDMapping:           {penstock.Conflict, ""},
	kerr.IllegalGeneration:                  {penstock.Conflict, ""},
	kerr.UnknownMemberID:                    {penstock.Conflict, ""},
	kerr.RebalanceInProgress:                {penstock.Conflict, ""},
	kerr.StaleMemberEpoch:                   {penstock.Conflict, ""},
	kerr.ThrottlingQuotaExceeded:            {penstock.Limited, ""},
}

// failure makes an Error of what the client says. Where it only says that something took too long, and no connection can be made, that is why.
func (c *cluster) failure(err error) error {
	if err == nil {
		return nil
	}
	out := c.reason(err)
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	var known, why *penstock.Error
	if penstock.CodeOf(out) == penstock.Timeout && errors.As(out, &known) && errors.As(last, &why) {
		return &penstock.Error{Code: why.Code, Op: "kafka", Path: c.name, Err: fmt.Errorf("%w; the last connection: %w", known.Err, why.Err), Hint: why.Hint}
	}
	return out
}

// reason makes an Error of what the client says, by itself.
func (c *cluster) reason(err error) error {
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "kafka", Path: c.name, Err: err}
	var ke *kerr.Error
	var large *kgo.ErrDecompressTooLarge
	var eof *kgo.ErrFirstReadEOF
	switch {
	case errors.As(err, &ke):
		if m, ok := meanings[ke]; ok {
			out.Code, out.Hint = m.code, m.hint
		} else if !ke.Retriable {
			out.Code = penstock.Internal
		}
		return out
	case errors.Is(err, context.Canceled):
		out.Code = penstock.Cancelled
		return out
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		out.Code, out.Hint = penstock.Timeout, "the broker did not confirm it in time"
		return out
	case errors.As(err, &large):
		out.Code, out.Hint = penstock.TooLarge, "a batch of the topic is too large when it is unpacked"
		return out
	case errors.As(err, &eof), strings.Contains(err.Error(), "invalid large response size"): // the latter is an alert of TLS, read as a size
		out.Hint = c.mismatch()
		return out
	case c.config.SASL != nil && strings.Contains(err.Error(), "oauth response"): // the broker's word for a token that it does not like
		out.Code, out.Hint = penstock.Unauthenticated, "the broker refuses the token: see that it is meant for it, and has not expired"
		return out
	}
	out.Code, out.Hint = c.dialling(err)
	return out
}

// dialling says what is wrong with a connection that could not be made.
func (c *cluster) dialling(err error) (penstock.Code, string) {
	var untrusted *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var remote *net.OpError
	var record tls.RecordHeaderError
	var ne net.Error
	switch {
	case errors.As(err, &untrusted) && errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return penstock.Unauthenticated, "the broker's certificate has expired: it has to be renewed there"
	case errors.As(err, &untrusted):
		return penstock.Unauthenticated, "the broker's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert of TLS
		return penstock.Unauthenticated, "the broker refuses this side's certificate: see `tls: { certificate, privateKey }`"
	case errors.As(err, &record), errors.Is(err, io.EOF):
		return penstock.Unavailable, c.mismatch()
	case errors.As(err, &ne) && ne.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return penstock.Timeout, "see that the brokers run and can be reached, at the addresses that they advertise, too"
	}
	return penstock.Unavailable, "see that the brokers run and can be reached, at the addresses that they advertise, too"
}

// mismatch is what a connection that ends at once mostly means.
func (c *cluster) mismatch() string {
	switch {
	case c.config.TLS == nil && c.config.SASL == nil:
		return "the broker ended the connection at once: perhaps this port wants `tls` or `sasl`"
	case c.config.TLS == nil:
		return "the broker ended the connection at once: perhaps this port wants `tls`, or no `sasl`"
	}
	return "the broker ended the connection at once: perhaps this port has no TLS, or another `sasl`"
}

// gone asks for a new Open where that may help.
func gone(err error) error {
	if err == nil || !penstock.CodeOf(err).Transient() {
		return err
	}
	return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
}

// logger hands on what the client says. It says much that is not worth a person's time, so all of it is for debugging: what is, the driver says itself.
type logger struct{ to *slog.Logger }

// Level implements kgo.Logger.
func (l logger) Level() kgo.LogLevel {
	if l.to.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelNone
}

// Log implements kgo.Logger.
func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	l.to.Debug("kafka: "+msg, append(keyvals, "kafkaLevel", level.String())...)
}
