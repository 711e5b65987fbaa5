// Package rabbitmq speaks AMQP 0.9.1 to RabbitMQ: it reads queues and streams (from), and publishes to exchanges and queues (to).
//
// All flows that name a Connection share two connections to the server, one that reads and one that publishes: a server that is short
// of memory stops those who publish, and must not thereby stop those who empty its queues. Each source and sink has a channel of its own.
package rabbitmq

import (
	"errors"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "rabbitmq",
		Summary: "A RabbitMQ server or cluster, or another that speaks AMQP 0.9.1.",
	})
	penstock.RegisterSource(r, sourceSpec, newSource)
	penstock.RegisterSink(r, sinkSpec, newSink)
	penstock.RegisterChannel[ChannelConfig](r, penstock.Spec{
		Name:    "rabbitmq",
		Summary: "A queue that its readers share; or, for a topic, an exchange with a queue for each flow that reads it, or a stream.",
	})
}

var sourceSpec = penstock.Spec{
	Name:    "rabbitmq",
	Summary: "Reads a queue, classic or quorum, and acknowledges each message when everything made of it is durable; or reads a stream from a position that the run keeps.",
	Settle:  penstock.Each,
	Finite:  true, // with --once
	Replay:  penstock.ReplayAgain,
}

var sinkSpec = penstock.Spec{
	Name:    "rabbitmq",
	Summary: "Publishes to an exchange or a queue. A message is written when the server has confirmed it: it is then in every queue that it was routed to, and on disk where those are durable.",
	// A message whose confirmation was lost with the connection is published again, and is there twice: what at-least-once says. The alternative
	// would be a dead letter for each message that was on its way when a connection broke.
	Idempotent: true,
	Headers:    true,
	Batch:      1000,
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("rabbitmq", env) }

// config is an error of the configuration.
func config(at, msg, hint string) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "rabbitmq", Path: at, Err: errors.New(msg), Hint: hint}
}
