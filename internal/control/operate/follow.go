package operate

import (
	"slices"
	"strings"

	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
)

// follower finds, pass by pass over the journal, what a message was made of and what was made of it.
//
// A message that went to a channel is one there, by its position. One that a durable step let go names what it was made of. Of a
// group that is its first message; the others are those of the step and the key that came between it and the first message of the
// next group. (One that begins a group, in the transaction that completes the one before, counts with that as long as its own is
// open.)
type follower struct {
	above, below map[string]bool
	led          map[led]bool       // messages above, and through which step they led to what is followed
	groupers     map[string]bool    // steps that make groups
	states       map[state]*members // keys of such steps that are of interest
	changed      bool
}

type led struct{ id, step string }

// state is a key of a step.
type state struct{ step, key string }

// members are what a key of a step that makes groups took in.
type members struct {
	phase   phase
	origins map[string]bool // the first messages of its groups
	open    []string        // messages since the last group
}

// phase is what is done for a state in a pass.
type phase uint8

const (
	noticed phase = iota // in the middle of a pass
	listed               // the first messages of its groups
	known
)

func newFollower(ids ...string) *follower {
	f := &follower{above: map[string]bool{}, below: map[string]bool{}, led: map[led]bool{}, groupers: map[string]bool{}, states: map[state]*members{}}
	for _, id := range ids {
		f.above[id], f.below[id] = true, true
	}
	return f
}

// steps reads which durable steps make groups.
func (f *follower) steps(v store.View) error {
	return eachEntry(v, run.StepSpace, func(e store.Entry) error {
		if strings.HasPrefix(string(e.Value), "aggregate") {
			f.groupers[string(e.Key)] = true
		}
		return nil
	})
}

// over ends a pass, and says whether there has to be another.
func (f *follower) over() bool {
	for _, m := range f.states {
		if m.open = nil; m.phase != known {
			m.phase++
			f.changed = true
		}
	}
	again := f.changed
	f.changed = false
	return again
}

// see takes an entry in.
func (f *follower) see(e *journal.Entry) {
	own := e.ID()
	if e.Fate == journal.Emitted {
		for _, p := range f.madeOf(e, own) {
			f.link(p, own, e.Stream)
		}
		return
	}
	for _, h := range e.Hops {
		switch {
		case h.Position >= 0:
			f.link(own, record.ID(h.To, h.Position), "")
		case e.Fate == journal.Absorbed && f.groupers[h.To]:
			if f.below[own] {
				f.want(state{h.To, h.Key})
			}
			if m := f.states[state{h.To, h.Key}]; m != nil {
				m.open = append(m.open, own)
			}
		}
	}
}

// madeOf lists what a message was made of that a step let go.
func (f *follower) madeOf(e *journal.Entry, own string) []string {
	var from []string
	for _, h := range e.Hops {
		from = append(from, h.To)
	}
	if !f.groupers[e.Stream] || len(from) == 0 {
		return from
	}
	s := state{e.Stream, e.Key}
	if f.above[own] || f.below[from[0]] {
		f.want(s)
	}
	m := f.states[s]
	if m == nil {
		return from
	}
	m.origins[from[0]] = true
	if m.phase != known {
		return from
	}
	return m.take(from[0])
}

// take takes a group out of what is open.
func (m *members) take(origin string) []string {
	at := max(0, slices.Index(m.open, origin)) // one that is older than the journal has everything before the next
	end := at
	for end < len(m.open) && (m.open[end] == origin || !m.origins[m.open[end]]) {
		end++
	}
	group := slices.Clone(m.open[at:end])
	m.open = m.open[end:]
	if !slices.Contains(group, origin) {
		group = append(group, origin)
	}
	return group
}

func (f *follower) want(s state) {
	if f.states[s] == nil {
		f.states[s] = &members{origins: map[string]bool{}}
		f.changed = true
	}
}

// link says that one message was made of another; step is the durable step that did, "" where it went to a channel.
func (f *follower) link(from, to, step string) {
	if f.above[to] {
		f.add(f.above, from)
		f.led[led{from, step}] = true
	}
	if f.below[from] {
		f.add(f.below, to)
	}
}

func (f *follower) add(to map[string]bool, id string) {
	if !to[id] {
		to[id] = true
		f.changed = true
	}
}

// shows says that an entry is on the way: of what a message was made of, only what led to it.
func (f *follower) shows(e *journal.Entry) bool {
	own := e.ID()
	if f.below[own] {
		return true
	}
	if !f.above[own] {
		return false
	}
	if e.Fate == journal.Emitted {
		return true
	}
	return slices.ContainsFunc(e.Hops, func(h journal.Hop) bool {
		if h.Position >= 0 {
			return f.above[record.ID(h.To, h.Position)]
		}
		return e.Fate == journal.Absorbed && f.led[led{own, h.To}]
	})
}

// eachEntry visits the entries of a space.
func eachEntry(v store.View, space string, visit func(store.Entry) error) error {
	var after []byte
	for {
		page, err := v.State().Scan(space, after, 500)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := visit(e); err != nil {
				return err
			}
			after = e.Key
		}
		if len(page) < 500 {
			return nil
		}
	}
}
