package rabbitmq

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/service"
)

// TestStorm: processes that share a queue come and go all the time, some of them without a word, while messages are written. All of them are worked on; what a process
// had when its connection was cut comes again at another.
func TestStorm(t *testing.T) {
	t.Parallel()
	server := service.RabbitMQ(t)
	for _, kind := range []string{typeClassic, typeQuorum} {
		for _, mode := range []string{"push", modePull} {
			t.Run(kind+" "+mode, func(t *testing.T) {
				t.Parallel()
				storm(t, server, kind, mode)
			})
		}
	}
}

func storm(t *testing.T, server *service.RabbitMQServer, kind, mode string) {
	t.Helper()
	f := on(t, server, server.Address())
	q := f.declare(t, kind, nil)
	const n = 2000
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var mu sync.Mutex
	times, all := map[string]int{}, make(chan struct{})
	var joined atomic.Int64
	member := func(through *fixture, proxy *service.Proxy, stays time.Duration, killed bool) {
		s := through.source(t, q, SourceConfig{Prefetch: 20, Mode: mode, Every: penstock.Duration(5 * time.Millisecond)})
		if err := s.Open(ctx); err != nil {
			if ctx.Err() == nil && !errors.Is(err, penstock.ErrDisconnected) {
				t.Error(err)
			}
			return
		}
		joined.Add(1)
		stay, leave := context.WithTimeout(ctx, stays)
		defer leave()
		for {
			b := new(penstock.Batch)
			if s.Read(stay, b) != nil {
				break
			}
			var o []penstock.Outcome
			mu.Lock()
			for _, m := range b.Msgs[:(len(b.Msgs)+1)/2] { // and the rest when it leaves, or not
				o = append(o, penstock.Outcome{Pos: m.Pos})
				if times[conform.Text(t, m.Body)]++; len(times) == n {
					select {
					case <-all:
					default:
						close(all)
					}
				}
			}
			mu.Unlock()
			if err := s.Settle(ctx, o); err != nil {
				t.Error(err)
			}
		}
		if killed {
			proxy.Cut()
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	var members sync.WaitGroup
	for slot := range 3 {
		proxy := service.NewProxy(t, server.Address())
		through := on(t, server, address(proxy))
		members.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				select {
				case <-all:
					return
				default:
				}
				member(through, proxy, time.Duration(50+70*slot)*time.Millisecond, round%3 == 2)
			}
		})
	}
	for i := 0; i < n; i += 50 {
		var some []string
		for j := range 50 {
			some = append(some, strconv.Itoa(i+j))
		}
		f.put(t, q, some...)
	}
	select {
	case <-all:
	case <-ctx.Done():
	}
	members.Wait()
	twice := 0
	for _, k := range times {
		twice += k - 1
	}
	t.Logf("%d of %d messages, %d times more than once, members joined %d times", len(times), n, twice, joined.Load())
	if len(times) != n {
		t.Errorf("%d of %d messages were worked on", len(times), n)
	}
}
