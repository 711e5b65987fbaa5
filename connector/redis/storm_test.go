package redis

import (
	"context"
	"fmt"
	"io"
	"slices"
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
			place := name()
			source, sink := SourceConfig{ClaimAfter: penstock.Duration(300 * time.Millisecond), Prefetch: 10}, SinkConfig{}
			if what == "stream" {
				source.Stream, source.Shared, source.Group, sink.Stream = text(place), true, text("g"), text(place)
			} else {
				source.List, sink.List = text(place), text(place)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
			defer cancel()
			out, bodies := drive.Opened(t, f.sink(t, sink)), drive.Numbered(0, 2000)
			members := drive.Members{Bodies: len(bodies), Join: func(slot, round int) (penstock.Source, func(bool)) {
				own, c := through(t, server.URL()), source
				c.Consumer = text(fmt.Sprintf("%d of %d", round, slot))
				s := own.source(t, c)
				return s, func(killed bool) {
					defer own.drop()
					if killed {
						crashed(s)
					} else if err := s.Close(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}}
			members.Run(ctx, t, func() {
				for at := 0; at < len(bodies); at += 100 {
					if err := out.Write(ctx, drive.Batch("writes", int64(at), bodies[at:at+100]...)); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for round := 0; f.left(t, place, what) > 0; round++ {
				if ctx.Err() != nil {
					t.Fatalf("%d are left with somebody", f.left(t, place, what))
				}
				members.Stay(ctx, t, -1, round, time.Second, false)
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
