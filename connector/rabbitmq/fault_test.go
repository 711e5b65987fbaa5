package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// copier reads one queue and writes to another, as an engine does: what is written is settled, a source that is disconnected is opened again, and what may be
// written later is.
type copier struct {
	t       *testing.T
	in      penstock.Source
	out     penstock.Sink
	written atomic.Int64
	retried atomic.Int64
}

// run copies until ctx ends.
func (c *copier) run(ctx context.Context) {
	for ctx.Err() == nil {
		b := new(penstock.Batch)
		err := c.in.Read(ctx, b)
		if errors.Is(err, penstock.ErrDisconnected) {
			for ctx.Err() == nil {
				if err = c.in.Open(ctx); err == nil {
					break
				}
				if !errors.Is(err, penstock.ErrDisconnected) && ctx.Err() == nil {
					c.t.Error("open again: ", err)
					return
				}
				pause()
			}
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				c.t.Error("read: ", err)
			}
			return
		}
		for len(b.Msgs) > 0 {
			from := b.Msgs
			err := c.out.Write(ctx, b)
			var each *penstock.BatchError
			if err != nil && !errors.As(err, &each) {
				if ctx.Err() == nil {
					c.t.Error("write: ", err)
				}
				return
			}
			var o []penstock.Outcome
			b.Msgs = nil
			for i, m := range from {
				if each == nil || each.Errs[i] == nil {
					o = append(o, penstock.Outcome{Pos: m.Pos})
					continue
				}
				if ctx.Err() == nil && !penstock.CodeOf(each.Errs[i]).Transient() {
					c.t.Error("write: ", each.Errs[i])
					return
				}
				b.Msgs = append(b.Msgs, m)
				c.retried.Add(1)
			}
			c.written.Add(int64(len(o)))
			if err := c.in.Settle(ctx, o); err != nil {
				c.t.Error("settle: ", err)
				return
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// copies moves n messages while trouble makes its trouble, and counts what has arrived.
func (f *fixture) copies(t *testing.T, kind string, n int, trouble func(c *copier)) {
	t.Helper()
	direct := on(t, f.server, f.server.Address())
	from, to := direct.declare(t, kind, nil), direct.declare(t, kind, nil)
	var payloads []string
	for i := range n {
		payloads = append(payloads, strconv.Itoa(i))
	}
	direct.put(t, from, payloads...)
	c := &copier{t: t, in: drive.Opened(t, f.source(t, from, SourceConfig{Prefetch: 200})), out: drive.Opened(t, f.sink(t, SinkConfig{Queue: text(to)}))}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(ctx)
	}()
	trouble(c)
	ch := direct.channel(t)
	quiet, before := 0, int64(0)
	for ctx.Err() == nil && quiet < 60 { // until the queue is empty, and stays so: what is not settled is not counted
		q, err := ch.QueueDeclarePassive(from, true, false, false, false, nil)
		if err != nil {
			ch = direct.channel(t)
		}
		now := c.written.Load()
		if quiet++; err != nil || q.Messages > 0 || now < int64(n) || now != before {
			quiet, before = 0, now
		}
		pause()
	}
	cancel()
	<-done
	if err := errors.Join(c.in.Close(context.Background()), c.out.Close(context.Background())); err != nil {
		t.Error(err)
	}
	direct.left(t, from, 0)
	times := map[string]int{}
	total := 0
	for _, d := range direct.drain(t, to) {
		times[string(d.Body)]++
		total++
	}
	lost := 0
	for _, p := range payloads {
		if times[p] == 0 {
			lost++
		}
	}
	t.Logf("%s: %d messages, %d copies, %d more than once, %d were tried again", kind, n, total, total-len(times), c.retried.Load())
	if lost > 0 || len(times) != n {
		t.Errorf("%d messages that were acknowledged are lost", lost)
	}
}

// after waits until so many are written.
func (c *copier) after(n int64) {
	for c.written.Load() < n && !c.t.Failed() && c.t.Context().Err() == nil {
		pause()
	}
}

// TestTheServerIsKilled in the middle of a batch, and comes back.
func TestTheServerIsKilled(t *testing.T) {
	t.Parallel()
	server := service.NewRabbitMQ(t)
	kinds := []string{typeClassic}
	if crashes(t, 0) > 0 {
		kinds = append(kinds, typeQuorum)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			f := on(t, server, server.Address())
			f.copies(t, kind, 20_000, func(c *copier) {
				if kind == typeQuorum {
					f.settled(t)
				}
				for i := range max(1, min(crashes(t, 1), 5)) {
					c.after(int64(3000 * (i + 1)))
					server.Kill(t)
					server.Start(t)
				}
			})
		})
	}
}

// TestTheServerIsStopped as an operator does, who closes connections with a reason.
func TestTheServerIsStopped(t *testing.T) {
	if crashes(t, 0) == 0 {
		t.Skip("a server takes its time to stop and start: PENSTOCK_CRASHES=1 does it")
	}
	server := service.NewRabbitMQ(t)
	on(t, server, server.Address()).copies(t, typeClassic, 20_000, func(c *copier) {
		c.after(3000)
		server.Stop(t)
		server.Start(t)
	})
}

func TestTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{typeClassic, typeQuorum} {
		t.Run(kind, func(t *testing.T) {
			server := service.RabbitMQ(t)
			proxy := service.NewProxy(t, server.Address())
			on(t, server, address(proxy)).copies(t, kind, 10_000, func(c *copier) {
				for i := range 5 {
					c.after(int64(1500 * (i + 1)))
					proxy.Cut()
				}
			})
		})
	}
}

func TestTheNetworkIsSlow(t *testing.T) {
	t.Parallel()
	server := service.RabbitMQ(t)
	proxy := service.NewProxy(t, server.Address())
	f := on(t, server, address(proxy))
	f.config.Heartbeat = penstock.Duration(time.Second)
	f.copies(t, typeClassic, 2000, func(c *copier) {
		c.after(300)
		proxy.Slow(20 * time.Millisecond)
		c.after(1500)
		proxy.Slow(0)
	})
}

// TestTheNetworkSwallowsEverything: neither side hears of the other, until heartbeats are missed.
func TestTheNetworkSwallowsEverything(t *testing.T) {
	t.Parallel()
	server := service.RabbitMQ(t)
	proxy := service.NewProxy(t, server.Address())
	f := on(t, server, address(proxy))
	f.config.Heartbeat = penstock.Duration(2 * time.Second)
	f.copies(t, typeClassic, 5000, func(c *copier) {
		c.after(1000)
		proxy.Hold(true)
		begun := time.Now()
		for c.written.Load() > 0 && time.Since(begun) < 6*time.Second && !t.Failed() { // longer than heartbeats may be missed
			pause()
		}
		proxy.Cut()
		proxy.Hold(false)
	})
}

// TestAConfirmationIsLost: the server has the message, and nobody hears of it. It is published again.
func TestAConfirmationIsLost(t *testing.T) {
	server := service.RabbitMQ(t)
	proxy := service.NewProxy(t, server.Address())
	f := on(t, server, address(proxy))
	q := f.declare(t, typeClassic, nil)
	out := drive.Opened(t, f.sink(t, SinkConfig{Queue: text(q)}))
	if err := out.Write(t.Context(), conform.Batch("0")); err != nil {
		t.Fatal(err)
	}
	proxy.CutWhen(func(sent []byte) bool { return len(sent) > 0 })
	if err := out.Write(t.Context(), conform.Batch("1", "2", "3")); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, d := range f.drain(t, q) {
		times[string(d.Body)]++
	}
	if len(times) != 4 || times["0"] != 1 || times["3"] > 2 {
		t.Error(times)
	}
}

// TestPatience: it ends, and what could not be written may be written later.
func TestPatience(t *testing.T) {
	t.Parallel()
	server := service.RabbitMQ(t)
	proxy := service.NewProxy(t, server.Address())
	f := on(t, server, address(proxy))
	f.config.Patience = penstock.Duration(200 * time.Millisecond)
	q := f.declare(t, typeClassic, nil)
	out := drive.Opened(t, f.sink(t, SinkConfig{Queue: text(q)}))
	proxy.Refuse(true)
	proxy.Cut()
	drive.Code(t, drive.BatchErrors(t, out.Write(t.Context(), conform.Batch("0")))[0], penstock.Unavailable)
	f.config.Patience = penstock.Duration(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	drive.Code(t, drive.BatchErrors(t, out.Write(ctx, conform.Batch("1")))[0], penstock.Timeout)
	proxy.Refuse(false)
	if err := out.Write(t.Context(), conform.Batch("2")); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(payloads(f.drain(t, q))); got != "[2]" {
		t.Error(got)
	}
}

// TestNobodyIsThere at the first start.
func TestNobodyIsThere(t *testing.T) {
	f := on(t, nil, "127.0.0.1:1")
	drive.Code(t, f.source(t, "q", SourceConfig{}).Open(t.Context()), penstock.Unavailable, "see that the server runs")
	drive.Code(t, f.sink(t, SinkConfig{Queue: text("q")}).Open(t.Context()), penstock.Unavailable, "see that the server runs")
	if err := f.source(t, "q", SourceConfig{}).Open(t.Context()); errors.Is(err, penstock.ErrDisconnected) {
		t.Error("a run that can't start says so")
	}
}

// TestWhatIsMissingOrOtherwise: queues and exchanges that are not there, or with other arguments.
func TestWhatIsMissingOrOtherwise(t *testing.T) {
	f := onServer(t)
	classic, ex := f.declare(t, typeClassic, nil), f.exchange(t, "direct")
	for _, c := range []struct {
		open  interface{ Open(context.Context) error }
		want  penstock.Code
		words string
	}{
		{f.source(t, "nowhere", SourceConfig{}), penstock.NotFound, "declare"},
		{f.sink(t, SinkConfig{Queue: text("nowhere")}), penstock.NotFound, "declare"},
		{f.sink(t, SinkConfig{Exchange: text("nowhere")}), penstock.NotFound, "nowhere"},
		{f.source(t, classic, SourceConfig{Declare: &QueueConfig{}}), penstock.Config, "x-queue-type"},
		{f.sink(t, SinkConfig{Queue: text(classic), Declare: &QueueConfig{Type: typeClassic, MaxLength: 5}}), penstock.Config, "can't be changed"},
		{f.sink(t, SinkConfig{Exchange: text(ex), DeclareExchange: &ExchangeConfig{}}), penstock.Config, "type"},
		{f.source(t, unique(t), SourceConfig{Declare: &QueueConfig{Bindings: []BindingConfig{{Exchange: text("nowhere")}}}}), penstock.NotFound, "nowhere"},
		{f.source(t, classic, SourceConfig{Stream: &StreamConfig{}}), penstock.Config, "is no stream"},
	} {
		err := c.open.Open(t.Context())
		drive.Code(t, err, c.want, c.words)
	}
}
