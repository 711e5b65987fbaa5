package run

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// SampleOptions say what [Runner.Sample] shows.
type SampleOptions struct {
	// PerSecond is how many messages of each flow are followed that begin in one second; 0 is 10. Those that fail are shown beside them,
	// up to as many again.
	PerSecond int
	// See is called on the goroutines that run flows, by one at a time: it must not wait.
	See func(Shown)
}

// Shown is a message at one place of its way. Values that a schema labels (x-class) are "[class]".
type Shown struct {
	Glimpse
	// First says that it has just come into the flow: What is came.
	First bool
	// Cause is why it died or was refused, At the step where.
	Cause error
	At    string
	// Came is the body as it came into the flow, where it died or was refused; else nil.
	Came []byte
	// Asked is, where What is answered (a call of the step has ended, with Body, which is null for a look-up that missed, or with Cause), the
	// body that the message had before; else nil.
	Asked []byte
	// Source is, with First or Came, the number of the source that it came from, from 1, and 0 where a step of the flow made it of others;
	// Request is what it was called with, as expressions find it in request, or nil.
	Source  int
	Request []byte
}

// Sample follows some of the messages of all flows on their way, from where they come in, as they come to each step, to where they end;
// and shows those that fail. It goes on over reloads, until stop is called; then see is not called any more.
func (r *Runner) Sample(o SampleOptions) (stop func()) {
	if o.PerSecond <= 0 {
		o.PerSecond = 10
	}
	s := &sampler{clock: r.clock, o: o, flows: map[string]*sampled{}}
	l := &look{sampler: s}
	r.looksM.Lock()
	defer r.looksM.Unlock()
	r.setLooks(append(slices.Clone(r.looking()), l))
	return func() {
		r.looksM.Lock()
		r.setLooks(slices.DeleteFunc(slices.Clone(r.looking()), func(o *look) bool { return o == l }))
		r.looksM.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over = true
	}
}

// sampler is who follows messages.
type sampler struct {
	clock penstock.Clock
	o     SampleOptions

	mu    sync.Mutex
	over  bool
	flows map[string]*sampled
}

// sampled is how many were chosen of a flow, in the second that is on.
type sampled struct {
	second        int64
	chosen, broke int
}

// of is what is known of a flow now. mu must be held.
func (s *sampler) of(flow string, now time.Time) *sampled {
	f := s.flows[flow]
	if f == nil {
		f = &sampled{}
		s.flows[flow] = f
	}
	if sec := now.Unix(); sec != f.second {
		*f = sampled{second: sec}
	}
	return f
}

// choose picks the messages of an intake that are followed.
func (in *intake) choose(looks []*look) {
	for _, l := range looks {
		if l.sampler == nil {
			continue
		}
		for _, i := range l.sampler.chosen(in) {
			in.followed = append(in.followed, i)
			if in.entry.behind == nil {
				l.sampler.show(in.src.flow, Shown{Glimpse: Glimpse{What: "came"}, First: true}, in.batch.Msgs[i])
			}
		}
	}
}

// chosen are the messages of an intake that are followed.
func (s *sampler) chosen(in *intake) (out []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.of(in.src.flow.plan.Name, s.clock.Now())
	for i := range in.tracks {
		if f.chosen >= s.o.PerSecond {
			break
		}
		f.chosen++
		out = append(out, i)
	}
	return out
}

// follows says that a message is one that is followed; of a group, one of those that it was made of.
func follows(l penstock.Lineage) bool {
	switch l := l.(type) {
	case *track:
		return len(l.in.followed) > 0 && slices.Contains(l.in.followed, l.idx)
	case *lineages:
		return slices.ContainsFunc(l.tracks[:min(len(l.tracks), 8)], func(t *track) bool { return follows(t) })
	}
	return false
}

// comes shows messages that come to a node.
func (s *sampler) comes(x *exec, n *node, ms []*penstock.Message) {
	for _, m := range ms {
		if follows(m.Lineage) {
			s.show(x.f, Shown{Glimpse: Glimpse{Step: n.Name, What: "in"}}, m)
		}
	}
}

// answers shows how a call of a message ended.
func (s *sampler) answers(f *flow, n *node, m *penstock.Message, r *reply, err error) {
	if !follows(m.Lineage) {
		return
	}
	v := veil{names: f.labelled()}
	g := Shown{Glimpse: Glimpse{Step: n.Name, What: "answered"}, Asked: f.hideText(v.body(m.Body), `"[redacted]"`)}
	of := &penstock.Message{Key: m.Key, Lineage: m.Lineage}
	if err == nil && !r.absent {
		of.Body = r.doc
	} else {
		of.Body = new(jsonview.Doc)
		of.Body.Reset(jsonview.JSON, []byte("null"))
	}
	if err != nil {
		g.Cause = f.hide(err)
	}
	s.show(f, g, of)
}

// watched lets whoever follows messages see how the calls of a node end.
func (x *exec) watched(n *node, t task) task {
	return func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		r, err := t(ctx, b, m)
		x.f.answered(n, m, r, err)
		return r, err
	}
}

// answered shows how a call ended.
func (f *flow) answered(n *node, m *penstock.Message, r *reply, err error) {
	if looks := f.r.looks.Load(); looks != nil && n.caller != nil {
		for _, l := range *looks {
			if l.sampler != nil {
				l.sampler.answers(f, n, m, r, err)
			}
		}
	}
}

// ends shows messages that end.
func (s *sampler) ends(x *exec, ms []*penstock.Message, step, what string, cause error) {
	for _, m := range ms {
		if cause == nil {
			if follows(m.Lineage) {
				s.show(x.f, Shown{Glimpse: Glimpse{What: what}}, m)
			}
			continue
		}
		s.mu.Lock()
		f := s.of(x.f.plan.Name, s.clock.Now())
		f.broke++
		enough := f.broke > s.o.PerSecond
		s.mu.Unlock()
		if enough && !follows(m.Lineage) {
			continue
		}
		s.show(x.f, Shown{Glimpse: Glimpse{What: what}, Cause: x.f.hide(cause), At: step}, m)
	}
}

func (s *sampler) show(f *flow, g Shown, m *penstock.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	g.Time, g.Flow = s.clock.Now(), f.plan.Name
	v := veil{names: f.labelled()}
	if m.Lineage != nil {
		g.ID = m.Lineage.Origin()
	}
	if g.Cause != nil {
		g.Error = g.Cause.Error()
		if d := cameAs(m); d != nil && g.What != "answered" {
			g.Came = f.hideText(v.body(d), `"[redacted]"`)
		}
	}
	if g.First || g.Came != nil {
		g.Source, g.Request = f.cameBy(m, &v)
	}
	v.glimpse(f, &g.Glimpse, m)
	for _, text := range v.hidden {
		if len(text) > 1 {
			g.Error = strings.ReplaceAll(g.Error, text, "[hidden]")
		}
	}
	s.o.See(g)
}

// cameBy is the number of the source that a message came from, and what it was called with.
func (f *flow) cameBy(m *penstock.Message, v *veil) (source int, request []byte) {
	t, ok := m.Lineage.(*track)
	if !ok || t.in.entry.behind != nil {
		return 0, nil
	}
	ep := t.in.src.ep
	for i, e := range f.plan.Sources {
		if e.Name == ep.Name {
			source = i + 1
		}
	}
	if ep.Server == nil {
		return source, nil
	}
	if slot := ep.Server.Request; slot >= 0 && slot < len(m.Vars) && m.Vars[slot].Kind() == penstock.KindNode {
		d, n := m.Vars[slot].Node()
		return source, f.hideText(v.append(nil, d, n), "{}")
	}
	return source, nil
}

// cameAs is the body as it came into the flow, in memory of its own where it was not read yet; nil where nobody knows.
func cameAs(m *penstock.Message) *jsonview.Doc {
	var d *jsonview.Doc
	switch l := m.Lineage.(type) {
	case *track:
		d = l.orig
	case *lineages:
		d = l.orig
	}
	if d == nil || d.Parsed() {
		return d
	}
	return readable(&penstock.Batch{}, d)
}
