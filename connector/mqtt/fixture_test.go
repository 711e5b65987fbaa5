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
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
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

func jsonFormat(t testing.TB) penstock.Format {
	t.Helper()
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "json", Config: &json.Config{}, Codec: c}
}

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
	c.Connection, c.Format = f.ref, jsonFormat(t)
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
	c.Connection, c.Format = f.ref, jsonFormat(t)
	s, err := newSink(c, environment(unique(t)+"/step"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens, and closes at the end.
func open[T interface {
	Open(context.Context) error
	Close(context.Context) error
}](t testing.TB, v T) T {
	t.Helper()
	if err := v.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return v
}

func closed(t testing.TB, s interface{ Close(context.Context) error }) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// next reads one batch.
func next(t testing.TB, s penstock.Source) *penstock.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b := new(penstock.Batch)
	if err := s.Read(ctx, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// some reads so many messages.
func some(t testing.TB, s penstock.Source, n int) (out []*penstock.Message) {
	t.Helper()
	for len(out) < n {
		out = append(out, next(t, s).Msgs...)
	}
	return out
}

func settle(t testing.TB, s penstock.Source, ms ...*penstock.Message) {
	t.Helper()
	var o []penstock.Outcome
	for _, m := range ms {
		o = append(o, penstock.Outcome{Pos: m.Pos})
	}
	if err := s.Settle(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// code checks the code of an error, and words in it.
func code(t testing.TB, err error, want penstock.Code, words ...string) {
	t.Helper()
	if penstock.CodeOf(err) != want {
		t.Errorf("the error is %q, want %q: %v", penstock.CodeOf(err), want, err)
		return
	}
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// batchError gives the errors of a *BatchError by index.
func batchError(t testing.TB, err error) map[int]error {
	t.Helper()
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatalf("%v is no *BatchError", err)
	}
	return each.Errs
}

// program is a Program that a test writes.
type program func(f *penstock.Frame) penstock.Value

// Eval implements penstock.Program.
func (p program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

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
			settle(t, s, m)
		}
	}
}

func once(env *penstock.Env) { env.Once = true }
