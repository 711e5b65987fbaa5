package run

import (
	"sync"

	"penstock.dev/penstock/internal/plan"
)

// wiring is the channels that flows of one plan are connected by. While it is built it belongs to who builds it; afterwards its maps are
// not changed any more.
type wiring struct {
	plan     *plan.Plan
	channels map[string]*handover
	durables map[string]*durable // channels in the store
}

// newWiring makes the channels of a plan. Those that an earlier wiring has in the same place go on, with what is in them.
func newWiring(p *plan.Plan, before *wiring) *wiring {
	w := &wiring{plan: p, channels: map[string]*handover{}, durables: map[string]*durable{}}
	for _, c := range p.Channels {
		switch {
		case c.Durable:
			w.durables[c.Name] = before.durable(c.Name)
			if w.durables[c.Name] == nil {
				w.durables[c.Name] = newDurable(c.Name, c)
			}
		default:
			if w.channels[c.Name] = before.channel(c.Name); w.channels[c.Name] == nil {
				w.channels[c.Name] = newHandover(c)
			}
		}
	}
	return w
}

func (w *wiring) channel(name string) *handover {
	if w == nil {
		return nil
	}
	return w.channels[name]
}

func (w *wiring) durable(name string) *durable {
	if w == nil {
		return nil
	}
	return w.durables[name]
}

// internal finds a channel of the store that flows have without saying so, or makes it known.
func (w *wiring) internal(name string, before *wiring) *durable {
	if w.durables[name] == nil {
		if w.durables[name] = before.durable(name); w.durables[name] == nil {
			w.durables[name] = newDurable(name, nil)
		}
	}
	return w.durables[name]
}

// keep goes on with the channels of the store that a flow has without saying so.
func (w *wiring) keep(f *flow) {
	for _, p := range f.pumps {
		if p.channel != nil && w.durables[p.channel.d.name] == nil {
			w.durables[p.channel.d.name] = p.channel.d
		}
	}
	for _, d := range f.feedsDurable {
		if w.durables[d.name] == nil {
			w.durables[d.name] = d
		}
	}
}

func newDurable(name string, p *plan.Channel) *durable {
	d := &durable{name: name, out: &outlet{name: name}}
	d.become(p)
	return d
}

// readers are those who read a channel of the store in this run.
type readers struct {
	mu  sync.Mutex
	all []*channelSource
}

func (r *readers) add(s *channelSource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *readers) remove(s *channelSource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, o := range r.all {
		if o == s {
			r.all = append(r.all[:i:i], r.all[i+1:]...)
			return
		}
	}
}

func (r *readers) each(f func(*channelSource)) {
	r.mu.Lock()
	all := r.all
	r.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}
