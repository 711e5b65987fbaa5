package drive

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// Members are readers that share what they read, and come and go all the time. Each reads for a while, is done with half of what it gets, and goes, every third of them without a word:
// what it had is for others.
type Members struct {
	// Bodies is how many different ones there are to read.
	Bodies int
	// Join makes the source of the round-th member in a slot, which is not open. leave ends it, and whatever was made for it; killed: as a process ends that is.
	Join func(slot, round int) (s penstock.Source, leave func(killed bool))

	mu     sync.Mutex
	times  map[string]int
	joined int
	all    chan struct{} // closed when each was done by somebody
}

// slots is how many members there are at a time.
const slots = 3

// Run has members read while write writes, until all is done, or ctx has ended. It fails the test where something was not done.
func (m *Members) Run(ctx context.Context, t *testing.T, write func()) {
	t.Helper()
	m.times, m.all = map[string]int{}, make(chan struct{})
	var members sync.WaitGroup
	for slot := range slots {
		members.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				select {
				case <-m.all:
					return
				default:
				}
				m.Stay(ctx, t, slot, round, time.Duration(50+70*slot)*time.Millisecond, round%3 == 2)
			}
		})
	}
	write()
	select {
	case <-m.all:
	case <-ctx.Done():
	}
	members.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	twice := -len(m.times)
	for _, n := range m.times {
		twice += n
	}
	t.Logf("%d of %d messages, %d times more than once, members joined %d times", len(m.times), m.Bodies, twice, m.joined)
	if len(m.times) != m.Bodies {
		t.Errorf("%d of %d messages were worked on", len(m.times), m.Bodies)
	}
}

// Stay has one member join, and go after a while.
func (m *Members) Stay(ctx context.Context, t *testing.T, slot, round int, while time.Duration, killed bool) {
	t.Helper()
	s, leave := m.Join(slot, round)
	defer func() { leave(killed) }()
	if err := s.Open(ctx); err != nil {
		if ctx.Err() == nil && !errors.Is(err, penstock.ErrDisconnected) {
			t.Error(err)
		}
		return
	}
	reading, stop := context.WithTimeout(ctx, while)
	defer stop()
	var b penstock.Batch
	for s.Read(reading, &b) == nil {
		some := Those(t, &b)
		done := some[:(len(some)+1)/2] // and the rest when it leaves, or not
		m.note(done)
		var o []penstock.Outcome
		for _, g := range done {
			o = append(o, penstock.Outcome{Pos: g.Pos})
		}
		if err := s.Settle(ctx, o); err != nil {
			t.Error(err)
		}
		b.Reset()
	}
	m.mu.Lock()
	m.joined++
	m.mu.Unlock()
}

// note counts what was done.
func (m *Members) note(done []Got) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range done {
		if m.times[g.Body]++; len(m.times) == m.Bodies && m.times[g.Body] == 1 {
			close(m.all)
		}
	}
}
