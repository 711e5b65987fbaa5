package run

import (
	"context"
	crand "crypto/rand"
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
	"penstock.dev/penstock/internal/observe"
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
	RoleServer     Role = "server"
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
	// Replace gives another instance for an endpoint (tests, mocks): a penstock.Source, Server, Sink or Caller.
	// For the dead letter of a flow that names none the endpoint is nil.
	Replace func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool)
	// Store opens the store. It is called when the store is needed first: at once in a run that keeps state, else with
	// the first dead letter of a flow that names no place for them. Who made it closes it, after the run. Nil: there is
	// none, and such dead letters go to files.
	Store func() (store.Store, error)
	// Redrive gives dead letters of a flow to it again, for steps that do so, and says how many it gave in and how many of those that were
	// there when it began are left. What it has done when it fails stays done. Nil: there are none.
	Redrive func(ctx context.Context, what Redriving) (given, left int64, err error)
	// Entities does what steps ask of entities; nil: there are none.
	Entities Entities
	// Ask makes what a step asks that asks a view; nil: there are none.
	Ask func(ask *plan.Ask) penstock.Caller
	// Jobs are the queues of jobs, for runs of plans that have any.
	Jobs Jobs
	// From says where reading begins in a run that keeps state; the zero From is where it stopped.
	From From
	// Once ends the run when what is there was read: a watch, a channel that nobody in the plan feeds.
	Once bool
	// Secrets takes the values of secrets out of errors before they become part of a message, a reply, a span or a summary, and out of
	// messages that are looked at; nil: there are none. What is logged is the Logger's own matter.
	Secrets Redactor
	// Listener is the process's HTTP listener, for servers that speak HTTP. Nil: there is none, and they can't be mounted.
	Listener penstock.Listener
	// WarnDead logs each dead letter as a warning; else it is there for whoever looks for faults, at the level debug.
	WarnDead bool
	// Tracer records the spans of messages; nil: nobody does.
	Tracer *observe.Tracer
	// Bounds are the classic buckets of how long messages take, in seconds; nil: observe.DefaultBounds.
	Bounds []float64
	// Stays keeps the run from ending by itself when its sources have ended: it is given other plans (Runner.Apply) until it is stopped.
	Stays bool
	// Replicas says that other processes have the store of this run, too: a channel of the store does not end with those of this run who
	// send to it.
	Replicas bool
	// Part is which side of its flows the run does, where they are called on every replica.
	Part Side
	// OnIdle is told when the run has nothing to do but wait for its clock or its sources. It must
	// not block, nor ask the run anything but Idle.
	OnIdle func()
	// OnStart is told when everything is open and reading begins.
	OnStart func()
}

// Side is a part of what a flow does, where several processes run it.
type Side uint8

// The sides of flows.
const (
	Whole Side = iota // everything
	Front             // it answers who calls it; dead letters that are given in again are for another process
	Back              // nobody calls it: dead letters that are given in again are worked on
)

// Redactor knows the values of secrets.
type Redactor interface {
	// Redact gives text without them.
	Redact(text string) string
	// RedactError gives err, or another one of its code where its text holds one.
	RedactError(err error) error
}

// Runner runs a plan once, or, with Apply, several after one another.
type Runner struct {
	applyM  sync.Mutex // one reload at a time
	opts    Options
	clock   penstock.Clock
	random  func() float64
	tracer  *observe.Tracer // nil: nobody records spans
	net     atomic.Pointer[wiring]
	hub     *channel.Hub
	storeID string // what the store is called in identities
	storeM  sync.Mutex
	store   store.Store // nil until it is needed
	started time.Time
	busyN   atomic.Int64
	batches pool[penstock.Batch] // memory of messages, used over and over
	run     string               // names this run among all: in identities that are to be unique only
	unique  atomic.Uint64        // see intake.unique

	ctx    context.Context // processing; cancelled by abort
	cancel context.CancelFunc
	once   sync.Once
	cause  error
	causeM sync.Mutex

	guardsM sync.Mutex
	guards  []*guard // the newest last

	looksM    sync.Mutex              // who changes looks
	looks     atomic.Pointer[[]*look] // nil: nobody looks
	memoriesM sync.Mutex
	memories  map[string]*driverMemory // what drivers keep in a run without state

	sharedM sync.Mutex
	shared  map[string]*shared

	lives lives
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
	if o.Bounds == nil {
		o.Bounds = observe.DefaultBounds()
	}
	if o.Drain <= 0 {
		o.Drain = 30 * time.Second
	}
	r := &Runner{opts: o, clock: o.Clock, random: o.Random, tracer: o.Tracer, shared: map[string]*shared{}, run: crand.Text()[:13]}
	r.busy() // until Run has ended
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.lives.begun, r.lives.over, r.lives.stays = make(chan struct{}), make(chan struct{}), o.Stays
	r.net.Store(newWiring(p, nil))
	var errs []error
	runtime := r.runtimeOf(p)
	for _, pf := range p.Flows {
		f, err := newFlow(r, pf, runtime, r.wiring())
		r.lives.flows = append(r.lives.flows, f)
		errs = append(errs, err)
	}
	for _, f := range r.lives.flows {
		f.stats.become(f.statNodes)
		f.attach()
	}
	r.wiring().circles(r.lives.flows)
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
	for _, f := range r.list() {
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
	if err == nil && ctx.Err() == nil {
		err = r.blocked()
	}
	sum := r.Snapshot()
	sum.Stopped = ctx.Err() != nil
	return sum, err
}

func (r *Runner) open() error {
	if err := r.openStore(r.ctx); err != nil {
		return err
	}
	if err := r.ensureTopology(r.ctx, r.current(), nil); err != nil {
		return err
	}
	var errs []error
	for _, f := range r.list() {
		errs = append(errs, f.open(r.ctx))
	}
	for _, d := range r.wiring().durables {
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
	r.begin(reading)
	finished := r.lives.over
	select {
	case <-finished:
		return
	case <-r.ctx.Done():
		stop()
		r.mayEnd()
	case <-ctx.Done():
		r.letGo()
		r.mayEnd()
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
		for _, f := range append(r.list(), r.formers()...) {
			f.kill()
		}
		for _, c := range r.wiring().channels {
			c.end()
		}
	})
}

// Kill stops everything at once, and nothing that is in flight is settled: Run returns with err, unless it has failed before.
func (r *Runner) Kill(err error) { r.abort(err) }

// current is the plan that the flows are of.
func (r *Runner) current() *plan.Plan { return r.wiring().plan }

// wiring is how the flows are connected.
func (r *Runner) wiring() *wiring { return r.net.Load() }

func (r *Runner) failure() error {
	r.causeM.Lock()
	defer r.causeM.Unlock()
	return r.cause
}

// Snapshot counts what the run has done so far. It is safe to call while it runs.
func (r *Runner) Snapshot() *Summary {
	s := &Summary{Guards: r.guardSummaries()}
	if !r.started.IsZero() {
		s.Elapsed = r.clock.Now().Sub(r.started)
	}
	for _, f := range r.list() {
		s.Flows = append(s.Flows, f.summary())
	}
	net := r.wiring()
	for _, c := range net.plan.Channels {
		ch := net.channels[c.Name]
		if ch == nil {
			s.Channels = append(s.Channels, net.durables[c.Name].summary())
			continue
		}
		cs := ChannelSummary{Name: c.Name, Handed: ch.handed.Load()}
		for _, sub := range ch.readers() {
			cs.Lost += int64(sub.left())
		}
		s.Channels = append(s.Channels, cs)
	}
	return s
}

func (f *flow) summary() FlowSummary {
	st := f.stats
	s := FlowSummary{
		Name: f.plan.Name, Read: st.Read.Load(), Done: st.Done.Load(), Filtered: st.Filtered.Load(), Dead: st.Dead.Load(), Failed: st.Failed.Load(), Called: f.called(),
		Late: st.Late.Load(), Grouped: st.Grouped.Load(), Groups: st.Groups.Load(), Bound: st.Bound.Load(), Split: st.Split.Load(),
		Retries: st.Retries.Load(), Again: st.Again.Load(), Undone: st.Undone.Load(), Redriven: st.Redriven.Load(), Lost: st.Lost.Load(), Sent: map[string]int64{}, Causes: st.Causes(),
	}
	s.State, s.Blocked = f.state(), f.blocks()
	s.Unsettled = s.Read - st.Settled.Load() - st.Undone.Load()
	s.Duration, s.Budget = st.Duration, f.budget.summary()
	for _, sk := range f.sinks {
		s.Sent[sk.ep.Name] = sk.sent.Load()
	}
	for _, n := range st.Nodes() {
		s.Steps = append(s.Steps, StepSummary{Name: n.Name, Verb: n.Verb, In: n.In.Load(), Dropped: n.Dropped.Load(), Errors: n.Errors.Load(), Retries: n.Retries.Load(), Codes: n.ErrorsByCode(), Cache: n.cache.summary()})
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
