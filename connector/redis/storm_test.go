package redis

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestStorm: consumers that share a stream, or a list, come and go all the time, some of them without a word and never under their name again, while messages are written. All
// of them are worked on; what a consumer had when it died comes to another, and in the end nothing is left with any of them.
func TestStorm(t *testing.T) {
	t.Parallel()
	server := service.Redis(t)
	f := on(t, server)
	for _, what := range []string{"stream", "list"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			const n = 2000
			place := name()
			source, sink := SourceConfig{ClaimAfter: penstock.Duration(300 * time.Millisecond), Prefetch: 10}, SinkConfig{}
			if what == "stream" {
				source.Stream, source.Shared, source.Group, sink.Stream = text(place), true, text("g"), text(place)
			} else {
				source.List, sink.List = text(place), text(place)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
			defer cancel()
			var mu sync.Mutex
			times, all := map[string]int{}, make(chan struct{})
			note := func(some []drive.Got) {
				mu.Lock()
				defer mu.Unlock()
				for _, g := range some {
					if times[g.Body]++; len(times) == n && times[g.Body] == 1 {
						close(all)
					}
				}
			}
			// member reads for a while, is done with half of what it gets, and goes.
			member := func(consumer string, stay time.Duration, killed bool) {
				own := through(t, server.URL())
				defer own.drop()
				c := source
				c.Consumer = text(consumer)
				s := own.source(t, c)
				if err := s.Open(ctx); err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				reading, leave := context.WithTimeout(ctx, stay)
				defer leave()
				var b penstock.Batch
				for s.Read(reading, &b) == nil {
					some := drive.Those(t, &b)
					done := some[:(len(some)+1)/2] // and the rest when it leaves, or not
					note(done)
					drive.SettleAll(t, s, done...)
					b.Reset()
				}
				if killed {
					crashed(s)
					return
				}
				if err := s.Close(context.Background()); err != nil {
					t.Error(err)
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
						member(fmt.Sprintf("%d of %d", round, slot), time.Duration(50+70*slot)*time.Millisecond, round%3 == 2)
						joined.Add(1)
					}
				})
			}
			out, bodies := drive.Opened(t, f.sink(t, sink)), drive.Numbered(0, n)
			for at := 0; at < n; at += 100 {
				if err := out.Write(ctx, drive.Batch("writes", int64(at), bodies[at:at+100]...)); err != nil {
					t.Error(err)
					break
				}
			}
			select {
			case <-all:
			case <-ctx.Done():
			}
			members.Wait()
			mu.Lock()
			twice := -len(times)
			for _, k := range times {
				twice += k
			}
			t.Logf("%d of %d messages, %d times more than once, members joined %d times", len(times), n, twice, joined.Load())
			if len(times) != n {
				t.Errorf("%d of %d messages were worked on", len(times), n)
			}
			mu.Unlock()
			for round := 0; f.left(t, place, what) > 0; round++ {
				if ctx.Err() != nil {
					t.Fatalf("%d are left with somebody", f.left(t, place, what))
				}
				member(fmt.Sprintf("last %d", round), time.Second, false)
			}
		})
	}
}

// left is how many of a stream or list nobody is done with: those that wait, and those that somebody has.
func (f *fixture) left(t testing.TB, place, what string) (n int64) {
	t.Helper()
	if what == "stream" {
		return f.pending(t, place, "g")
	}
	for _, key := range append(f.keys(t, "{"+place+"}:processing:*"), place) {
		m := f.do(t, "LLEN", key)
		k, err := m.AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return n
}

func (f *fixture) keys(t testing.TB, pattern string) []string {
	t.Helper()
	m := f.do(t, "KEYS", pattern)
	all, err := m.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWhatIsNotSettledComesAgain: only what is done is acknowledged. What the flow was not done with, and what it never spoke of, comes to the next consumer.
func TestWhatIsNotSettledComesAgain(t *testing.T) {
	for what, c := range map[string]SourceConfig{"alone": {Stream: text("x")}, "shared": {Stream: text("x"), Shared: true}, "list": {List: text("x")}} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.Redis(t))
			place := name()
			if what == "list" {
				c.List = text(place)
				f.do(t, append([]string{"LPUSH", place}, drive.Numbered(0, 6)...)...)
			} else {
				c.Stream = text(place)
				f.send(t, place, drive.Numbered(0, 6)...)
			}
			first := start(t, f.source(t, c))
			all := drive.Read(t, first, 6)
			drive.SettleAll(t, first, all[4], all[0], all[1])
			if err := first.Settle(t.Context(), []penstock.Outcome{{Pos: all[2].Pos, Err: io.ErrUnexpectedEOF}}); err != nil {
				t.Fatal(err)
			}
			if err := first.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			next := drive.Opened(t, f.source(t, c))
			rest := drive.Read(t, next, 3)
			have := drive.Bodies(rest)
			slices.Sort(have)
			drive.Compare(t, have, []string{all[2].Body, all[3].Body, all[5].Body})
			drive.SettleAll(t, next, rest...)
		})
	}
}
