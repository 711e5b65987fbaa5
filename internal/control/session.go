package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/secrets"
)

// Reloaded is what a reload has done, and why it is refused where it is.
type Reloaded = operate.Reloaded

// session is a run that goes on: what it runs, and how that becomes something else. It is safe for concurrent use.
type session struct {
	s      *Service
	o      *RunOptions
	keeper *secrets.Keeper
	st     *storage
	r      *crew
	// entities are those of the run.
	entities *entity.Runtime
	ops      *operate.Operations // on the store of the run, as commands and steps use them
	queues   *queues
	views    views // read models

	reloading sync.Mutex // one at a time
	last      *Checked   // reloading: of the last reload, whatever became of it; nil: there was none

	mu  sync.Mutex
	now running
}

// running is what runs now.
type running struct {
	checked *Checked
	plan    *plan.Plan
	view    view
}

func (x *session) current() running {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.now
}

func (x *session) become(c *Checked, pl *plan.Plan) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.now = running{c, pl, c.viewOf(pl)}
}

// Reload reads the configuration again and has the run do what it says.
func (x *session) Reload(ctx context.Context) (*Reloaded, error) {
	x.reloading.Lock()
	defer x.reloading.Unlock()
	began := time.Now()
	if x.o.changing != nil {
		x.o.changing()
	}
	out := &Reloaded{Added: []string{}, Removed: []string{}, Changed: []operate.FlowChange{}, Unchanged: []string{}, Again: []string{}, Notes: []operate.FlowNote{}, Findings: []Finding{}}
	err := x.reload(ctx, out)
	out.Seconds = time.Since(began).Seconds()
	if err != nil {
		out.OK, out.Restart, out.Error = false, errors.Is(err, run.ErrRestart), problem(err)
	}
	if x.o.changed != nil {
		x.o.changed(out)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

func (x *session) reload(ctx context.Context, out *Reloaded) error {
	if x.last == nil {
		x.last = x.current().checked
	}
	c := x.s.checkAfter(x.o.Project, compile.Options{Strict: x.o.Strict}, x.last)
	x.last = c
	out.Findings, out.Errors, out.Warnings = c.Findings, c.Errors, c.Warnings
	x.saw(c)
	if !c.OK {
		return nil
	}
	pl, err := c.selectFlows(x.o.Flows)
	if err == nil {
		err = c.fed(pl)
	}
	if err != nil {
		return err
	}
	if err := fixed(x.current().plan, pl); err != nil {
		return err
	}
	if err := x.keeper.Fill(ctx, pl); err != nil {
		return err
	}
	found, err := x.compatible(ctx, pl)
	if err != nil {
		return err
	}
	if found.Len() > 0 {
		all := found.Sorted()
		out.Findings, out.Errors = append(slices.Clip(out.Findings), all...), out.Errors+len(all)
		return nil
	}
	before := x.current().plan
	if err := x.queues.prepare(before, pl); err != nil {
		return err
	}
	x.entities.Become(pl.Entities, pl.Params)
	a, err := x.r.Apply(ctx, pl)
	if err != nil {
		x.entities.Become(before.Entities, before.Params)
		x.queues.Become(before.Queues)
		return x.keeper.RedactError(err)
	}
	x.become(c, pl)
	if err := x.views.apply(ctx, pl); err != nil {
		return x.keeper.RedactError(err)
	}
	x.queues.Become(pl.Queues)
	out.OK, out.PausedSeconds = true, a.Paused.Seconds()
	out.Added, out.Removed, out.Unchanged, out.Again = a.Added, a.Removed, a.Unchanged, a.Again
	for _, f := range a.Changed {
		out.Changed = append(out.Changed, operate.FlowChange{Flow: f.Flow, What: f.What})
	}
	for _, n := range a.Notes {
		out.Notes = append(out.Notes, operate.FlowNote{Flow: n.Flow, Text: n.Text})
	}
	return nil
}

// saw tells who watches the files what was read.
func (x *session) saw(c *Checked) {
	if x.o.watching != nil {
		x.o.watching(c)
	}
}

// fixed refuses what a process decides at its start.
func fixed(now, next *plan.Plan) error {
	var changed []string
	for _, part := range []struct {
		what string
		a, b any
	}{
		{"`http` of the Integration (where the process listens)", now.HTTP, next.HTTP},
		{"`telemetry` of the Integration", now.Telemetry, next.Telemetry},
		{"`control` of the Integration", now.Control, next.Control},
	} {
		if plan.Fingerprint(part.a) != plan.Fingerprint(part.b) {
			changed = append(changed, part.what)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	verb := "has"
	if len(changed) > 1 {
		verb = "have"
	}
	return &penstock.Error{Code: penstock.Config, Op: "reload", Err: fmt.Errorf("%s %s changed: %w", strings.Join(changed, " and "), verb, run.ErrRestart), Hint: "stop the run and start it again"}
}

// problem is an error as it is shown.
func problem(err error) *operate.Problem {
	p := &operate.Problem{Code: penstock.CodeOf(err), Message: err.Error()}
	var e *penstock.Error
	if errors.As(err, &e) {
		p.Path, p.Hint = e.Path, e.Hint
		if e == err && e.Op == "reload" && e.Err != nil { //nolint:errorlint // only the outermost error
			p.Message = e.Err.Error()
		}
		for next := err; p.Hint == "" && errors.As(next, &e); next = e.Err {
			p.Hint = e.Hint
		}
		if p.Hint != "" {
			p.Message = strings.Replace(p.Message, " ("+p.Hint+")", "", 1) // it is told beside it
		}
	}
	return p
}

// names are what operations have to know of what runs.
func (x *session) names() operate.Names {
	now := x.current()
	n := operate.Names{Flows: []string{}, Steps: durableSteps(now.plan), Groups: groupsOf(now.checked.plan), Readers: map[string][]string{}}
	for _, f := range now.plan.Flows {
		n.Flows = append(n.Flows, f.Name)
		if !now.plan.Durable {
			n.Jobs = append(n.Jobs, f.Name)
		}
		for _, src := range f.Sources {
			if src.Channel != "" {
				n.Readers[src.Channel] = append(n.Readers[src.Channel], f.Name)
			}
		}
	}
	return n
}
