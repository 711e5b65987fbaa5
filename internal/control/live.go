package control

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/jsonview"
)

// live is a run as operations see it. It implements [operate.Process].
type live struct {
	clock    penstock.Clock
	since    time.Time
	snapshot func() *run.Summary
	stop     context.CancelFunc
	session  *session
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

func newLive(clock penstock.Clock, x *session, snapshot func() *run.Summary, stop context.CancelFunc) *live {
	return &live{clock: clock, since: clock.Now(), snapshot: snapshot, stop: stop, session: x, done: make(chan struct{})}
}

// Let implements operate.Process.
func (l *live) Let(flow string, dropped []operate.Reason) {
	held := make([]run.Held, len(dropped))
	for i, d := range dropped {
		held[i] = run.Held{Entry: d.Entry, Key: d.Held, Number: d.Number}
	}
	l.session.r.Let(flow, held)
}

// Pause implements operate.Changer.
func (l *live) Pause(flow string) error {
	err := l.session.r.Pause(flow)
	if err == nil {
		l.note(slog.LevelInfo, "paused by a command", "flow", flow)
	}
	return err
}

// Resume implements operate.Changer.
func (l *live) Resume(flow string) error {
	err := l.session.r.Resume(flow)
	if err == nil {
		l.note(slog.LevelInfo, "resumed by a command", "flow", flow)
	}
	return err
}

// Reload implements operate.Changer.
func (l *live) Reload(ctx context.Context) (*operate.Reloaded, error) {
	r, err := l.session.Reload(ctx)
	switch {
	case err != nil:
	case r.OK:
		var changed []string
		for _, c := range r.Changed {
			changed = append(changed, c.Flow)
		}
		l.note(slog.LevelInfo, "reloaded by a command", "added", r.Added, "changed", changed, "removed", r.Removed)
	case r.Error != nil:
		l.note(slog.LevelWarn, "a command's reload was refused", "error", &penstock.Error{Code: r.Error.Code, Err: errors.New(r.Error.Message)})
	default:
		l.note(slog.LevelWarn, "a command's reload was refused", "errors", r.Errors)
	}
	return r, err
}

// note writes down what a command has done: whoever reads the log afterwards was not there.
func (l *live) note(level slog.Level, msg string, attrs ...any) {
	if l.session != nil && l.session.o != nil && l.session.o.Logger != nil {
		l.session.o.Logger.Log(context.Background(), level, msg, attrs...)
	}
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
		fs := operate.FlowStatus{Flow: f.Name, State: operate.StateRunning, Read: f.Read, Unsettled: f.Unsettled, Failed: f.Failed, Died: f.Dead, Retries: f.Retries, Blocked: f.Blocked}
		if f.Duration != nil {
			fs.P50, fs.P99 = f.Duration.Quantile(0.5), f.Duration.Quantile(0.99)
		}
		switch {
		case l.stopping:
			fs.State = operate.StateDrains
		case f.State == run.StatePaused:
			fs.State = operate.StatePaused
		case f.State == run.StateEnded:
			fs.State = operate.StateEnded
		case f.State == run.StateBlocked:
			fs.State = operate.StateBlocked
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
	l.note(slog.LevelInfo, "a command ends the run")
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

// maxTapRate is how many messages a second one tap shows at most.
const maxTapRate = 1000

// Tap implements operate.Live.
func (l *live) Tap(ctx context.Context, q operate.TapQuery, visit func(*operate.Glimpse) error) error {
	rate := q.Rate
	if rate <= 0 {
		rate = 10
	}
	rate = min(rate, maxTapRate)
	// What flows is not held up by who looks on: what he is too slow for is not shown, and counted.
	seen := make(chan run.Glimpse, 2*rate)
	var missed atomic.Int64
	stop, err := l.session.r.Look(q.Flow, q.Step, rate, func(g run.Glimpse) {
		select {
		case seen <- g:
		default:
			missed.Add(1 + g.Skipped)
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	for n := 0; q.Max <= 0 || n < q.Max; n++ {
		select {
		case g := <-seen:
			o := &operate.Glimpse{Time: g.Time, Flow: g.Flow, Step: g.Step, What: g.What, ID: g.ID, Key: g.Key, Body: g.Body, Meta: g.Meta, Error: g.Error, Skipped: g.Skipped + missed.Swap(0)}
			if err := visit(o); err != nil {
				return err
			}
		case <-l.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Send implements operate.Live.
func (l *live) Send(ctx context.Context, s operate.Sending) (*operate.Sent, error) {
	if (s.Flow == "") == (s.Channel == "") {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "send", Err: errors.New("it goes to a flow, or to a channel"), Hint: "name one of them"}
	}
	if len(s.Body) == 0 {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "send", Err: errors.New("there is no body"), Hint: "give a JSON document; null is one"}
	}
	g := run.Given{Flow: s.Flow, Channel: s.Channel, Key: s.Key, Body: s.Body, By: "send"}
	for _, name := range slices.Sorted(maps.Keys(s.Meta)) {
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, s.Meta[name])
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "send", Path: "meta." + name, Err: err}
		}
		g.Meta = append(g.Meta, penstock.MetaEntry{Name: strings.ToLower(name), Value: penstock.NodeValue(d, 0).Load(nil)})
	}
	r, err := l.session.r.Give(ctx, g)
	if err != nil {
		return nil, err
	}
	return &operate.Sent{To: r.To, Position: r.Position, Answered: r.Answered, Reply: r.Body}, nil
}
