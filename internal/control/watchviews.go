package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	readmodel "penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/observe/metrics"
)

// looked looks at the views of a run, where they are open.
func (w *watched) looked(ctx context.Context) ([]metrics.View, error) {
	e := w.views.engine()
	if e == nil {
		return nil, nil
	}
	all, err := e.Measure(ctx)
	if err != nil {
		return nil, err
	}
	var phases []string
	for _, p := range readmodel.Phases() {
		phases = append(phases, string(p))
	}
	out := make([]metrics.View, 0, len(all))
	for i := range all {
		v := &all[i]
		out = append(out, metrics.View{Name: v.View, State: string(v.Phase), States: phases, Rows: v.Rows, Lag: v.Lag, Age: v.Age, Folded: v.Folded, Stops: v.Stops, Delays: v.Delays})
	}
	return out, nil
}

// stoppedViews says which views have stopped at an event.
func (w *watched) stoppedViews(ctx context.Context) error {
	e := w.views.engine()
	if e == nil {
		return nil
	}
	all, err := e.States(ctx)
	if err != nil {
		return err
	}
	var out []string
	for i := range all {
		v := &all[i]
		s, what := v.Stopped, "view "+v.View
		if s == nil && v.Building != nil {
			s, what = v.Building.Stopped, "view "+v.View+", which is built anew,"
		}
		if s != nil {
			out = append(out, fmt.Sprintf("%s has stopped at event %d: %s", what, s.Position, s.Code))
		}
	}
	if out == nil {
		return nil
	}
	return errors.New(strings.Join(out, "; ") + " (penstock view list says why)")
}

// blockedFlows says which flows stand at an event that they can't read.
func (w *watched) blockedFlows(context.Context) error {
	var out []string
	for _, f := range w.snapshot().Flows {
		for _, b := range f.Blocked {
			out = append(out, fmt.Sprintf("flow %s stands at event %s: %s", f.Name, b.Event, b.Code))
		}
	}
	if out == nil {
		return nil
	}
	return errors.New(strings.Join(out, "; ") + " (penstock ps says why)")
}
