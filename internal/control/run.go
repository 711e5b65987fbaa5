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

// RunOptions are what a run needs beside its configuration.
type RunOptions struct {
	// Flows are the flows to run, with those that they feed through channels; none is all.
	Flows []string
	// DeadLetters is the folder of the dead-letter files of flows that name no dead letter; "" is
	// the current folder.
	DeadLetters string
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
	started := make(chan struct{})
	r, err := run.New(pl, run.Options{
		OnStart: func() { close(started) },
		Logger:  o.Logger, Clock: s.clock(), UUID: newUUID, DeadLetters: o.DeadLetters, Drain: o.Drain,
		Stdin: o.Stdin, Stdout: o.Stdout,
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
	every := o.Every
	if every <= 0 {
		every = time.Second
	}
	for {
		tick, stop := s.clock().NewTimer(every)
		select {
		case res := <-done:
			stop()
			return newSummary(res.sum, view), res.err
		case <-o.Abort:
			stop()
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
