package run

import (
	"errors"
	"fmt"

	"penstock.dev/penstock"
)

// Pause has a flow read no more, at a batch boundary, until Resume: what it has read goes on to its end, and who calls it is refused
// with the code unavailable. A flow that is paused already stays so. It is not an error that a flow has ended.
func (r *Runner) Pause(flow string) error { return r.pausing(flow, true) }

// Resume has a paused flow read on, and one that stands at an event which it can't read try it again.
func (r *Runner) Resume(flow string) error { return r.pausing(flow, false) }

func (r *Runner) pausing(flow string, on bool) error {
	r.lives.mu.Lock()
	defer r.lives.mu.Unlock()
	if r.lives.reading == nil || r.lives.reading.Err() != nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "pause", Path: flow, Err: errors.New("the run is starting or ending"), Hint: "ask again later"}
	}
	for _, f := range r.lives.flows {
		if f.plan.Name == flow {
			f.pause(on)
			return nil
		}
	}
	return &penstock.Error{Code: penstock.NotFound, Op: "pause", Path: flow, Err: fmt.Errorf("no flow of this run is called %s", flow)}
}

// pause keeps the flow's pumps from reading, or lets them go.
func (f *flow) pause(on bool) {
	f.paused.Store(on)
	if !on {
		f.unblock()
	}
	for _, p := range f.pumps {
		if p.server != nil {
			p.server.station.pause(on)
		}
		p.hold.change(func() { p.hold.paused = on })
	}
}

// letGo lets all flows go on that are paused: a run that is stopped works off what is in memory.
func (r *Runner) letGo() {
	for _, f := range r.list() {
		f.pause(false)
	}
}

// States of a flow in a run.
const (
	StateRunning = "running"
	StatePaused  = "paused"
	StateEnded   = "ended"
	StateBlocked = "blocked" // it stands at an event that it can't read: see Blocked
)

// state says what the flow does.
func (f *flow) state() string {
	select {
	case <-f.done:
		return StateEnded
	default:
	}
	if f.paused.Load() {
		return StatePaused
	}
	if len(f.blocks()) > 0 {
		return StateBlocked
	}
	return StateRunning
}
