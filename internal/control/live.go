package control

import (
	"context"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/run"
)

// live is a run as operations see it. It implements [operate.Process].
type live struct {
	clock    penstock.Clock
	since    time.Time
	snapshot func() *run.Summary
	stop     context.CancelFunc
	let      func(flow string, dropped []run.Held)
	done     chan struct{}

	mu       sync.Mutex
	stopping bool
	failure  error
	samples  []sample // the last few seconds, the oldest first
}

// sample is what the flows had read at a time.
type sample struct {
	at   time.Time
	read map[string]int64
}

// How the rate of a flow is measured: over the samples of the last few seconds.
const (
	sampleEvery = time.Second
	maxSamples  = 5
)

func newLive(clock penstock.Clock, r *run.Runner, snapshot func() *run.Summary, stop context.CancelFunc) *live {
	return &live{clock: clock, since: clock.Now(), snapshot: snapshot, stop: stop, let: r.Let, done: make(chan struct{})}
}

// Let implements operate.Process.
func (l *live) Let(flow string, dropped []operate.Reason) {
	held := make([]run.Held, len(dropped))
	for i, d := range dropped {
		held[i] = run.Held{Entry: d.Entry, Key: d.Held, Number: d.Number}
	}
	l.let(flow, held)
}

// watch takes samples until the run has ended.
func (l *live) watch() {
	for {
		l.sample()
		tick, stop := l.clock.NewTimer(sampleEvery)
		select {
		case <-l.done:
			stop()
			return
		case <-tick:
			stop()
		}
	}
}

func (l *live) sample() {
	s := sample{at: l.clock.Now(), read: map[string]int64{}}
	for _, f := range l.snapshot().Flows {
		s.read[f.Name] = f.Read
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.samples = append(l.samples, s); len(l.samples) > maxSamples {
		l.samples = l.samples[1:]
	}
}

// end says that the run is over.
func (l *live) end(err error) {
	l.mu.Lock()
	l.failure = err
	l.mu.Unlock()
	close(l.done)
}

// Flows implements operate.Process.
func (l *live) Flows() []operate.FlowStatus {
	sum, now := l.snapshot(), l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []operate.FlowStatus{}
	for _, f := range sum.Flows {
		fs := operate.FlowStatus{Flow: f.Name, State: operate.StateRunning, Read: f.Read, Unsettled: f.Unsettled}
		if l.stopping {
			fs.State = operate.StateDrains
		}
		if len(l.samples) > 0 {
			if span := now.Sub(l.samples[0].at).Seconds(); span > 0 {
				fs.Rate = float64(f.Read-l.samples[0].read[f.Name]) / span
			}
		}
		out = append(out, fs)
	}
	return out
}

// Since implements operate.Process.
func (l *live) Since() time.Time { return l.since }

// Stopping implements operate.Process.
func (l *live) Stopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}

// Stop implements operate.Process.
func (l *live) Stop() {
	l.stopped()
	l.stop()
}

// stopped notes that the run reads no more.
func (l *live) stopped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
}

// Done implements operate.Process.
func (l *live) Done() <-chan struct{} { return l.done }

// Failure implements operate.Process.
func (l *live) Failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}
