package operate

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Status implements [Flows].
func (d *direct) Status(ctx context.Context) (*Status, error) {
	out := &Status{Flows: []FlowStatus{}, Channels: []ChannelStatus{}}
	now := d.c.Clock.Now()
	s := d.opened()
	if p := d.c.Process; p != nil {
		out.Running, out.Stopping, out.PID = true, p.Stopping(), os.Getpid()
		out.Seconds = now.Sub(p.Since()).Seconds()
		out.Flows = append(out.Flows, p.Flows()...)
		d.replicas(out)
	} else {
		var err error
		if s, err = d.store(); err != nil {
			return nil, err
		}
		for _, f := range d.names().Flows {
			out.Flows = append(out.Flows, FlowStatus{Flow: f, State: StateStopped})
		}
		if d.c.Shared != nil {
			out.Replicas = d.c.Shared(ctx, s)
			d.elsewhere(out)
		}
	}
	if s == nil { // a job that has not needed it so far
		return out, nil
	}
	out.Store = d.c.Path
	if d.c.Views != nil {
		all, err := d.c.Views.States(ctx)
		if err != nil {
			return nil, err
		}
		out.Views = all.Views
	}
	var dead map[string]int64
	err := s.View(ctx, func(v store.View) (err error) {
		out.Channels, dead, err = d.behind(v, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.Queues, err = d.queueStatus(ctx, s, dead); err != nil {
		return nil, err
	}
	flow := func(name string) *FlowStatus {
		for i := range out.Flows {
			if out.Flows[i].Flow == name {
				return &out.Flows[i]
			}
		}
		if d.c.Process != nil || d.names().Flows != nil {
			return &FlowStatus{} // one that was run once, and is not now
		}
		out.Flows = append(out.Flows, FlowStatus{Flow: name, State: StateStopped})
		return &out.Flows[len(out.Flows)-1]
	}
	for i := range out.Channels {
		c := &out.Channels[i]
		if c.Flow != "" {
			f := flow(c.Flow)
			f.Lag += c.Lag
			f.Age = max(f.Age, c.Age)
		}
	}
	for name, n := range dead {
		if d.toQueue(name) {
			continue // it is no flow
		}
		flow(name).Dead = n
	}
	if d.c.Process == nil {
		slices.SortFunc(out.Flows, func(a, b FlowStatus) int { return strings.Compare(a.Flow, b.Flow) })
	}
	return out, nil
}

// replicas adds what other replicas say of themselves: the flows that run there and not here.
func (d *direct) replicas(out *Status) {
	if d.c.Replicas == nil {
		return
	}
	out.Replicas = d.c.Replicas()
	for _, r := range out.Replicas {
		if r.Self {
			continue
		}
		for _, f := range r.Flows {
			i := slices.IndexFunc(out.Flows, func(o FlowStatus) bool { return o.Flow == f.Flow })
			switch {
			case i < 0:
				out.Flows = append(out.Flows, FlowStatus{Flow: f.Flow, State: f.State, Read: f.Read, Unsettled: f.Unsettled, Blocked: f.Blocked})
				continue
			case out.Flows[i].State == StateEnded, f.State == StateBlocked && out.Flows[i].State == StateRunning: // ended here: it was handed over
				out.Flows[i].State = f.State
			}
			out.Flows[i].Blocked = append(out.Flows[i].Blocked, f.Blocked...)
		}
	}
}

// elsewhere puts what the replicas of a store say of their flows in the place of flows that nothing here runs.
func (*direct) elsewhere(out *Status) {
	for i := range out.Flows {
		f := &out.Flows[i]
		for _, r := range out.Replicas {
			for _, o := range r.Flows {
				if o.Flow == f.Flow && o.State != "" {
					if f.State != StateBlocked {
						f.State = o.State
					}
					f.Blocked = append(f.Blocked, o.Blocked...)
					f.Read, f.Unsettled = f.Read+o.Read, f.Unsettled+o.Unsettled
				}
			}
		}
	}
}

// Behind says how far every group of readers of a store is behind, and counts the open dead letters by flow.
func Behind(ctx context.Context, s store.Store, now time.Time) (groups []ChannelStatus, dead map[string]int64, err error) {
	d := &direct{}
	err = s.View(ctx, func(v store.View) (err error) {
		groups, dead, err = d.behind(v, now)
		return err
	})
	return groups, dead, err
}

// behind says how far every group of readers is behind, and counts the open dead letters by flow.
func (d *direct) behind(v store.View, now time.Time) ([]ChannelStatus, map[string]int64, error) {
	all, err := v.Log().Channels()
	if err != nil {
		return nil, nil, err
	}
	out, dead := []ChannelStatus{}, map[string]int64{}
	for _, b := range all {
		groups, err := channel.Cursors(v, b.Channel)
		if err != nil {
			return nil, nil, err
		}
		flow, isDead := deadFlow(b.Channel)
		if isDead {
			dead[flow] = b.Next - b.First
		}
		for _, g := range groups {
			lag := min(g.Left, b.Next-b.First)
			if isDead && g.Group == deadGroup {
				dead[flow] = lag
				continue
			}
			cs := ChannelStatus{Channel: b.Channel, Group: g.Group, Flow: d.flowOf(b.Channel, g.Group), Lag: lag + g.Given, Given: g.Given}
			if lag > 0 {
				at, err := timeOf(v, b.Channel, max(b.First, g.Low))
				if err != nil {
					return nil, nil, err
				}
				if !at.IsZero() {
					cs.Age = max(0, now.Sub(at).Seconds())
				}
			}
			out = append(out, cs)
		}
	}
	return out, dead, nil
}

// flowOf is the flow that a group of a channel belongs to: consumers are named <flow>/<endpoint or step>, or <flow>#in.
func (d *direct) flowOf(channel, group string) string {
	if flow, _, ok := strings.Cut(group, "/"); ok {
		return flow
	}
	if flow, ok := strings.CutSuffix(group, inSuffix); ok {
		return flow
	}
	for _, name := range []string{channel} { // an internal channel: <flow>/<step>, <flow>#in
		if flow, _, ok := strings.Cut(name, "/"); ok {
			return flow
		}
		if flow, ok := strings.CutSuffix(name, inSuffix); ok {
			return flow
		}
	}
	if r := d.names().Readers[channel]; len(r) == 1 {
		return r[0]
	}
	return ""
}

// timeOf is when the segment that holds a position was begun; zero where there is none.
func timeOf(v store.View, channel string, pos int64) (time.Time, error) {
	segs, err := v.Log().Segments(channel, pos, 1)
	if err != nil || len(segs) == 0 {
		return time.Time{}, err
	}
	return time.Unix(0, segs[0].MinTime), nil
}

// drainEvery is how often a drain says how far it has come.
const drainEvery = 250 * time.Millisecond

// Drain implements [Flows].
func (d *direct) Drain(ctx context.Context, progress func(Draining) error) (*Drained, error) {
	p := d.c.Process
	if p == nil {
		return &Drained{}, nil
	}
	began := d.c.Clock.Now()
	unsettled := func() (n int64) {
		for _, f := range p.Flows() {
			n += f.Unsettled
		}
		return n
	}
	p.Stop()
	for {
		if progress != nil {
			if err := progress(Draining{Unsettled: unsettled(), Seconds: d.c.Clock.Now().Sub(began).Seconds()}); err != nil {
				return nil, err
			}
		}
		tick, stop := d.c.Clock.NewTimer(drainEvery)
		select {
		case <-p.Done():
			stop()
			out := &Drained{Running: true, PID: os.Getpid(), Unsettled: unsettled(), Seconds: d.c.Clock.Now().Sub(began).Seconds()}
			if err := p.Failure(); err != nil {
				out.Error = err.Error()
			}
			return out, nil
		case <-tick:
			stop()
		case <-ctx.Done(): // who asked is gone; the process drains all the same
			stop()
			return nil, context.Cause(ctx)
		}
	}
}
