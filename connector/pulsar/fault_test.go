package pulsar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/service"
)

// storm has a sink write and a source read while faults happen, each when so many messages were read. Writing goes a little ahead of reading, so that
// both are in the middle of something. It gives what was read, each once, and how many came under two positions.
func storm(t *testing.T, out penstock.Sink, in penstock.Source, all []string, every int, faults ...func()) (have []string, twice int) {
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
	have, twice = follows(t, in, len(all), func(n int) {
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
	if len(faults) > 0 {
		t.Errorf("%d faults did not happen", len(faults))
	}
	return have, twice
}

// writes writes all bodies in batches, and again what fails for a while, as a flow does.
func writes(t testing.TB, s penstock.Sink, all []string, may func(at int)) {
	t.Helper()
	end := time.Now().Add(90 * time.Second)
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
				t.Error(err)
				return
			}
			var each *penstock.BatchError
			if !errors.As(err, &each) {
				if !penstock.CodeOf(err).Transient() {
					t.Error(err)
					return
				}
				continue
			}
			var again []*penstock.Message
			for i, m := range b.Msgs {
				if e := each.Errs[i]; e != nil {
					if !penstock.CodeOf(e).Transient() {
						t.Error(e)
						return
					}
					again = append(again, m)
				}
			}
			b.Msgs = again
		}
		at += n
	}
}

// follows reads and settles until n different messages were read, and gives them in the order of reading, each once. As the engine does of a
// source with positions, it drops what comes again under a position that was settled. What came under two positions is counted.
func follows(t testing.TB, s penstock.Source, n int, now func(n int)) (out []string, twice int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	seen, done := map[string]bool{}, map[place]bool{}
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
			at := place{g.pos.Stream, g.pos.Offset}
			switch {
			case done[at]:
			case seen[g.body]:
				twice++
			default:
				seen[g.body] = true
				out = append(out, g.body)
			}
			done[at] = true
		}
		settleAll(t, s, some...)
		now(len(out))
	}
	return out, twice
}

// sorted sorts {"n":17} by the number.
func sorted(have []string, n int) []string {
	out := make([]string, 0, n)
	is := map[string]bool{}
	for _, b := range have {
		is[b] = true
	}
	for _, b := range numbered(0, n) {
		if is[b] {
			out = append(out, b)
		}
	}
	return out
}

// TestBrokerFails: the broker is killed in mid-batch, and the network cut, slowed and silent, under a sink and a source. Nothing is lost, and where one consumer has the
// subscription, the order is that of the topic. The topic removes duplicates by what the client numbers its messages with, so that there are none.
func TestBrokerFails(t *testing.T) {
	t.Parallel()
	server := service.NewPulsar(t, "brokerDeduplicationEnabled=true")
	plain := func(t *testing.T) *fixture { return on(t, server) }
	proxied := func(t *testing.T) *fixture {
		return through(t, server, &ConnectionConfig{URL: penstock.Template{Source: server.Proxied()}, Listener: "proxied"})
	}
	kill := func() {
		server.Kill(t)
		server.Start(t)
	}
	p := server.Proxy()
	cut := func() { p.Cut() }
	cases := []struct {
		name   string
		on     func(*testing.T) *fixture
		kind   string
		faults []func()
	}{
		{"killed under exclusive", plain, exclusive, []func(){kill}},
		{"cut under exclusive", proxied, exclusive, []func(){cut, cut, cut, cut}},
		{"cut under key_shared", proxied, keyShared, []func(){cut, cut, cut, cut}},
		{"slow, then silent", proxied, failover, []func(){
			func() { p.Slow(20 * time.Millisecond) },
			func() { p.Slow(0); p.Hold(true) },
			func() {},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := c.on(t)
			topic := f.topic(t, 0)
			in := opened(t, f.source(t, SourceConfig{Topic: template(topic), Type: c.kind}))
			out := opened(t, f.sink(t, SinkConfig{Topic: template(topic), AckTimeout: penstock.Duration(60 * time.Second)}))
			if strings.Contains(c.name, "silent") {
				end := time.AfterFunc(8*time.Second, func() { p.Hold(false) }) // long enough for the client to give the connection up
				defer end.Stop()
				defer p.Hold(false)
			}
			all := numbered(0, 4000)
			have, twice := storm(t, out, in, all, 4000/(len(c.faults)+1)-50, c.faults...)
			if c.kind == shared || c.kind == keyShared {
				have = sorted(have, len(all))
			}
			compare(t, have, all)
			if twice > 0 {
				t.Errorf("%d came twice", twice)
			}
		})
	}
}

// TestConsumersComeAndGo: consumers join and leave while messages come. Each message is done by somebody.
func TestConsumersComeAndGo(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{shared, keyShared, failover} {
		t.Run(kind, func(t *testing.T) {
			f := on(t, service.Pulsar(t))
			topic := f.topic(t, 3)
			const n = 3000
			out := opened(t, f.sink(t, SinkConfig{Topic: template(topic), Batching: Batching{By: "key", Messages: 100, Bytes: 128 << 10}}))
			var mu sync.Mutex
			done := map[string]bool{}
			all := make(chan struct{})
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			// consumer reads until it has so many, and goes; what it did not settle is for others.
			consumer := func(most int) {
				s := f.source(t, SourceConfig{Topic: template(topic), Type: kind, Subscription: template("s"), Prefetch: 50})
				if err := s.Open(ctx); err != nil {
					t.Error(err)
					return
				}
				defer func() {
					if err := s.Close(ctx); err != nil {
						t.Error(err)
					}
				}()
				var b penstock.Batch
				for got := 0; got < most; {
					b.Reset()
					reading, stop := context.WithTimeout(ctx, 300*time.Millisecond)
					err := s.Read(reading, &b)
					stop()
					if err != nil {
						return // what it has and did not settle is somebody else's then
					}
					some := those(t, &b)
					if len(some) > 10 {
						some = some[:len(some)*3/4] // not all of them: the others are somebody else's, later
					}
					mu.Lock()
					for _, g := range some {
						done[g.body] = true
					}
					if len(done) == n {
						select {
						case <-all:
						default:
							close(all)
						}
					}
					mu.Unlock()
					settleAll(t, s, some...)
					got += len(some)
				}
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for {
						select {
						case <-all:
							return
						case <-ctx.Done():
							return
						default:
							consumer(200)
						}
					}
				})
			}
			bodies := numbered(0, n)
			for at := 0; at < n; at += 100 {
				b := batch("writes", int64(at), bodies[at:at+100]...)
				for i, m := range b.Msgs {
					m.Key = fmt.Sprint(i % 17)
				}
				if err := out.Write(ctx, b); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(done) != n {
				t.Errorf("%d of %d messages were done", len(done), n)
			}
		})
	}
}
