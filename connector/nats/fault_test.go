package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/service"
)

// storm has a sink write and a source read while faults happen, each when so many messages were read. Writing goes a little ahead of reading, so that
// both are in the middle of something.
func storm(t *testing.T, out penstock.Sink, in penstock.Source, all []string, every int, faults ...func()) {
	t.Helper()
	var mu sync.Mutex
	cond, progress := sync.NewCond(&mu), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		writes(t, out, all, func(at int) {
			mu.Lock()
			defer mu.Unlock()
			for progress < at-every/2 {
				cond.Wait()
			}
		})
	})
	happen := make(chan func(), len(faults))
	wg.Go(func() {
		for f := range happen {
			f()
		}
	})
	have, twice := follows(t, in, len(all), func(n int) {
		mu.Lock()
		defer mu.Unlock()
		progress = n
		cond.Broadcast()
		for len(faults) > 0 && n >= every*(cap(happen)-len(faults)+1) {
			happen <- faults[0]
			faults = faults[1:]
		}
	})
	close(happen)
	wg.Wait()
	compare(t, have, all)
	if twice > 0 {
		t.Errorf("%d came twice", twice)
	}
	if len(faults) > 0 {
		t.Errorf("%d faults did not happen", len(faults))
	}
}

// writes writes all bodies in batches, and again what fails for a while, as a flow does.
func writes(t testing.TB, s penstock.Sink, all []string, may func(at int)) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for at := 0; at < len(all); {
		may(at)
		n := min(100, len(all)-at)
		b := batch("writes", int64(at), all[at:at+n]...)
		for len(b.Msgs) > 0 {
			err := s.Write(context.Background(), b)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
			var each *penstock.BatchError
			if !errors.As(err, &each) {
				if !penstock.CodeOf(err).Transient() {
					t.Fatal(err)
				}
				continue
			}
			var again []*penstock.Message
			for i, m := range b.Msgs {
				if e := each.Errs[i]; e != nil {
					if !penstock.CodeOf(e).Transient() {
						t.Fatal(e)
					}
					again = append(again, m)
				}
			}
			b.Msgs = again
		}
		at += n
	}
}

// follows reads and settles until n different messages were read, and gives them in the order of reading, each once. What came twice is counted.
func follows(t testing.TB, s penstock.Source, n int, now func(n int)) (out []string, twice int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	seen := map[string]bool{}
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		err := s.Read(ctx, &b)
		if errors.Is(err, penstock.ErrDisconnected) {
			if err := s.Open(ctx); err != nil && !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(out), n, err)
		}
		some := those(t, &b)
		for _, g := range some {
			if seen[g.body] {
				twice++
				continue
			}
			seen[g.body] = true
			out = append(out, g.body)
		}
		settleAll(t, s, some...)
		now(len(out))
	}
	return out, twice
}

// TestServerIsKilled: in mid-batch, again and again, under a sink and a source. Nothing is lost, nothing is there twice, and the order is that of the stream.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	for what, push := range map[string]*Push{"pull": nil, "push": {}} {
		t.Run(what, func(t *testing.T) {
			server := service.NewNATS(t, service.NATSOptions{Sync: true})
			f := on(t, server)
			stream := f.stream(t, jetstream.StreamConfig{})
			f.env.Resumes = true
			out := opened(t, f.sink(t, SinkConfig{Subject: template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(2 * time.Second)}))
			in := opened(t, f.source(t, SourceConfig{Stream: stream, Push: push, AckWait: penstock.Duration(500 * time.Millisecond)}))
			all := numbered(0, 2000)
			kill := func() {
				server.Kill(t)
				server.Start(t)
			}
			storm(t, out, in, all, 500, kill, kill, kill)
			until(t, "the test's client is connected", f.nc.IsConnected)
			compare(t, f.written(t, stream), all)
		})
	}
}

// proxied makes a fixture behind a proxy.
func proxied(t testing.TB, server *service.NATSServer) (*fixture, *service.Proxy) {
	t.Helper()
	p := service.NewProxy(t, server.Address())
	f := on(t, server)
	f.config.URLs = []penstock.Template{{Source: fmt.Sprintf("nats://127.0.0.1:%d", p.Port())}}
	f.config.Ping = penstock.Duration(200 * time.Millisecond)
	f.config.ConnectTimeout = penstock.Duration(time.Second)
	return f, p
}

// TestNetworkIsCut: connections break, are slow, and swallow what is sent.
func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.env.Resumes = true
	out := opened(t, f.sink(t, SinkConfig{Subject: template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(time.Second)}))
	in := opened(t, f.source(t, SourceConfig{Stream: stream, AckWait: penstock.Duration(500 * time.Millisecond)}))
	all := numbered(0, 6000)
	storm(t, out, in, all, 600,
		p.Cut,
		func() { p.Slow(2 * time.Millisecond) },
		p.Cut,
		func() { p.Slow(0) },
		func() { // until both sides have noticed
			lost := in.(*positioned).link.lost()
			p.Hold(true)
			<-lost
			p.Hold(false)
		},
		p.Cut, p.Cut, p.Cut)
	compare(t, f.written(t, stream), all)
}

// TestConfirmationIsLost: the stream has the message, and nobody hears of it. It is written again, and there once.
func TestConfirmationIsLost(t *testing.T) {
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	out := opened(t, f.sink(t, SinkConfig{Subject: template(stream + ".a"), Stream: stream}))
	p.CutWhen(func(sent []byte) bool { return bytes.Contains(sent, []byte("HPUB "+stream)) })
	b := batch("x", 0, numbered(0, 3)...)
	errs := failures(t, out.Write(t.Context(), b))
	if len(errs) != 3 {
		t.Fatal(errs)
	}
	code(t, errs[0], penstock.Unavailable, "the connection broke")
	if penstock.IsUnsent(errs[0]) {
		t.Error("it may be there")
	}
	until(t, "the stream has them", func() bool { return len(f.stored(t, stream)) == 3 })
	if err := out.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	compare(t, f.written(t, stream), numbered(0, 3))
}

// TestNobodyIsThere: while the server is away, writing fails within its time, and says that nothing was sent.
func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	out := opened(t, f.sink(t, SinkConfig{Subject: template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(100 * time.Millisecond)}))
	core := opened(t, f.sink(t, SinkConfig{Subject: template(stream + ".b"), AckTimeout: penstock.Duration(100 * time.Millisecond)}))
	p.Refuse(true)
	p.Cut()
	until(t, "the connection is lost", func() bool {
		err := out.Write(t.Context(), batch("x", 0, `1`))
		return penstock.CodeOf(err) == penstock.Unavailable && penstock.IsUnsent(err)
	})
	err := core.Write(t.Context(), batch("x", 0, `1`))
	code(t, err, penstock.Unavailable, "no connection")
	if !penstock.IsUnsent(err) {
		t.Error("nothing was sent")
	}
	p.Refuse(false)
	until(t, "it is mended", func() bool { return out.Write(t.Context(), batch("x", 0, `1`)) == nil })
}

// TestServerIsFrozen: it stands, its connections with it. That is noticed.
func TestServerIsFrozen(t *testing.T) {
	t.Parallel()
	server := service.NewNATS(t, service.NATSOptions{})
	f := on(t, server)
	f.config.Ping, f.config.ConnectTimeout = penstock.Duration(100*time.Millisecond), penstock.Duration(200*time.Millisecond)
	stream := f.stream(t, memory)
	out := opened(t, f.sink(t, SinkConfig{Subject: template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(2 * time.Second)}))
	server.Freeze(t)
	err := out.Write(t.Context(), batch("x", 0, `1`))
	server.Thaw(t)
	for _, e := range append(failuresOrAll(err), nil) {
		if e != nil && !penstock.CodeOf(e).Transient() {
			t.Error(e)
		}
	}
	if err == nil {
		t.Error("a frozen server has confirmed a message")
	}
	until(t, "it goes on", func() bool { return out.Write(t.Context(), batch("x", 0, `1`)) == nil })
}

func failuresOrAll(err error) (out []error) {
	var each *penstock.BatchError
	if errors.As(err, &each) {
		for _, e := range each.Errs {
			out = append(out, e)
		}
		return out
	}
	return []error{err}
}

// TestListenerGoesOn: a subject is listened to again once there is a connection. What was said meanwhile is lost, as its page says.
func TestListenerGoesOn(t *testing.T) {
	f, p := proxied(t, service.NATS(t))
	subject := name()
	in := opened(t, f.source(t, SourceConfig{Subject: penstock.Template{Source: subject}}))
	say := func(text string) {
		t.Helper()
		if err := f.nc.Publish(subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := f.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	say(`1`)
	compare(t, bodies(read(t, in, 1)), []string{`1`})
	p.Cut()
	heard := make(chan got, 1000)
	go func() { heard <- read(t, in, 1)[0] }()
	var g got
	until(t, "it is heard again", func() bool {
		say(`2`)
		select {
		case g = <-heard:
			return true
		default:
			return false
		}
	})
	if g.body != `2` {
		t.Error(g)
	}
}

// TestSourceEndsWhileTheServerIsAway: nobody waits for a server that does not answer.
func TestSourceEndsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.send(t, stream+".a", numbered(0, 10)...)
	in := f.source(t, SourceConfig{Stream: stream})
	if err := in.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	read(t, in, 10)
	p.Hold(true)
	began := time.Now()
	if err := in.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("Close took %s", took)
	}
	p.Hold(false)
}

// TestPoison: a message that no codec can read is the message's failure, and comes with its bytes.
func TestPoison(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.send(t, stream+".a", `{"a":1}`, "\xff\xfe", strings.Repeat("[", 100_000), ``, `{"a":1,"a":2}`, `2`)
	in := opened(t, f.source(t, SourceConfig{Stream: stream}))
	all := read(t, in, 6)
	compare(t, []string{all[0].body, all[3].body, all[5].body}, []string{`{"a":1}`, `null`, `2`})
	if all[1].body != "\xff\xfe" || len(all[2].body) != 100_000 {
		t.Error("what can't be read is not as it came")
	}
	settleAll(t, in, all...)
	until(t, "all are acknowledged", func() bool { return f.consumer(t, stream, "flow-step").AckFloor.Stream == 6 })
}

// TestStopsAreInOrder: a source is stopped again and again with messages in flight, by a graceful end or none: the others come in order each time.
func TestStopsAreInOrder(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	f := on(t, server)
	c := SourceConfig{Stream: f.stream(t, memory), AckWait: penstock.Duration(200 * time.Millisecond)}
	f.send(t, c.Stream+".a", numbered(0, 60)...)
	var have []string
	for round := 0; len(have) < 60; round++ {
		one := through(t, server.URL())
		s := one.source(t, c)
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := min(round%7+1, 60-len(have))
		all := read(t, s, n)
		settleAll(t, s, all[:n]...)
		have = append(have, bodies(all[:n])...)
		if round%3 == 0 { // what a crash does
			if err := s.(*positioned).link.nc.FlushTimeout(5 * time.Second); err != nil {
				t.Fatal(err)
			}
			one.drop()
		}
		if err := s.Close(t.Context()); err != nil { // which nobody hears of any more behind a crash
			t.Fatal(err)
		}
	}
	compare(t, have, numbered(0, 60))
}

// TestStorm: processes that share a consumer come and go all the time, some of them without a word, while messages are written. All of them are worked on; what a process
// had when it was killed comes again at another.
func TestStorm(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	f := on(t, server)
	for what, c := range map[string]SourceConfig{"pull": {Prefetch: 10}, "push": {Prefetch: 10, Push: &Push{Group: "g"}}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c.Shared, c.Stream, c.AckWait = true, f.stream(t, memory), penstock.Duration(300*time.Millisecond)
			const n = 2000
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			var mu sync.Mutex
			times, all := map[string]int{}, make(chan struct{})
			note := func(some []got) {
				mu.Lock()
				defer mu.Unlock()
				for _, g := range some {
					if times[g.body]++; len(times) == n && times[g.body] == 1 {
						close(all)
					}
				}
			}
			var joined atomic.Int64
			var members sync.WaitGroup
			for slot := range 3 {
				members.Go(func() {
					for round := 0; ctx.Err() == nil; round++ {
						select {
						case <-all:
							return
						default:
						}
						own := through(t, server.URL())
						s := own.source(t, c)
						if err := s.Open(ctx); err != nil {
							if ctx.Err() == nil && !errors.Is(err, penstock.ErrDisconnected) {
								t.Error(err)
							}
							return
						}
						joined.Add(1)
						stay, leave := context.WithTimeout(ctx, time.Duration(50+70*slot)*time.Millisecond)
						var b penstock.Batch
						for s.Read(stay, &b) == nil {
							some := those(t, &b)
							done := some[:(len(some)+1)/2] // and the rest when it leaves, or not
							note(done)
							settleAll(t, s, done...)
							b.Reset()
						}
						leave()
						if round%3 == 2 { // it is killed
							own.drop()
						}
						if err := s.Close(context.Background()); err != nil {
							t.Error(err)
						}
						own.drop()
					}
				})
			}
			f.send(t, c.Stream+".a", numbered(0, n)...)
			select {
			case <-all:
			case <-ctx.Done():
			}
			members.Wait()
			mu.Lock()
			defer mu.Unlock()
			twice := 0
			for _, k := range times {
				twice += k - 1
			}
			t.Logf("%d of %d messages, %d times more than once, members joined %d times", len(times), n, twice, joined.Load())
			if len(times) != n {
				t.Errorf("%d of %d messages were worked on", len(times), n)
			}
		})
	}
}
