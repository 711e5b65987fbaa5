package drive

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// patience is how long a storm waits for one side. A server that is killed again and again on a loaded machine takes most of it.
const patience = 100 * time.Second

// Storm has a sink write all bodies and a source read them while faults happen, each when Every more messages were read. Writing goes a little ahead of
// reading, so that both are in the middle of something.
type Storm struct {
	Sink   penstock.Sink
	Source penstock.Source
	Bodies []string
	Every  int
	// ByPosition drops what comes again under a position that was settled, as the engine does of a source with positions.
	ByPosition bool
}

// Run gives what was read, each once in the order of reading, and how many came twice.
func (s Storm) Run(t *testing.T, faults ...func()) (have []string, twice int) {
	t.Helper()
	var mu sync.Mutex
	cond, progress := sync.NewCond(&mu), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		Write(t, s.Sink, s.Bodies, func(at int) {
			mu.Lock()
			defer mu.Unlock()
			for progress < at-s.Every/2 {
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
	have, twice = s.follow(t, func(n int) {
		mu.Lock()
		defer mu.Unlock()
		progress = n
		cond.Broadcast()
		for len(faults) > 0 && n >= s.Every*(cap(happen)-len(faults)+1) {
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

// follow reads and settles until all different bodies were read.
func (s Storm) follow(t *testing.T, now func(n int)) (out []string, twice int) {
	t.Helper()
	if s.ByPosition {
		return FollowPositions(t, s.Source, len(s.Bodies), now)
	}
	return Follow(t, s.Source, len(s.Bodies), now)
}

// Follow reads and settles until n different bodies were read, and gives them in the order of reading, each once. What came twice is counted. now is told how
// many there are, after each batch.
func Follow(t testing.TB, s penstock.Source, n int, now func(n int)) (out []string, twice int) {
	t.Helper()
	return follow(t, s, n, now, func(Got) bool { return false })
}

// FollowPositions is Follow for a source with positions: as the engine does, it drops what comes again under a position that was settled. What came under two
// positions is counted.
func FollowPositions(t testing.TB, s penstock.Source, n int, now func(n int)) (out []string, twice int) {
	t.Helper()
	type place struct {
		stream string
		offset int64
	}
	done := map[place]bool{}
	return follow(t, s, n, now, func(g Got) bool {
		at := place{g.Pos.Stream, g.Pos.Offset}
		was := done[at]
		done[at] = true
		return was
	})
}

func follow(t testing.TB, s penstock.Source, n int, now func(n int), settled func(Got) bool) (out []string, twice int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seen := map[string]bool{}
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		connected, err := readOnce(ctx, s, &b)
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(out), n, err)
		}
		if !connected {
			continue
		}
		some := Those(t, &b)
		for _, g := range some {
			switch {
			case settled(g):
			case seen[g.Body]:
				twice++
			default:
				seen[g.Body] = true
				out = append(out, g.Body)
			}
		}
		SettleAll(t, s, some...)
		now(len(out))
	}
	return out, twice
}

// Write writes all bodies in batches, and again what fails for a while, as a flow does. may is asked before each batch, and returns when it may be written. It may
// run beside the test: what can't be written fails the test and ends the writing.
func Write(t testing.TB, s penstock.Sink, all []string, may func(at int)) {
	t.Helper()
	end := time.Now().Add(patience)
	for at := 0; at < len(all); {
		may(at)
		n := min(100, len(all)-at)
		b := Batch("writes", int64(at), all[at:at+n]...)
		for len(b.Msgs) > 0 {
			err := s.Write(context.Background(), b)
			if err == nil {
				break
			}
			var final error
			if b.Msgs, final = again(b, err); final == nil && time.Now().After(end) {
				final = err
			}
			if final != nil {
				t.Error(final)
				return
			}
		}
		at += n
	}
}

// again gives what of a batch has to be written once more, or the error that no other try mends.
func again(b *penstock.Batch, err error) (out []*penstock.Message, final error) {
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		if !penstock.CodeOf(err).Transient() {
			return nil, err
		}
		return b.Msgs, nil
	}
	for i, m := range b.Msgs {
		if e := each.Errs[i]; e != nil {
			if !penstock.CodeOf(e).Transient() {
				return nil, e
			}
			out = append(out, m)
		}
	}
	return out, nil
}
