package flowtest

import (
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	stored "penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// outgoing is a durable channel that the flow sends to, or the one of its dead letters. Its messages are recorded when they are
// committed, so that a crash before loses them.
type outgoing struct {
	w     *world
	name  string
	eps   []*plan.Endpoint // that send there; empty for the implicit dead letters
	dead  bool             // dead letters come there
	mixed bool             // and others
	loose bool
}

// watch records what is committed to the channels that the flow sends to.
func (w *world) watch(st store.Store) {
	for _, o := range w.outgoing() {
		st.Notify(o.name, o.committed)
	}
}

// outgoing lists the durable channels that the flow sends to.
func (w *world) outgoing() []*outgoing {
	var out []*outgoing
	byName := map[string]*outgoing{}
	for _, ep := range w.sinks() {
		if !w.stored(ep) {
			continue
		}
		o := byName[ep.Channel]
		if o == nil {
			o = &outgoing{w: w, name: ep.Channel}
			byName[ep.Channel] = o
			out = append(out, o)
		}
		o.eps = append(o.eps, ep)
		if at := w.places[ep]; at != nil {
			o.mixed, o.loose = true, o.loose || at.loose
		} else {
			o.dead = true
		}
	}
	if w.flow.OnError.DeadLetter == nil {
		out = append(out, &outgoing{w: w, name: w.flow.Name + ".dead", dead: true})
	}
	return out
}

// committed takes what a transaction appended.
func (o *outgoing) committed(s store.Segment) {
	for rest := s.Data; len(rest) > 0; {
		var rec []byte
		var err error
		var r *record
		if rec, rest, err = store.NextFrame(rest); err == nil {
			r, err = o.record(rec)
		}
		if err != nil {
			o.w.log.damaged(fmt.Errorf("what was written to channel %s can't be read: %w", o.name, err))
			return
		}
		o.w.log.add(r)
	}
}

func (o *outgoing) record(rec []byte) (*record, error) {
	v, err := stored.Parse(rec)
	if err != nil {
		return nil, err
	}
	b := &penstock.Batch{Runtime: o.w.runtime}
	m, err := v.Message(b, nil)
	if err != nil {
		return nil, err
	}
	r := &record{epoch: o.w.pace.epoch.Load(), sent: v.Time(), index: 1 << 30, loose: o.loose}
	if len(o.eps) > 0 {
		r.ep = o.eps[0]
		if at := o.w.places[r.ep]; at != nil {
			r.index = at.index
		}
	}
	r.msg, r.tree = keep(m)
	r.dead = o.dead && (!o.mixed || o.w.died(r))
	return r, nil
}

// died says that a message in a channel is a dead letter of the flow.
func (w *world) died(r *record) bool {
	t, err := r.reasons()
	if err != nil {
		return false
	}
	flow := field(&t, "flow")
	return flow != nil && flow.Text == w.flow.Name
}
