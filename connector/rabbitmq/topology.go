package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// topology is what an endpoint or a channel needs on the server. Exchanges are made before the queues that are bound to them.
type topology struct {
	connection penstock.ConnectionRef
	exchanges  []neededExchange
	queues     []neededQueue
}

type neededExchange struct {
	name   penstock.Template
	config *ExchangeConfig
}

type neededQueue struct {
	name   penstock.Template
	config *QueueConfig
}

// Describe implements penstock.Topology.
func (t *topology) Describe(ctx context.Context, env penstock.Env) (out []penstock.Object, err error) {
	l, err := linkOf(t.connection, env)
	if err != nil {
		return nil, err
	}
	look := func(kind string, name penstock.Template, args amqp.Table, there func(name string) error, same func(name string) error) error {
		at, err := fixed(name, env)
		if err != nil {
			return err
		}
		o := penstock.Object{Kind: kind, Name: at, Action: penstock.ObjectKeep}
		switch err := there(at); penstock.CodeOf(err) {
		case penstock.NotFound:
			o.Action, o.Settings = penstock.ObjectCreate, settings(args)
		case "":
			if err := same(at); penstock.CodeOf(err) == penstock.Config {
				conflict(&o, err)
			} else if err != nil {
				return err
			}
		default:
			return err
		}
		out = append(out, o)
		return nil
	}
	for _, e := range t.exchanges {
		args := e.config.arguments()
		args["type"] = e.config.kind()
		if err := look("exchange", e.name, args, func(name string) error { return l.haveExchange(ctx, name, nil) },
			func(name string) error { return l.haveExchange(ctx, name, e.config) }); err != nil {
			return nil, err
		}
	}
	for _, q := range t.queues {
		alone := *q.config // what is bound to it can't be looked at, and is bound again by who reads
		alone.Bindings = nil
		if err := look("queue", q.name, q.config.arguments(), func(name string) error { return l.haveQueue(ctx, publishing, name, nil) },
			func(name string) error { return l.haveQueue(ctx, publishing, name, &alone) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// settings are arguments as they are printed, in order.
func settings(args amqp.Table) (out []penstock.ObjectSetting) {
	for name, v := range args {
		out = append(out, penstock.ObjectSetting{Name: name, Want: fmt.Sprint(v)})
	}
	slices.SortFunc(out, func(a, b penstock.ObjectSetting) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// different is how the server says that something is there with another argument.
var different = regexp.MustCompile(`inequivalent arg '([^']+)' for .*: received (?:the value )?'?(.*?)'?(?: of type '[^']*')? but current is (?:the value )?'?(.*?)'?(?: of type '[^']*')?(?: \(406\).*)?$`)

// conflict says of an object what the server says of it.
func conflict(o *penstock.Object, err error) {
	o.Action = penstock.ObjectConflict
	var e *penstock.Error
	if errors.As(err, &e) {
		o.Hint = e.Hint
		err = e.Err
	}
	if m := different.FindStringSubmatch(err.Error()); m != nil {
		o.Settings = []penstock.ObjectSetting{{Name: m[1], Is: m[3], Want: m[2]}}
		return
	}
	o.Why = err.Error()
}

// Ensure implements penstock.Topology.
func (t *topology) Ensure(ctx context.Context, env penstock.Env) error {
	l, err := linkOf(t.connection, env)
	if err != nil {
		return err
	}
	for _, e := range t.exchanges {
		name, err := fixed(e.name, env)
		if err == nil {
			err = l.haveExchange(ctx, name, e.config)
		}
		if err != nil {
			return err
		}
	}
	for _, q := range t.queues {
		name, err := fixed(q.name, env)
		if err == nil {
			err = l.haveQueue(ctx, publishing, name, q.config)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *SourceConfig) topology() *topology {
	t := &topology{connection: c.Connection}
	if c.Declare != nil {
		t.queues = []neededQueue{{c.Queue, c.Declare}}
	}
	return t
}

// Describe implements penstock.Topology.
func (c *SourceConfig) Describe(ctx context.Context, env penstock.Env) ([]penstock.Object, error) {
	return c.topology().Describe(ctx, env)
}

// Ensure implements penstock.Topology.
func (c *SourceConfig) Ensure(ctx context.Context, env penstock.Env) error {
	return c.topology().Ensure(ctx, env)
}

func (c *SinkConfig) topology() *topology {
	t := &topology{connection: c.Connection}
	if c.DeclareExchange != nil {
		t.exchanges = []neededExchange{{c.Exchange, c.DeclareExchange}}
	}
	if c.Declare != nil {
		t.queues = []neededQueue{{c.Queue, c.Declare}}
	}
	return t
}

// Describe implements penstock.Topology.
func (c *SinkConfig) Describe(ctx context.Context, env penstock.Env) ([]penstock.Object, error) {
	return c.topology().Describe(ctx, env)
}

// Ensure implements penstock.Topology.
func (c *SinkConfig) Ensure(ctx context.Context, env penstock.Env) error {
	return c.topology().Ensure(ctx, env)
}

var (
	_ penstock.Topology = (*SourceConfig)(nil)
	_ penstock.Topology = (*SinkConfig)(nil)
)
