// Package pulsar speaks to Apache Pulsar: it reads topics by a subscription (from) and writes to them (to).
//
// The client mends its connections by itself, and the broker then gives again whatever was not acknowledged. Type ledger knows what of
// that is here already.
package pulsar

import (
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{Name: "pulsar", Summary: "A cluster of Apache Pulsar."})
	penstock.RegisterSource(r, sourceSpec, newSource)
	penstock.RegisterSink(r, sinkSpec, newSink)
	penstock.RegisterChannel[ChannelConfig](r, penstock.Spec{Name: "pulsar", Summary: "A topic of Pulsar, which each flow reads by a subscription."})
}

// config is an error of the configuration.
func config(at, hint, format string, args ...any) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "pulsar", Path: at, Err: fmt.Errorf(format, args...), Hint: hint}
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("pulsar", env) }

// isStatic says that a template has no ${…}, so that it can be looked at before it is compiled.
func isStatic(t penstock.Template) bool { return !strings.Contains(t.Source, "${") }

// topic is the name of a topic, in its parts.
type topic struct {
	persistent              bool
	tenant, namespace, name string
}

// parseTopic reads the name of a topic: orders, tenant/namespace/orders or persistent://tenant/namespace/orders.
func parseTopic(text string) (t topic, err error) {
	bad := func(why string) (topic, error) {
		return topic{}, fmt.Errorf("the topic %q %s: write orders, tenant/namespace/orders or persistent://tenant/namespace/orders", text, why)
	}
	if text == "" {
		return topic{}, errors.New("the topic is empty")
	}
	t.persistent = true
	domain, rest, full := strings.Cut(text, "://")
	switch {
	case !full:
		rest = text
	case domain == "non-persistent":
		t.persistent = false
	case domain != "persistent":
		return bad("begins with " + domain + "://")
	}
	parts := strings.Split(rest, "/")
	switch len(parts) {
	case 1:
		if full {
			return bad("names no tenant and namespace")
		}
		t.tenant, t.namespace, t.name = "public", "default", rest
	case 3:
		t.tenant, t.namespace, t.name = parts[0], parts[1], parts[2]
	default:
		return bad("has neither one part nor three")
	}
	for _, p := range []string{t.tenant, t.namespace, t.name} {
		if p == "" || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`%?#\`, r) }) {
			return bad("has an empty part, or one with a space or one of %?#\\ in it")
		}
	}
	return t, nil
}

// String is the whole name.
func (t topic) String() string {
	if t.persistent {
		return "persistent://" + t.path()
	}
	return "non-persistent://" + t.path()
}

func (t topic) path() string { return t.tenant + "/" + t.namespace + "/" + t.name }

// checkTopic says what is wrong with a topic that is to be read or written.
func checkTopic(text string) error {
	t, err := parseTopic(text)
	if err == nil && !t.persistent {
		err = fmt.Errorf("the topic %s keeps nothing: what comes while nobody listens is lost, and nothing is confirmed when it is written; use a persistent one", text)
	}
	return err
}

// checkName says what is wrong with the name of a subscription or producer.
func checkName(what, name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' }) {
		return fmt.Errorf("%s %q: a name has no spaces and no slashes", what, name)
	}
	return nil
}

// flowOf makes a name for a subscription of an endpoint's: "orders" of "orders/from", "orders-from2" of "orders/from2".
func flowOf(endpoint string) string {
	flow, at, _ := strings.Cut(endpoint, "/")
	if at != "" && at != "from" {
		flow += "-" + at
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' {
			return '-'
		}
		return r
	}, flow)
}
