package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/filewatch"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/entity/engine"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
)

// ErrAborted is returned by [Service.Run] when RunOptions.Abort ended it before what was in
// flight had finished.
var ErrAborted = &penstock.Error{
	Code: penstock.Cancelled, Op: "run", Err: errors.New("stopped at once; messages in flight were left"),
	Hint: "what was not settled is read again at the next start, where its source can",
}

// ErrInterrupted is why an operation ended that the user broke off.
var ErrInterrupted = &penstock.Error{Code: penstock.Cancelled, Err: errors.New("interrupted")}

// RunOptions are what a run needs beside its configuration.
type RunOptions struct {
	// Flows are the flows to run, with those that they feed through channels; none is all.
	Flows []string
	// DeadLetters is the folder of the dead-letter files of flows that name no dead letter; "": they are
	// kept in the store.
	DeadLetters string
	// Store is the path of the store's file; "": the Integration's, or the default.
	Store string
	// From says where reading begins: "" where the last run stopped, "start", a duration ("2h": what came in the last two hours), a
	// time (RFC 3339), or a position in the channels that are read (a number). Only for runs that keep state.
	From string
	// Address is where flows that are called over HTTP are reached, as host:port; "": the Integration's, or the default.
	Address string
	// Control is where the run says how it is (metrics, health, profiles), as host:port; "": the Integration's, or nowhere.
	Control string
	// Lease is how long a part of a store that replicas share is held without being renewed; 0: the Integration's, or the default.
	Lease time.Duration
	// Version is the program's, for those who look at it.
	Version Version
	// Getenv reads the environment for what it says of telemetry (OTEL_…); nil: the process's.
	Getenv func(string) string
	// Once ends the run when what is there was read.
	Once bool
	// Listen lets commands ask this run, over a socket beside the store.
	Listen bool
	// Drain bounds how long messages in flight may take after ctx has ended; 0 is 30 s.
	Drain time.Duration
	// Logger gets the engine's and the steps' log; nil: none.
	Logger *slog.Logger
	// WarnDead logs each dead letter as a warning, for machines that read the log; people see them in the summary.
	WarnDead bool
	// Stdin and Stdout are the process's streams, for the connectors of these names.
	Stdin  io.Reader
	Stdout io.Writer
	// Progress, where it is there, is called with a snapshot every so often while the run lasts, by
	// one goroutine, and never after Run returned.
	Progress func(*Summary)
	Every    time.Duration // 0 is 1 s
	// Abort, when closed, makes Run return at once.
	Abort <-chan struct{}
	// Project is where the configuration was read from, for reloads; Strict as it was checked.
	Project Project
	Strict  bool
	// Watch has the run do what the files of the configuration say whenever they change. It then goes on until it is stopped, also when
	// its sources have ended.
	Watch bool
	// Hangup asks for a reload with each thing that comes; nil: nobody does.
	Hangup <-chan os.Signal
	// Reloaded is told of each reload that files or Hangup asked for, by one goroutine; nil: nobody is.
	Reloaded func(*Reloaded)

	secrets  run.Redactor                // set by Run
	store    func() (store.Store, error) // tests: a store that replicas share
	watching func(*Checked)
	files    *filewatch.Watcher // with Watch: who watches the files; nil: the run itself
	begun    func(*session)     // told when there is a runner
	changing func()             // told before each reload, whoever asks for it
	changed  func(*Reloaded)    // … and after it
}

// Run runs a checked configuration until its sources have ended, or until ctx ends and what is in
// flight has finished. The summary is there even with an error. What becomes of bad messages is no
// error: see FlowSummary.Dead.
func (s *Service) Run(ctx context.Context, c *Checked, o RunOptions) (*Summary, error) {
	pl, err := c.selectFlows(o.Flows)
	if err != nil {
		return nil, err
	}
	if err := c.fed(pl); err != nil {
		return nil, err
	}
	keeper := s.keeper(o.Logger)
	defer func() { _ = keeper.Close() }()
	if err := keeper.Fill(ctx, pl); err != nil {
		return nil, err
	}
	if o.Logger != nil {
		o.Logger = slog.New(keeper.Handler(o.Logger.Handler()))
	}
	from, err := s.from(pl, o.From)
	if err != nil {
		return nil, err
	}
	st := newStorage(pl.Store, o.Store, o.Logger)
	st.other = o.store
	o.secrets = keeper
	sum, err := s.runOn(ctx, &session{s: s, o: &o, keeper: keeper, st: st, now: running{c, pl, c.viewOf(pl)}}, from)
	return sum, errors.Join(keeper.RedactError(err), st.Close())
}

// runOn runs a plan on a store, which the caller closes.
func (s *Service) runOn(ctx context.Context, x *session, from run.From) (*Summary, error) {
	c, pl, st, o := x.now.checked, x.now.plan, x.st, x.o
	tel, err := openTelemetry(ctx, pl, o)
	if err != nil {
		return nil, err
	}
	defer tel.close(o.Abort)
	web, err := openListener(ctx, pl, o, tel.tracer)
	if err != nil {
		return nil, err
	}
	defer web.close(o.Abort)
	x.views.x = x
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	queues, err := s.openQueues(ctx, pl, x, web)
	if err != nil {
		return nil, err
	}
	defer queues.close()
	x.queues = queues
	started := make(chan struct{})
	if !pl.Durable && o.Logger != nil {
		warnMovedAnyway(ctx, o.Logger, st, c.plan)
	}
	if err := x.begins(ctx, pl); err != nil {
		return nil, err
	}
	x.entities = entity.New(pl.Entities, entity.Options{Store: st.Open, Clock: s.clock(), UUID: newUUID, Params: pl.Params})
	r, err := x.newCrew(pl, run.Options{
		Entities: engine.New(x.entities),
		OnStart: func() {
			if db := st.Opened(); db != nil && pl.Durable && o.Logger != nil {
				warnUnread(ctx, o.Logger, db, pl, c.plan)
				warnMoved(ctx, o.Logger, db, c.plan)
			}
			close(started)
		},
		Logger: o.Logger, Clock: s.clock(), UUID: newUUID, DeadLetters: o.DeadLetters, Drain: o.Drain,
		Stdin: o.Stdin, Stdout: o.Stdout, Store: x.views.opening(ctx, st.Open), Ask: x.views.ask, From: from, Once: o.Once, Secrets: o.secrets,
		Listener: web.server, WarnDead: o.WarnDead, Tracer: tel.tracer, Bounds: tel.bounds, Stays: o.Watch, Redrive: x.redrive, Jobs: queues.Service,
	}, web)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "start", Err: err}
	}
	x.r = r
	if o.begun != nil {
		o.begun(x)
	}
	snapshot := func() *run.Summary {
		select {
		case <-started: // before, the run is being made and must not be looked at
			return r.Snapshot()
		default:
			return &run.Summary{}
		}
	}
	defer context.AfterFunc(ctx, web.server.Drain)()
	looked, err := openPort(ctx, &watched{plan: func() *plan.Plan { return x.current().plan }, started: started, stopping: ctx, snapshot: snapshot, st: st, web: web, clock: s.clock(), tel: tel, crew: r, queues: queues.Service, views: &x.views}, o)
	if err != nil {
		return nil, err
	}
	defer closePort(looked)
	reloads, err := x.reloads(ctx, started)
	if err != nil {
		return nil, err
	}
	defer reloads()
	l := newLive(s.clock(), x, snapshot, stop)
	x.operates(l)
	type result struct {
		sum *run.Summary
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- result{snapshot(), run.NewFault("run", v)}
			}
		}()
		sum, err := r.Run(ctx)
		done <- result{sum, err}
	}()
	listening := func(error) {}
	if o.Listen {
		listening = s.listen(ctx, started, x, l, looked)
	}
	every := o.Every
	if every <= 0 {
		every = time.Second
	}
	for {
		tick, stopTick := s.clock().NewTimer(every)
		select {
		case res := <-done:
			stopTick()
			res.err = errors.Join(res.err, x.views.end(res.err == nil))
			listening(res.err)
			return newSummary(res.sum, x.current().view), res.err
		case <-o.Abort:
			stopTick()
			_ = x.views.end(false) // it was broken off
			listening(ErrAborted)
			return newSummary(snapshot(), x.current().view), ErrAborted
		case <-tick:
			if sum := newSummary(snapshot(), x.current().view); o.Progress != nil && len(sum.Flows) > 0 {
				o.Progress(sum)
			}
		}
	}
}

// Fault is a panic of this program, caught.
type Fault = run.Fault

// endpoints visits everything that a flow writes to: what it sends to, and its dead letter.
func endpoints(f *plan.Flow, visit func(*plan.Endpoint)) {
	sends(f, visit)
	if f.OnError.DeadLetter != nil {
		visit(f.OnError.DeadLetter)
	}
}

func sends(f *plan.Flow, visit func(*plan.Endpoint)) {
	var walk func([]plan.Node)
	walk = func(nodes []plan.Node) {
		for i := range nodes {
			switch op := nodes[i].Op.(type) {
			case *plan.Send:
				visit(op.Endpoint)
			case *plan.Fork:
				for j := range op.Branches {
					walk(op.Branches[j].Nodes)
				}
			case *plan.Loop:
				walk(op.Body.Nodes)
			}
		}
	}
	walk(f.Nodes)
}
