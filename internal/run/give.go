package run

import (
	"context"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// Given is a message that somebody gives in by hand: to a flow, or to a channel.
type Given struct {
	Flow, Channel string // one of them
	Key           string
	Body          []byte // JSON text
	Meta          []penstock.MetaEntry
	By            string // who: the origin that the journal names
}

// Reply is what became of a message that was given in.
type Reply struct {
	To       string // the channel that has it, durably; or the flow that has answered
	Body     []byte // a flow's answer, JSON text; nil where it gives none
	Position int64  // in the channel
	Answered bool   // it is a flow that was called
}

// Give gives a message in. A channel of the store has it when Give returns; so has a flow that keeps state: it goes through the
// flow from its first step. A flow that is called has answered it. Others read what their sources give and nothing else.
func (r *Runner) Give(ctx context.Context, g Given) (*Reply, error) {
	b := &penstock.Batch{Runtime: r.anyRuntime()}
	m := b.Append()
	m.Key, m.Time = g.Key, r.clock.Now()
	m.Body.Reset(jsonview.JSON, g.Body)
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "send", Err: err, Hint: "the body is one JSON document"}
	}
	for _, e := range g.Meta {
		m.Meta.Set(e.Name, e.Value)
	}
	if g.Channel != "" {
		return r.giveChannel(ctx, g.Channel, g.By, m)
	}
	var names []string
	for _, f := range r.list() {
		if f.plan.Name == g.Flow {
			return f.give(ctx, g.By, b)
		}
		names = append(names, f.plan.Name)
	}
	return nil, unknown("send", "there is no flow called "+g.Flow, names)
}

func (f *flow) give(ctx context.Context, by string, b *penstock.Batch) (*Reply, error) {
	for _, p := range f.pumps {
		if p.server == nil {
			continue
		}
		if err := p.server.Handle(ctx, b); err != nil {
			return nil, err
		}
		if err := b.Err(0); err != nil {
			return nil, err
		}
		out := &Reply{To: f.plan.Name, Answered: true}
		if d := b.Msgs[0].Body; d != nil {
			if err := d.Parse(jsonview.Limits{}); err != nil {
				return nil, err
			}
			out.Body = d.AppendJSON(nil, 0)
		}
		return out, nil
	}
	for _, ep := range f.plan.Sources {
		if ep.Channel != "" {
			return f.r.giveChannel(ctx, ep.Channel, by, b.Msgs[0])
		}
	}
	if f.redriven != nil {
		return f.r.append(ctx, inChannel(f.plan.Name), by, b.Msgs[0])
	}
	return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "send", Path: f.plan.Name, Err: errors.New("the flow keeps no state, and reads what its source gives"),
		Hint: "add `store: {}` to the Integration, or try it with penstock test"}
}

func (r *Runner) giveChannel(ctx context.Context, name, by string, m *penstock.Message) (*Reply, error) {
	w := r.wiring()
	d := w.durables[name]
	if d == nil || d.plan == nil {
		if w.channels[name] != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "send", Path: name, Err: errors.New("the channel is in memory, where only flows send"), Hint: "leave `durable: false` out"}
		}
		var names []string
		for n, other := range w.durables {
			if other.plan != nil {
				names = append(names, n)
			}
		}
		return nil, unknown("send", "there is no channel called "+name, names)
	}
	if d.plan.Key != nil {
		key, err := text(d.plan.Key, (&penstock.Batch{Runtime: r.anyRuntime()}).Frame(m), "key of channel "+name)
		if err != nil {
			return nil, err
		}
		m.Key = key
	}
	return r.append(ctx, name, by, m)
}

// append puts one message into a channel of the store.
func (r *Runner) append(ctx context.Context, name, by string, m *penstock.Message) (*Reply, error) {
	st, err := r.theStore()
	if err != nil {
		return nil, err
	}
	now := r.clock.Now().UnixNano()
	origin := fmt.Sprintf("send@%d", now)
	if by != "" {
		origin = by + "@" + fmt.Sprint(now)
	}
	bundle := store.Bundle{N: 1, MinTime: now, MaxTime: now}
	bundle.Data = store.AppendFrame(nil, record.Append(nil, record.Header{Time: now, Origin: origin}, m, nil))
	out := &Reply{To: name}
	err = st.Submit(store.Small, func(tx store.Tx) (err error) {
		out.Position, err = tx.Append(name, bundle)
		return err
	}).Wait(ctx)
	return out, err
}

// anyRuntime evaluates what belongs to no flow.
func (r *Runner) anyRuntime() *penstock.Runtime {
	for _, f := range r.list() {
		return f.runtime
	}
	return &penstock.Runtime{Clock: r.clock, UUID: r.opts.UUID}
}
