package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
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
	// Once ends the run when what is there was read.
	Once bool
	// Listen lets commands ask this run, over a socket beside the store.
	Listen bool
	// Drain bounds how long messages in flight may take after ctx has ended; 0 is 30 s.
	Drain time.Duration
	// Logger gets the engine's and the steps' log; nil: none.
	Logger *slog.Logger
	// Stdin and Stdout are the process's streams, for the connectors of these names.
	Stdin  io.Reader
	Stdout io.Writer
	// Progress, where it is there, is called with a snapshot every so often while the run lasts, by
	// one goroutine, and never after Run returned.
	Progress func(*Summary)
	Every    time.Duration // 0 is 1 s
	// Abort, when closed, makes Run return at once.
	Abort <-chan struct{}
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
	if err := s.fillSecrets(pl); err != nil {
		return nil, err
	}
	from, err := s.from(pl, o.From)
	if err != nil {
		return nil, err
	}
	st := newStorage(pl.Store, o.Store, o.Logger)
	sum, err := s.runOn(ctx, c, pl, st, from, &o)
	return sum, errors.Join(err, st.Close())
}

// runOn runs a plan on a store, which the caller closes.
func (s *Service) runOn(ctx context.Context, c *Checked, pl *plan.Plan, st *storage, from run.From, o *RunOptions) (*Summary, error) {
	started := make(chan struct{})
	r, err := run.New(pl, run.Options{
		OnStart: func() {
			if db := st.Opened(); db != nil && pl.Durable && o.Logger != nil {
				warnUnread(ctx, o.Logger, db, pl, c.plan)
			}
			close(started)
		},
		Logger: o.Logger, Clock: s.clock(), UUID: newUUID, DeadLetters: o.DeadLetters, Drain: o.Drain,
		Stdin: o.Stdin, Stdout: o.Stdout, Store: st.Open, From: from, Once: o.Once,
	})
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "start", Err: err}
	}
	view := c.viewOf(pl)
	snapshot := func() *run.Summary {
		select {
		case <-started: // before, the run is being made and must not be looked at
			return r.Snapshot()
		default:
			return &run.Summary{}
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
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
		listening = s.listen(ctx, started, r, snapshot, stop, c, pl, st, o)
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
			listening(res.err)
			return newSummary(res.sum, view), res.err
		case <-o.Abort:
			stopTick()
			listening(ErrAborted)
			return newSummary(snapshot(), view), ErrAborted
		case <-tick:
			if sum := newSummary(snapshot(), view); o.Progress != nil && len(sum.Flows) > 0 {
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
