package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// fixture is a broker with a Connection to it.
type fixture struct {
	server *service.MosquittoServer
	config *ConnectionConfig
	ref    penstock.ConnectionRef
}

var names atomic.Int64

// unique makes a name that no other test has.
func unique(t testing.TB) string {
	return fmt.Sprintf("%s-%d", strings.NewReplacer("/", "-", " ", "-", "#", "-", "+", "-").Replace(t.Name()), names.Add(1))
}

func text(s string) penstock.Template { return penstock.Template{Source: s} }

// on makes a fixture of a broker at an address: its own, or that of a proxy before it.
func on(server *service.MosquittoServer, address string) *fixture {
	c := &ConnectionConfig{URL: text("mqtt://" + address), SessionExpiry: penstock.Duration(time.Hour), KeepAlive: penstock.Duration(10 * time.Second),
		ConnectTimeout: penstock.Duration(10 * time.Second), Patience: penstock.Duration(time.Minute)}
	return &fixture{server: server, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
}

// onServer makes a fixture on the broker that the package's tests share.
func onServer(t testing.TB) *fixture {
	t.Helper()
	s := service.Mosquitto(t)
	return on(s, s.Address())
}

// address is where a proxy listens.
func address(p *service.Proxy) string { return fmt.Sprintf("127.0.0.1:%d", p.Port()) }

// environment is the Env of an endpoint with this name.
func environment(name string) penstock.Env {
	clock := penstock.SystemClock{}
	return penstock.Env{Name: name, Logger: slog.New(slog.DiscardHandler), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true}
}

// source makes a source, not opened. client is what the broker knows it by.
func (f *fixture) source(t testing.TB, client string, c SourceConfig, change ...func(*penstock.Env)) penstock.Source {
	t.Helper()
	c.Connection, c.Format = f.ref, drive.JSON(t)
	if c.ReceiveMaximum == 0 {
		c.ReceiveMaximum = 5000
	}
	if c.MaxRecord == 0 {
		c.MaxRecord = 16 << 20
	}
	env := environment(client)
	for _, ch := range change {
		ch(&env)
	}
	s, err := newSource(c, env)
	if err != nil {
		t.Fatal(err)
	}
	s.(*source).idle = 200 * time.Millisecond
	return s
}

// sink makes a sink, not opened.
func (f *fixture) sink(t testing.TB, c SinkConfig) penstock.Sink {
	t.Helper()
	c.Connection, c.Format = f.ref, drive.JSON(t)
	s, err := newSink(c, environment(unique(t)+"/step"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everything reads all that a topic's subscription of a client holds, to the end.
func everything(t testing.TB, s penstock.Source) (out []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		var b penstock.Batch
		err := s.Read(ctx, &b)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Msgs {
			out = append(out, conform.Text(t, m.Body))
			drive.Settle(t, s, m)
		}
	}
}

func once(env *penstock.Env) { env.Once = true }
