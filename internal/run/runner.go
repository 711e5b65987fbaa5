package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Role says what an endpoint is used as.
type Role string

// The roles of endpoints.
const (
	RoleSource     Role = "source"
	RoleSink       Role = "sink"
	RoleCaller     Role = "caller"
	RoleDeadLetter Role = "deadLetter"
)

// Options is what a run needs beside its plan.
type Options struct {
	Logger *slog.Logger // nil: none
	Clock  penstock.Clock
	UUID   func() string
	// Random gives numbers in [0,1) for jitter; nil: math/rand/v2.
	Random func() float64
	// DeadLetters is the folder of the dead-letter files of flows that name no dead letter; "" is the
	// working folder. With it, or without a store, dead letters go to files.
	DeadLetters string
	// Drain bounds how long messages in flight may take to finish after the run is asked to stop; 0 is 30 s.
	Drain  time.Duration
	Stdin  io.Reader
	Stdout io.Writer
	// Replace gives another instance for an endpoint (tests, mocks): a penstock.Source, Sink or Caller.
	// For the dead letter of a flow that names none the endpoint is nil.
	Replace func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool)
	// Store opens the store. It is called when the store is needed first: at once in a run that keeps state, else with
	// the first dead letter of a flow that names no place for them. Who made it closes it, after the run. Nil: there is
	// none, and such dead letters go to files.
	Store func() (store.Store, error)
	// From says where reading begins in a run that keeps state; the zero From is where it stopped.
	From From
	// Once ends the run when what is there was read: a watch, a channel that nobody in the plan feeds.
	Once bool
	// OnIdle is told when the run has nothing to do but wait for its clock or its sources. It must
	// not block, nor ask the run anything but Idle.
	OnIdle func()
	// OnStart is told when everything is open and reading begins.
	OnStart func()
}

// Runner runs a plan once.
type Runner struct {
	plan     *plan.Plan
	opts     Options
	clock    penstock.Clock
	random   func() float64
	runtime  *penstock.Runtime
	channels map[string]*handover
	durables map[string]*durable // channels in the store
	hub      *channel.Hub
	storeM   sync.Mutex
	store    store.Store // nil until it is needed
	flows    []*flow
	started  time.Time
	busyN    atomic.Int64
	batches  pool[penstock.Batch] // memory of messages, used over and over

	ctx    context.Context // processing; cancelled by abort
	cancel context.CancelFunc
	once   sync.Once
	cause  error
	causeM sync.Mutex

	sharedM sync.Mutex
	shared  map[string]*shared
}

type shared struct{ v any }

// Close closes the value, if it can be.
func (s *shared) Close() error {
	if c, ok := s.v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// New builds the instances of a plan; nothing is opened yet. Its errors name the place of
// the endpoint that could not be built.
func New(p *plan.Plan, o Options) (*Runner, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Drain <= 0 {
		o.Drain = 30 * time.Second
	}
	r := &Runner{plan: p, opts: o, clock: o.Clock, random: o.Random, channels: map[string]*handover{}, durables: map[string]*durable{}, shared: map[string]*shared{}}
	r.runtime = &penstock.Runtime{Params: p.Params, Clock: o.Clock, UUID: o.UUID}
	r.busy() // until Run has ended
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, c := range p.Channels {
		if c.Durable {
			r.durable(c.Name, c)
			continue
		}
		r.channels[c.Name] = newHandover(c)
	}
	var errs []error
	for _, pf := range p.Flows {
		f, err := newFlow(r, pf)
		r.flows = append(r.flows, f)
		errs = append(errs, err)
	}
	r.circles()
	return r, errors.Join(errs...)
}

// Run opens everything, runs until all sources have ended and what they fed is drained,
// and closes. When ctx ends it stops reading, finishes what is in flight within
// Options.Drain, and returns a summary that says so, without an error.
func (r *Runner) Run(ctx context.Context) (*Summary, error) {
	defer r.idle()
	defer r.cancel()
	r.started = r.clock.Now()
	err := r.open()
	if err == nil {
		if r.opts.OnStart != nil {
			r.opts.OnStart()
		}
		r.drive(ctx)
	}
	for _, f := range r.flows {
		if e := f.close(context.WithoutCancel(ctx)); e != nil && err == nil && r.failure() == nil {
			err = e
		}
	}
	if r.hub != nil {
		r.hub.Close()
	}
	for _, s := range r.shared {
		err = errors.Join(err, s.Close())
	}
	if e := r.failure(); e != nil {
		err = e
	}
	sum := r.Snapshot()
	sum.Stopped = ctx.Err() != nil
	return sum, err
}

func (r *Runner) open() error {
	if err := r.openStore(r.ctx); err != nil {
		return err
	}
	var errs []error
	for _, f := range r.flows {
		errs = append(errs, f.open(r.ctx))
	}
	for _, d := range r.durables {
		if d.plan != nil && d.producers.Load() == 0 && r.opts.Once {
			d.end() // what is there is all that there is
		}
	}
	return errors.Join(errs...)
}

// drive runs all flows and, when ctx ends, sees that they drain in time.
func (r *Runner) drive(ctx context.Context) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	if r.hub != nil {
		tidying, over := context.WithCancel(r.ctx)
		var janitor sync.WaitGroup
		defer janitor.Wait()
		defer over()
		janitor.Go(func() { r.janitor(tidying) })
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.all(len(r.flows), func(i int) {
			if err := r.flows[i].run(reading); err != nil {
				r.abort(err)
			}
		})
	}()
	select {
	case <-finished:
		return
	case <-r.ctx.Done():
		stop()
	case <-ctx.Done():
		t := time.NewTimer(r.opts.Drain)
		defer t.Stop()
		select {
		case <-finished:
			return
		case <-r.ctx.Done():
		case <-t.C:
			r.abort(&penstock.Error{Code: penstock.Timeout, Op: "drain", Err: fmt.Errorf("messages in flight did not finish within %s", r.opts.Drain), Hint: "what was not settled is read again at the next start where its source can"})
		}
	}
	<-finished
}

// abort stops everything at once; the first cause is the run's error.
func (r *Runner) abort(err error) {
	r.once.Do(func() {
		r.causeM.Lock()
		r.cause = err
		r.causeM.Unlock()
		r.cancel()
		for _, f := range r.flows {
			close(f.abort)
			for _, q := range f.queues {
				q.abort()
			}
			f.budget.close()
			if f.gate != nil {
				f.gate.abort()
			}
		}
		for _, c := range r.channels {
			for _, s := range c.subs {
				s.close()
			}
		}
	})
}

func (r *Runner) failure() error {
	r.causeM.Lock()
	defer r.causeM.Unlock()
	return r.cause
}

// share keeps one value for the run.
func (r *Runner) share(key string, build func() (any, error)) (any, error) {
	r.sharedM.Lock()
	defer r.sharedM.Unlock()
	if s, ok := r.shared[key]; ok {
		return s.v, nil
	}
	v, err := build()
	if err != nil {
		return nil, err
	}
	r.shared[key] = &shared{v}
	return v, nil
}

// Snapshot counts what the run has done so far. It is safe to call while it runs.
func (r *Runner) Snapshot() *Summary {
	s := &Summary{}
	if !r.started.IsZero() {
		s.Elapsed = r.clock.Now().Sub(r.started)
	}
	for _, f := range r.flows {
		s.Flows = append(s.Flows, f.summary())
	}
	for _, c := range r.plan.Channels {
		ch := r.channels[c.Name]
		if ch == nil {
			s.Channels = append(s.Channels, r.durables[c.Name].summary())
			continue
		}
		cs := ChannelSummary{Name: c.Name, Handed: ch.handed.Load()}
		for _, sub := range ch.subs {
			cs.Lost += int64(sub.left())
		}
		s.Channels = append(s.Channels, cs)
	}
	return s
}

func (f *flow) summary() FlowSummary {
	st := &f.stats
	s := FlowSummary{
		Name: f.plan.Name, Read: st.Read.Load(), Done: st.Done.Load(), Filtered: st.Filtered.Load(), Dead: st.Dead.Load(),
		Late: st.Late.Load(), Grouped: st.Grouped.Load(), Groups: st.Groups.Load(), Bound: st.Bound.Load(), Split: st.Split.Load(),
		Retries: st.Retries.Load(), Again: st.Again.Load(), Redriven: st.Redriven.Load(), Lost: st.Lost.Load(), Sent: map[string]int64{}, Causes: st.Causes(),
	}
	s.Unsettled = s.Read - st.Settled.Load()
	for _, sk := range f.sinks {
		s.Sent[sk.ep.Name] += sk.sent.Load()
	}
	for _, n := range st.Nodes() {
		s.Steps = append(s.Steps, StepSummary{Name: n.Name, Verb: n.Verb, In: n.In.Load(), Dropped: n.Dropped.Load(), Errors: n.Errors.Load(), Retries: n.Retries.Load()})
	}
	if f.deadFile != nil && st.Dead.Load() > 0 {
		s.DeadLetter = f.deadFile.path
	} else if f.plan.OnError.DeadLetter != nil {
		s.DeadLetter = f.plan.OnError.DeadLetter.Label
	}
	return s
}

func (r *Runner) deadPath(flow string) string {
	return filepath.Join(r.opts.DeadLetters, flow+".dead.jsonl")
}
