package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/service"
)

// TestFaultsOfABroker goes through what one broker does to a flow that runs, one after the other.
func TestFaultsOfABroker(t *testing.T) {
	t.Parallel()
	server := service.NewKafka(t, "connections.max.reauth.ms=4000")
	t.Run("it is away for long", func(t *testing.T) { away(t, server) })
	t.Run("rights end", func(t *testing.T) { rightsEnd(t, server) })
	t.Run("its certificate expires", func(t *testing.T) { expires(t, server) })
}

// away: longer than anything is tried again by the client. The engine opens the source again and again, and it goes on where it was.
func away(t *testing.T, server *service.KafkaServer) {
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	config := connection(server.Brokers())
	config.ConnectTimeout = penstock.Duration(300 * time.Millisecond)
	s := opened(t, sourceConfig(config, topic, topic), func(e *penstock.Env) { e.Once = false })
	written := sinkConfig(config, topic)
	written.Timeout = penstock.Duration(3 * time.Second)
	k := writer(t, written)
	if err := k.Write(within(t), batchOf("1")); err != nil {
		t.Fatal(err)
	}
	b := received(t, s, 1)
	if err := s.Settle(t.Context(), []penstock.Outcome{{Pos: b.Msgs[0].Pos}}); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	gone := make(chan int)
	ctx, back := context.WithCancel(within(t))
	defer back()
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			err := s.Read(ctx, new(penstock.Batch))
			if errors.Is(err, penstock.ErrDisconnected) {
				err = s.Open(ctx)
			}
			if err != nil && !errors.Is(err, penstock.ErrDisconnected) && ctx.Err() == nil {
				t.Error(err)
			}
			pause(ctx, 100*time.Millisecond)
		}
		gone <- n
	}()
	if err := k.Write(within(t), batchOf("2")); err == nil {
		t.Error("a message was written that nobody took")
	}
	server.Start(t)
	for ctx := within(t); k.Write(ctx, batchOf("3")) != nil && ctx.Err() == nil; {
		pause(ctx, 100*time.Millisecond)
	}
	back()
	<-gone
	for seen := ""; seen != "3"; {
		b := new(penstock.Batch)
		err := s.Read(within(t), b)
		if errors.Is(err, penstock.ErrDisconnected) {
			err = s.Open(within(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Msgs {
			if seen = conform.Text(t, m.Body); seen == "1" {
				t.Error("what was settled has come again")
			}
		}
	}
}

// rightsEnd: a user is taken away while a flow runs.
func rightsEnd(t *testing.T, server *service.KafkaServer) {
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	server.SetUser(t, "bob", "bob-secret")
	config := scrammed(connection(server.SASL()), saslScram256, "bob", "bob-secret")
	config.ConnectTimeout = penstock.Duration(2 * time.Second)
	open := func() (penstock.Source, penstock.Sink) {
		return opened(t, sourceConfig(config, topic, topic), func(e *penstock.Env) { e.Once = false }), writer(t, sinkConfig(config, topic))
	}
	s, k := open()
	if err := k.Write(within(t), batchOf("1")); err != nil {
		t.Fatal(err)
	}
	received(t, s, 1)
	server.DropUser(t, "bob")
	ctx := within(t)
	var werr error
	for werr == nil && ctx.Err() == nil {
		werr = k.Write(ctx, batchOf("2"))
		pause(ctx, 50*time.Millisecond)
	}
	var each *penstock.BatchError
	if errors.As(werr, &each) {
		werr = each.Errs[0]
	}
	if penstock.CodeOf(werr) != penstock.Unauthenticated {
		t.Errorf("write: %v", werr)
	}
	var rerr error
	for rerr == nil && ctx.Err() == nil {
		rerr = s.Read(ctx, new(penstock.Batch))
	}
	if penstock.CodeOf(rerr) != penstock.Unauthenticated {
		t.Errorf("read: %v", rerr)
	}
}

// expires: a broker that comes back with a certificate that has expired is told apart from one that is away.
func expires(t *testing.T, server *service.KafkaServer) {
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	config := connection(server.TLS())
	config.TLS = &TLS{CA: penstock.NewSecret(string(server.Authority))}
	config.ConnectTimeout = penstock.Duration(time.Second)
	s := opened(t, sourceConfig(config, topic, topic), func(e *penstock.Env) { e.Once = false })
	written := sinkConfig(config, topic)
	written.Timeout = penstock.Duration(3 * time.Second)
	k := writer(t, written)
	if err := k.Write(within(t), batchOf("1")); err != nil {
		t.Fatal(err)
	}
	received(t, s, 1)
	server.SetCertificate(t, time.Now().Add(-time.Hour))
	server.Kill(t)
	server.Start(t)
	for what, do := range map[string]func() error{
		"write": func() error {
			err := k.Write(within(t), batchOf("2"))
			var each *penstock.BatchError
			if errors.As(err, &each) {
				return each.Errs[0]
			}
			return err
		},
		"read": func() error { return s.Read(within(t), new(penstock.Batch)) },
	} {
		if err := do(); penstock.CodeOf(err) != penstock.Unauthenticated || !strings.Contains(err.Error(), "has expired: it has to be renewed") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// writer is a sink that is open.
func writer(t *testing.T, c SinkConfig) penstock.Sink {
	t.Helper()
	k, err := newSink(c, environment(t))
	if err == nil {
		err = k.Open(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return k
}
