// Package kafka speaks to Kafka, and to what speaks its protocol: it reads topics as a member of a consumer group (from), and writes to them (to).
//
// It stands on franz-go. What is read keeps its place for all time, a topic's partition and an offset, so that the engine can keep account of
// it; and the group is told, too, so that others see how far it is, and that another member goes on there.
package kafka

import (
	"errors"
	"strings"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "kafka",
		Summary: "A Kafka cluster, or what speaks its protocol.",
	})
	penstock.RegisterSource(r, sourceSpec, newSource)
	penstock.RegisterSink(r, sinkSpec, newSink)
	penstock.RegisterChannel[ChannelConfig](r, penstock.Spec{
		Name:    "kafka",
		Summary: "A topic, which flows read as groups of their own.",
	})
}

var sourceSpec = penstock.Spec{
	Name:      "kafka",
	Summary:   "Reads topics as a member of a consumer group: per partition in order, going on where the group is.",
	Settle:    penstock.Cumulative,
	Finite:    true,
	Replay:    penstock.ReplayPosition,
	Keeps:     true,
	Keyed:     true,
	Transacts: true,
}

var sinkSpec = penstock.Spec{
	Name:      "kafka",
	Summary:   "Writes to a topic; a message is durable when all replicas in sync have it.",
	Headers:   true,
	Batch:     1000,
	Transacts: true,
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("kafka", env) }

// wrong is an error of the configuration.
func wrong(at, msg, hint string) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "kafka", Path: at, Err: errors.New(msg), Hint: hint}
}

// flowOf is the flow's name in that of an endpoint: orders/from.
func flowOf(env penstock.Env) string {
	flow, _, _ := strings.Cut(env.Name, "/")
	return flow
}

// templated says that a text is known only when the flow starts.
func templated(t penstock.Template) bool { return strings.Contains(t.Source, "${") }

// checkTopic refuses what can be no topic's name (org.apache.kafka.common.internals.Topic: at most 249 of a-z A-Z 0-9 . _ -).
func checkTopic(name string) error {
	switch {
	case name == "":
		return errors.New("the topic has no name")
	case name == "." || name == ".." || len(name) > 249:
		return errors.New("the topic " + name + ": such a name Kafka refuses")
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return errors.New("the topic " + name + ": a name has letters, digits, and . _ - only")
		}
	}
	return nil
}
