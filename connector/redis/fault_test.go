package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// storm has the faults happen while all is written and read, in order. It gives how many came twice.
func storm(t *testing.T, out penstock.Sink, in penstock.Source, all []string, every int, faults ...func()) (twice int) {
	t.Helper()
	have, twice := drive.Storm{Sink: out, Source: in, Bodies: all, Every: every}.Run(t, faults...)
	drive.Compare(t, have, all)
	return twice
}

// TestServerIsKilled: in mid-batch, again and again, under a sink and a source. What the server had on disk is all there, in order, and read in order.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"stream", "list"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := service.NewRedis(t, service.RedisSaves...)
			f := on(t, server)
			f.config.Fsync = true
			f.config.ReplyTimeout = penstock.Duration(2 * time.Second)
			f.env.Resumes = true
			key := name()
			to, from := SinkConfig{Stream: text(key)}, SourceConfig{Stream: text(key)}
			if what == "list" {
				to, from = SinkConfig{List: text(key)}, SourceConfig{List: text(key)}
			}
			out, in := drive.Opened(t, f.sink(t, to)), drive.Opened(t, f.source(t, from))
			kill := func() {
				server.Kill(t)
				server.Start(t)
			}
			twice := storm(t, out, in, drive.Numbered(0, 2000), 500, kill, kill, kill)
			t.Log(twice, "came twice")
			if what == "stream" { // as often as they are there
				f.back(t)
				drive.Compare(t, dedupe(f.written(t, key)), drive.Numbered(0, 2000))
			}
		})
	}
}

func dedupe(all []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// proxied makes a fixture behind a proxy.
func proxied(t testing.TB, server *service.RedisServer) (*fixture, *service.Proxy) {
	t.Helper()
	p := service.NewProxy(t, server.Address())
	f := on(t, server)
	f.config.URL = penstock.Template{Source: fmt.Sprintf("redis://127.0.0.1:%d", p.Port())}
	f.config.ReplyTimeout = penstock.Duration(500 * time.Millisecond)
	f.config.ConnectTimeout = penstock.Duration(time.Second)
	return f, p
}

// TestNetworkIsCut: connections break, are slow, and swallow what is sent.
func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"stream", "list"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f, p := proxied(t, service.Redis(t))
			f.env.Resumes = true
			key := name()
			to, from := SinkConfig{Stream: text(key)}, SourceConfig{Stream: text(key)}
			if what == "list" {
				to, from = SinkConfig{List: text(key)}, SourceConfig{List: text(key)}
			}
			out, in := drive.Opened(t, f.sink(t, to)), drive.Opened(t, f.source(t, from))
			pause := func() {
				p.Hold(true)
				c, stop := f.env.Clock.NewTimer(700 * time.Millisecond) // longer than the server may take
				<-c
				stop()
				p.Hold(false)
			}
			twice := storm(t, out, in, drive.Numbered(0, 4000), 500, p.Cut, func() { p.Slow(2 * time.Millisecond) }, p.Cut, func() { p.Slow(0) }, pause, p.Cut, p.Cut)
			t.Log(twice, "came twice")
			m := f.do(t, "LLEN", "{"+key+"}:processing:flow-step")
			if n, err := m.AsInt64(); err != nil || n > 200 { // the last may be on their way
				t.Errorf("%d are left, %v", n, err)
			}
		})
	}
}

// TestAnswerIsLost: the server has the message, and nobody hears of it. It is there twice, and nothing is lost.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.Redis(t))
	stream := name()
	out := drive.Opened(t, f.sink(t, SinkConfig{Stream: text(stream)}))
	p.CutWhen(func(sent []byte) bool { return bytes.Contains(sent, []byte("XADD")) })
	errs := failures(t, out.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 3)...)))
	if len(errs) != 3 {
		t.Fatal(errs)
	}
	drive.Code(t, errs[0], penstock.Unavailable)
	drive.Until(t, "it is written", func() bool {
		return out.Write(context.Background(), drive.Batch("x", 0, drive.Numbered(0, 3)...)) == nil
	})
	drive.Compare(t, f.written(t, stream), slices.Concat(drive.Numbered(0, 3), drive.Numbered(0, 3)))
}

// TestListenerComesBack: what is published while the connection is broken is lost, and what comes later is heard.
func TestListenerComesBack(t *testing.T) {
	f, p := proxied(t, service.Redis(t))
	channel := name()
	s := drive.Opened(t, f.source(t, SourceConfig{Channels: []penstock.Template{text(channel)}}))
	f.do(t, "PUBLISH", channel, "1")
	drive.Compare(t, drive.Bodies(drive.Read(t, s, 1)), []string{"1"})
	p.Cut()
	if err := s.Read(t.Context(), new(penstock.Batch)); !errors.Is(err, penstock.ErrDisconnected) {
		t.Fatal(err)
	}
	drive.Until(t, "it listens", func() bool { return s.Open(context.Background()) == nil })
	f.do(t, "PUBLISH", channel, "2")
	drive.Compare(t, drive.Bodies(drive.Read(t, s, 1)), []string{"2"})
}

// TestLargeMessages: a megabyte each.
func TestLargeMessages(t *testing.T) {
	f := on(t, service.Redis(t))
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 1<<20)))
	}
	for what, c := range map[string]struct {
		to   SinkConfig
		from SourceConfig
	}{
		"stream": {SinkConfig{Stream: text("large")}, SourceConfig{Stream: text("large")}},
		"list":   {SinkConfig{List: text("large list")}, SourceConfig{List: text("large list")}},
	} {
		t.Run(what, func(t *testing.T) {
			if err := drive.Opened(t, f.sink(t, c.to)).Write(t.Context(), drive.Batch("x", 0, all...)); err != nil {
				t.Fatal(err)
			}
			s := drive.Opened(t, f.source(t, c.from))
			got := drive.Read(t, s, len(all))
			drive.SettleAll(t, s, got...)
			drive.Compare(t, drive.Bodies(got), all)
			f.do(t, "DEL", "large", "large list")
		})
	}
}

// TestWrongType: something else is under the key. That does not pass by itself.
func TestWrongType(t *testing.T) {
	f := on(t, service.Redis(t))
	key := name()
	f.do(t, "SET", key, "text")
	err := f.source(t, SourceConfig{Stream: text(key)}).Open(t.Context())
	drive.Code(t, err, penstock.Config, "WRONGTYPE", "TYPE key")
	err = drive.Opened(t, f.source(t, SourceConfig{List: text(key)})).Read(t.Context(), new(penstock.Batch))
	drive.Code(t, err, penstock.Config, "WRONGTYPE")
	if errors.Is(err, penstock.ErrDisconnected) {
		t.Error(err)
	}
	for _, c := range []SinkConfig{{Stream: text(key)}, {List: text(key)}} {
		errs := failures(t, drive.Opened(t, f.sink(t, c)).Write(t.Context(), drive.Batch("x", 0, "1")))
		drive.Code(t, errs[0], penstock.Config, "WRONGTYPE")
	}
}

// TestServerIsAway: at the first start that is an error; the second time it is waited for.
func TestServerIsAway(t *testing.T) {
	t.Parallel()
	server := service.NewRedis(t)
	f := on(t, server)
	f.config.ConnectTimeout, f.config.ReplyTimeout = penstock.Duration(time.Second), penstock.Duration(time.Second)
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: text("s")}))
	server.Stop(t)
	if err := s.Read(t.Context(), new(penstock.Batch)); !errors.Is(err, penstock.ErrDisconnected) {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); !errors.Is(err, penstock.ErrDisconnected) {
		t.Fatal(err)
	}
	other := through(t, server.URL())
	drive.Code(t, other.source(t, SourceConfig{Stream: text("s")}).Open(t.Context()), penstock.Unavailable)
	server.Start(t)
	drive.Until(t, "it is open", func() bool { return s.Open(context.Background()) == nil })
}

// TestNothingIsLeft: no goroutine outlives a run.
func TestNothingIsLeft(t *testing.T) {
	server := service.Redis(t)
	before := goleak.IgnoreCurrent()
	f := through(t, server.URL())
	for _, c := range []SourceConfig{{Stream: text(name())}, {Stream: text(name()), Shared: true}, {List: text(name())}, {Channels: []penstock.Template{text(name())}}} {
		s := f.source(t, c)
		for range 2 {
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Read(ctx, new(penstock.Batch)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	f.drop()
	goleak.VerifyNone(t, before)
}
