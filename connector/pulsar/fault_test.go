package pulsar

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// storm has the faults happen while all is written and read. It gives what was read, each once, and how many came under two positions.
func storm(t *testing.T, out penstock.Sink, in penstock.Source, all []string, every int, faults ...func()) (have []string, twice int) {
	t.Helper()
	return drive.Storm{Sink: out, Source: in, Bodies: all, Every: every, ByPosition: true}.Run(t, faults...)
}

// sorted sorts {"n":17} by the number.
func sorted(have []string, n int) []string {
	out := make([]string, 0, n)
	is := map[string]bool{}
	for _, b := range have {
		is[b] = true
	}
	for _, b := range drive.Numbered(0, n) {
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
			in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Type: c.kind}))
			out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), AckTimeout: penstock.Duration(60 * time.Second)}))
			if strings.Contains(c.name, "silent") {
				end := time.AfterFunc(8*time.Second, func() { p.Hold(false) }) // long enough for the client to give the connection up
				defer end.Stop()
				defer p.Hold(false)
			}
			all := drive.Numbered(0, 4000)
			have, twice := storm(t, out, in, all, 4000/(len(c.faults)+1)-50, c.faults...)
			if c.kind == shared || c.kind == keyShared {
				have = sorted(have, len(all))
			}
			drive.Compare(t, have, all)
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
			out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), Batching: Batching{By: "key", Messages: 100, Bytes: 128 << 10}}))
			var mu sync.Mutex
			done := map[string]bool{}
			all := make(chan struct{})
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			// consumer reads until it has so many, and goes; what it did not settle is for others.
			consumer := func(most int) {
				s := f.source(t, SourceConfig{Topic: drive.Template(topic), Type: kind, Subscription: drive.Template("s"), Prefetch: 50})
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
					some := drive.Those(t, &b)
					if len(some) > 10 {
						some = some[:len(some)*3/4] // not all of them: the others are somebody else's, later
					}
					mu.Lock()
					for _, g := range some {
						done[g.Body] = true
					}
					if len(done) == n {
						select {
						case <-all:
						default:
							close(all)
						}
					}
					mu.Unlock()
					drive.SettleAll(t, s, some...)
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
			bodies := drive.Numbered(0, n)
			for at := 0; at < n; at += 100 {
				b := drive.Batch("writes", int64(at), bodies[at:at+100]...)
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
