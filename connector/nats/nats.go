// Package nats speaks to NATS: core subjects, JetStream and key-value buckets. It reads them (from), answers requests (from with reply), writes
// to them (to), and asks by request-reply or in a bucket (call).
//
// A JetStream source receives each message under a sequence number of its stream, which is the message's position for all time. How it keeps to the
// order of the stream, though a consumer gives again out of turn what was not acknowledged, says type line.
package nats

import (
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "nats",
		Summary: "A NATS server or cluster.",
	})
	penstock.RegisterSource(r, sourceSpec, newSource)
	penstock.RegisterServer(r, serverSpec, newServer)
	penstock.RegisterSink(r, sinkSpec, newSink)
	penstock.RegisterCaller(r, callerSpec, newCaller)
	penstock.RegisterChannel[ChannelConfig](r, penstock.Spec{Name: "nats", Summary: "A stream of JetStream, which each flow reads by a durable consumer."})
}

// config is an error of the configuration.
func config(at, hint, format string, args ...any) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "nats", Path: at, Err: fmt.Errorf(format, args...), Hint: hint}
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("nats", env) }

// checkSubject says what is wrong with a subject, whose wildcards are allowed or not.
func checkSubject(subject string, wildcards bool) error {
	if subject == "" {
		return errors.New("the subject is empty")
	}
	tokens := strings.Split(subject, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return fmt.Errorf("the subject %q has an empty token: no dot may begin or end it, or follow another", subject)
		case strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return fmt.Errorf("the subject %q has a space or control character", subject)
		case !wildcards && (t == "*" || t == ">"):
			return fmt.Errorf("the subject %q has a wildcard, and this is sent to one subject", subject)
		case t == ">" && i < len(tokens)-1:
			return fmt.Errorf("the subject %q has `>` before its end", subject)
		case len(t) > 1 && strings.ContainsAny(t, "*>") && wildcards:
			return fmt.Errorf("the subject %q has a wildcard that is only a part of its token", subject)
		}
	}
	return nil
}

// checkName says what is wrong with the name of a stream or consumer.
func checkName(what, name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`.*>/\`, r) || r == 0x7f }) {
		return fmt.Errorf("%s %q: a name has no spaces, dots, slashes, `*` or `>`", what, name)
	}
	return nil
}

// checkBucket says what is wrong with the name of a key-value bucket.
func checkBucket(name string) error {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return fmt.Errorf("bucket %q: a name has letters, digits, `_` and `-` only", name)
		}
	}
	return nil
}

// isStatic says that a template has no ${…}, so that it can be looked at before it is compiled.
func isStatic(t penstock.Template) bool { return !strings.Contains(t.Source, "${") }
