package metrics

import (
	"context"

	"penstock.dev/penstock/internal/store"
)

// View is what a view shows: how far it has come, and what this process has done for it.
type View struct {
	Name   string
	State  string   // running, rebuilding, waiting or stopped
	States []string // all that there are
	Rows   int64
	Lag    int64   // events that are not in the rows yet
	Age    float64 // seconds that the oldest of them has been there
	// By this process.
	Folded, Stops, Delays int64
}

// views puts what views say.
func (p page) views(read func(context.Context) ([]View, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), store.MaxView)
	defer cancel()
	all, err := read(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		v := &all[i]
		p.put("penstock_view_events_folded_total", float64(v.Folded), v.Name)
		p.put("penstock_view_lag_events", float64(v.Lag), v.Name)
		p.put("penstock_view_oldest_event_age_seconds", v.Age, v.Name)
		p.put("penstock_view_rows", float64(v.Rows), v.Name)
		for _, s := range v.States {
			p.put("penstock_view_state", is(v.State == s), v.Name, s)
		}
		p.put("penstock_view_errors_total", float64(v.Stops), v.Name, "event")
		p.put("penstock_view_errors_total", float64(v.Delays), v.Name, "store")
	}
	return nil
}
