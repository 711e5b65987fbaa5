package operate

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// Changer changes what a process runs, while it runs. [Process] is implemented beside it by processes that can.
type Changer interface {
	// Pause has a flow read no more; Resume lets it read on.
	Pause(flow string) error
	Resume(flow string) error
	// Reload reads the configuration again and has the process do what it says. That it is refused is no error, but a result.
	Reload(ctx context.Context) (*Reloaded, error)
}

// Paused is how a flow stands after it was paused or resumed.
type Paused struct {
	Running bool   `json:"running"` // something runs here
	PID     int    `json:"pid,omitempty"`
	Flow    string `json:"flow"`
	Paused  bool   `json:"paused"`
	Ended   bool   `json:"ended,omitempty"` // its sources have ended: it reads nothing either way
}

// Reloaded is what a reload has done. Where it was refused, everything that runs goes on as it was.
type Reloaded struct {
	Running bool `json:"running"` // something runs here
	PID     int  `json:"pid,omitempty"`
	// OK says that the process does what the configuration says now.
	OK bool `json:"ok"`

	Added     []string     `json:"added"`
	Removed   []string     `json:"removed"`
	Changed   []FlowChange `json:"changed"`
	Unchanged []string     `json:"unchanged"`
	Again     []string     `json:"again"` // had ended, and began again with those that feed them
	Notes     []FlowNote   `json:"notes"` // what else is to be known

	// Findings of the check, and how many of them are errors, for which it is refused, and warnings.
	Findings []diag.Diagnostic `json:"findings"`
	Errors   int               `json:"errors"`
	Warnings int               `json:"warnings"`
	// Error is why it is refused where the check finds nothing.
	Error *Problem `json:"error,omitempty"`
	// Restart says that the process would have to be started anew for it.
	Restart bool `json:"restart,omitempty"`

	Seconds       float64 `json:"seconds"`       // it took
	PausedSeconds float64 `json:"pausedSeconds"` // … in which flows that are not the same did not read
}

// Empty reports whether there was nothing to do.
func (r *Reloaded) Empty() bool {
	return r.OK && len(r.Added)+len(r.Removed)+len(r.Changed)+len(r.Again) == 0
}

// FlowChange is a flow that is not the same, with what of it, in words: "step lines: complete.idle 2s → 5s".
type FlowChange struct {
	Flow string   `json:"flow"`
	What []string `json:"what"`
}

// FlowNote is something to know of a flow.
type FlowNote struct {
	Flow string `json:"flow"`
	Text string `json:"text"`
}

// Problem is an error as it is shown.
type Problem struct {
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"`
	Path    string        `json:"path,omitempty"`
	Hint    string        `json:"hint,omitempty"`
}

// changer is the process that runs, where it can be changed; nil where nothing runs.
func (d *direct) changer(op string) (Changer, error) {
	if d.c.Process == nil {
		return nil, nil
	}
	c, ok := d.c.Process.(Changer)
	if !ok {
		return nil, &penstock.Error{Code: penstock.Unprocessable, Op: op, Err: errors.New("the process that runs can't be changed")}
	}
	return c, nil
}

// Pause implements [Flows].
func (d *direct) Pause(_ context.Context, flow string) (*Paused, error) { return d.pausing(flow, true) }

// Resume implements [Flows].
func (d *direct) Resume(_ context.Context, flow string) (*Paused, error) {
	return d.pausing(flow, false)
}

func (d *direct) pausing(flow string, on bool) (*Paused, error) {
	c, err := d.changer("pause")
	if c == nil || err != nil {
		return &Paused{Flow: flow}, err
	}
	do := c.Resume
	if on {
		do = c.Pause
	}
	if err := do(flow); err != nil {
		return nil, d.near(flow, err)
	}
	out := &Paused{Running: true, PID: pid(), Flow: flow, Paused: on}
	for _, f := range d.c.Process.Flows() {
		out.Ended = out.Ended || f.Flow == flow && f.State == StateEnded
	}
	return out, nil
}

// near says which flow may be meant where one is not known.
func (d *direct) near(flow string, err error) error {
	var e *penstock.Error
	if penstock.CodeOf(err) != penstock.NotFound || !errors.As(err, &e) {
		return err
	}
	own := *e
	if near := diag.Nearest(flow, d.names().Flows); near != "" {
		own.Hint = "did you mean " + near + "?"
	}
	return &own
}

// Reload implements [Flows].
func (d *direct) Reload(ctx context.Context) (*Reloaded, error) {
	c, err := d.changer("reload")
	if c == nil || err != nil {
		return &Reloaded{}, err
	}
	r, err := c.Reload(ctx)
	if err != nil {
		return nil, err
	}
	r.Running, r.PID = true, pid()
	return r, nil
}
