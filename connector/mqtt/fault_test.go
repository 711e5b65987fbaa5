package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func pause(ctx context.Context) {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// copier reads topics and writes another, as an engine does: what is written is settled, and a source that is disconnected is opened again.
type copier struct {
	t       *testing.T
	in      penstock.Source
	out     penstock.Sink
	written atomic.Int64
}

func (c *copier) run(ctx context.Context) {
	for ctx.Err() == nil {
		b := new(penstock.Batch)
		err := c.in.Read(ctx, b)
		for errors.Is(err, penstock.ErrDisconnected) && ctx.Err() == nil {
			if err = c.in.Open(ctx); errors.Is(err, penstock.ErrDisconnected) {
				pause(ctx)
			}
		}
		if err == nil && len(b.Msgs) > 0 {
			err = c.out.Write(ctx, b)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.t.Error(err)
			return
		}
		var o []penstock.Outcome
		for _, m := range b.Msgs {
			o = append(o, penstock.Outcome{Pos: m.Pos})
		}
		if err := c.in.Settle(ctx, o); err != nil {
			c.t.Error(err)
			return
		}
		c.written.Add(int64(len(o)))
	}
}

// after waits until so many are written.
func (c *copier) after(n int64) {
	for c.written.Load() < n && !c.t.Failed() && c.t.Context().Err() == nil {
		pause(c.t.Context())
	}
}

// copies moves n messages while trouble makes its trouble, and holds what has arrived to what was acknowledged: all of it, in order, but for what came twice.
func copies(t *testing.T, f, direct *fixture, qos, n int, trouble func(c *copier)) {
	t.Helper()
	topic := unique(t)
	heard := direct.source(t, topic+"-heard", SourceConfig{Topics: topics(topic + "/out"), QoS: qos}, once)
	if err := heard.Open(t.Context()); err != nil { // its session begins
		t.Fatal(err)
	}
	drive.Closed(t, heard)
	c := &copier{t: t, in: drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic + "/in"), QoS: qos, ReceiveMaximum: 100})), out: drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic + "/out"), QoS: qos}))}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(ctx)
	}()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		w := direct.sink(t, SinkConfig{Topic: text(topic + "/in"), QoS: qos})
		err := w.Open(ctx)
		for i := 0; i < n && err == nil; i += 10 {
			var bodies []string
			for j := range min(10, n-i) {
				bodies = append(bodies, strconv.Itoa(i+j))
			}
			err = w.Write(ctx, conform.Batch(bodies...))
		}
		if err := errors.Join(err, w.Close(ctx)); err != nil {
			t.Error(err)
		}
	}()
	trouble(c)
	<-writing
	c.after(int64(n))
	drive.Until(t, "nothing more comes", func() bool {
		before := c.written.Load()
		for range 20 {
			pause(ctx)
		}
		return c.written.Load() == before
	})
	cancel()
	<-done
	drive.Closed(t, c.in)
	heard = drive.Opened(t, direct.source(t, topic+"-heard", SourceConfig{Topics: topics(topic + "/out"), QoS: qos}, once))
	all := everything(t, heard)
	seen := map[string]bool{}
	for _, b := range all {
		seen[b] = true
	}
	t.Logf("%d messages, %d more than once", n, len(all)-len(seen))
	if len(seen) != n {
		t.Errorf("%d of %d messages have arrived", len(seen), n)
	}
}

func TestTheNetworkIsCut(t *testing.T) {
	for _, qos := range []int{1, 2} {
		t.Run(fmt.Sprint("qos ", qos), func(t *testing.T) {
			t.Parallel()
			server := service.Mosquitto(t)
			proxy := service.NewProxy(t, server.Address())
			copies(t, on(server, address(proxy)), on(server, server.Address()), qos, 3000, func(c *copier) {
				for i := range 5 {
					c.after(int64(400 * (i + 1)))
					proxy.Cut()
				}
			})
		})
	}
}

// TestTheNetworkIsSlow, and swallows everything for longer than anybody may be silent.
func TestTheNetworkIsSlow(t *testing.T) {
	t.Parallel()
	server := service.Mosquitto(t)
	proxy := service.NewProxy(t, server.Address())
	f := on(server, address(proxy))
	f.config.KeepAlive, f.config.ConnectTimeout = penstock.Duration(time.Second), penstock.Duration(time.Second)
	copies(t, f, on(server, server.Address()), 1, 1000, func(c *copier) {
		c.after(200)
		proxy.Slow(20 * time.Millisecond)
		c.after(400)
		proxy.Slow(0)
		proxy.Hold(true)
		at := c.written.Load()
		begun := time.Now()
		drive.Until(t, "keep-alives are missed", func() bool { return time.Since(begun) > 3*time.Second })
		if c.written.Load() > at+200 {
			t.Error("the network was there")
		}
		proxy.Hold(false)
	})
}

// TestTheBrokerIsStopped as an operator does, and started again: it keeps sessions and messages.
func TestTheBrokerIsStopped(t *testing.T) {
	t.Parallel()
	server := service.NewMosquitto(t)
	f := on(server, server.Address())
	copies(t, f, f, 1, 3000, func(c *copier) {
		for i := range 3 {
			c.after(int64(700 * (i + 1)))
			server.Stop(t)
			server.Start(t)
		}
	})
}

// TestTheBrokerIsKilled: what it has on disk, and was not settled, comes again in the session that it has kept; and what comes then is worked on.
func TestTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	server := service.NewMosquitto(t)
	f := on(server, server.Address())
	topic := unique(t)
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1}))
	var bodies []string
	for i := range 50 {
		bodies = append(bodies, fmt.Sprintf(`"%s-%d"`, topic, i))
	}
	if err := w.Write(t.Context(), conform.Batch(bodies...)); err != nil {
		t.Fatal(err)
	}
	ms := drive.Some(t, s, 50)
	server.Save(t)
	drive.Until(t, "the broker has it on disk", func() bool {
		text, err := os.ReadFile(filepath.Join(server.Dir(), "mosquitto.db"))
		return err == nil && strings.Contains(string(text), bodies[49])
	})
	server.Kill(t)
	err := s.Read(t.Context(), new(penstock.Batch))
	if !errors.Is(err, penstock.ErrDisconnected) {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); !errors.Is(err, penstock.ErrDisconnected) {
		t.Fatalf("nobody is there: %v", err)
	}
	drive.Settle(t, s, ms[:20]...) // of which nobody hears
	server.Start(t)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), conform.Batch(`"new"`)); err != nil {
		t.Fatal(err)
	}
	last := drive.Some(t, s, 1) // what is being worked on is not given once more
	if got := conform.Text(t, last[0].Body); got != `"new"` {
		t.Errorf("%s came again", got)
	}
	drive.Settle(t, s, append(ms[20:], last...)...)
	drive.Closed(t, s)
	if got := everything(t, drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}, once))); len(got) > 0 {
		t.Errorf("%v came again after it was settled", got)
	}
}

// TestTakenOver: two processes with one client id put each other out. Each says so, or comes back, and nothing is lost when one of them has gone.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	f := onServer(t)
	topic := unique(t)
	c := SourceConfig{Topics: topics(topic), QoS: 1}
	one := drive.Opened(t, f.source(t, topic, c))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1}))
	if err := w.Write(t.Context(), conform.Batch("0", "1", "2")); err != nil {
		t.Fatal(err)
	}
	ms := drive.Some(t, one, 3)
	drive.Settle(t, one, ms[0])
	two := drive.Opened(t, f.source(t, topic, c, once))
	err := one.Read(t.Context(), new(penstock.Batch))
	if !errors.Is(err, penstock.ErrDisconnected) && penstock.CodeOf(err) != penstock.Conflict {
		t.Errorf("the one that was put out says: %v", err)
	}
	drive.Settle(t, one, ms[1:]...) // it is not its session any more
	if err := w.Write(t.Context(), conform.Batch("3")); err != nil {
		t.Fatal(err)
	}
	if got := everything(t, two); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("the other one has got %v", got)
	}
}

// TestPoison: what is no JSON fails alone, and is settled like the rest.
func TestPoison(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}))
	raw := f.raw(t, topic)
	var bodies []string
	for i := range 30 {
		bodies = append(bodies, fmt.Sprintf(`"%d"`, i))
		if i%3 == 1 {
			bodies[i] = `"{poison"`
		}
	}
	if err := raw.Write(t.Context(), conform.Batch(bodies...)); err != nil {
		t.Fatal(err)
	}
	n, bad := 0, 0
	for n < len(bodies) {
		b := drive.Next(t, s)
		for i, m := range b.Msgs {
			err := b.Err(i)
			if err == nil {
				err = m.Body.Parse(jsonview.Limits{})
			}
			if (err != nil) != (n%3 == 1) {
				t.Errorf("message %d: %v", n, err)
			}
			if err != nil {
				bad++
			}
			drive.Settle(t, s, m)
			n++
		}
	}
	if bad != 10 {
		t.Errorf("%d have failed", bad)
	}
	drive.Closed(t, s)
	rest := new(penstock.Batch)
	if err := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}, once)).Read(t.Context(), rest); !errors.Is(err, io.EOF) {
		t.Errorf("%d came again: %v", len(rest.Msgs), err)
	}
}

// TestStorm: members of a shared subscription come and go, and everything is worked on.
func TestStorm(t *testing.T) {
	t.Parallel()
	f := onServer(t)
	topic := unique(t)
	c := SourceConfig{Topics: topics(topic), QoS: 1, Share: "workers", ReceiveMaximum: 50}
	const n = 1000
	drive.Opened(t, f.source(t, topic+"-0", c)) // it holds what nobody reads
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	writing := make(chan error, 1)
	go func() {
		w := f.sink(t, SinkConfig{Topic: text(topic), QoS: 1})
		err := w.Open(ctx)
		for i := 0; i < n && err == nil; i += 10 {
			var bodies []string
			for j := range 10 {
				bodies = append(bodies, strconv.Itoa(i+j))
			}
			err = w.Write(ctx, conform.Batch(bodies...))
		}
		writing <- errors.Join(err, w.Close(ctx))
	}()
	seen := map[string]bool{}
	for round := 0; len(seen) < n && ctx.Err() == nil; round++ {
		s := f.source(t, fmt.Sprintf("%s-%d", topic, round%3), c) // one of them leaves what it has, and comes back for it
		if err := s.Open(ctx); err != nil {
			t.Fatal(err)
		}
		brief, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		for {
			var b penstock.Batch
			if s.Read(brief, &b) != nil {
				break
			}
			for i, m := range b.Msgs {
				if i%7 != 6 { // some it leaves
					seen[conform.Text(t, m.Body)] = true
					drive.Settle(t, s, m)
				}
			}
		}
		stop()
		drive.Closed(t, s)
	}
	if err := <-writing; err != nil {
		t.Fatal(err)
	}
	if len(seen) != n {
		t.Errorf("%d of %d", len(seen), n)
	}
}
