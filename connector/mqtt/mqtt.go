// Package mqtt speaks MQTT 5 (OASIS Standard, 7 March 2019): it subscribes to topics (from), and publishes to them (to).
//
// Each source and sink is a client of its own, with a client identifier and a session of its own. The sessions outlive connections, and those of
// sources also the process: what comes meanwhile waits at the broker.
package mqtt

import (
	"errors"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "mqtt",
		Summary: "An MQTT broker that speaks version 5 of the protocol.",
	})
	penstock.RegisterSource(r, sourceSpec, newSource)
	penstock.RegisterSink(r, sinkSpec, newSink)
}

var sourceSpec = penstock.Spec{
	Name:    "mqtt",
	Summary: "Subscribes to topics, and acknowledges each message, in the order in which they came, when everything made of it is durable.",
	Settle:  penstock.Each,
	Finite:  true, // with --once
	Replay:  penstock.ReplayAgain,
}

var sinkSpec = penstock.Spec{
	Name:    "mqtt",
	Summary: "Publishes messages. With QoS 1 and 2 a message is written when the broker has acknowledged it.",
	// A message whose acknowledgement was lost with the session is published again, and is there twice: what at-least-once says.
	Idempotent: true,
	Headers:    true,
	Batch:      500,
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("mqtt", env) }

// config is an error of the configuration.
func config(at, msg, hint string) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "mqtt", Path: at, Err: errors.New(msg), Hint: hint}
}
