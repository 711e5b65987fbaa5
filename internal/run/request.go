package run

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// request is one call of a flow while it runs, on its caller's goroutine. It is used again and again.
type request struct {
	s    *server
	x    exec
	w    work
	in   *intake
	ends []requestEnd // by message
	over bool         // it ran to its end: it can be used again

	leave  func() // gives back what keeps others of its identity away; nil: nothing does
	handed bool   // the committer has the intake
	lost   bool   // … and may have it for good
}

// requestEnd is what has become of one message.
type requestEnd struct {
	reply                   *penstock.Message // what it was at the end of the steps; nil: it did not come there
	done, filtered, grouped int64             // of what was made of it
	err                     error
	step                    string
}

// begin makes ready for the messages of b.
func (rq *request) begin(ctx context.Context, s *server, b *penstock.Batch) {
	f := s.f
	if rq.s == nil {
		rq.s = s
		rq.x = *newExec(ctx, f, f.prog, &f.plan.OnError.Retry)
		rq.x.req = rq
	}
	rq.x.ctx = ctx
	rq.in = s.p.spare.get()
	rq.in.src, rq.in.batch, rq.in.entry = s.p, b, fromEntry
	for _, m := range b.Msgs {
		if m.Pos.Stream == "" { // the server has no name of its own for it
			m.Pos = penstock.Position{Stream: s.p.ep.Name, Offset: s.started + s.number.Add(1)}
		}
	}
	rq.in.begin(f.plan.Slots, f.runtime)
	rq.in.asked = penstock.AskedFrom(ctx)
	s.p.asked(ctx, rq.in)
	rq.w.in, rq.w.batch = rq.in, b
	if n := len(b.Msgs); cap(rq.ends) < n {
		rq.ends = make([]requestEnd, n)
	} else {
		rq.ends = rq.ends[:n]
	}
	rq.over, rq.handed, rq.lost = false, false, false
}

// run takes the messages from the first step to the end, and makes durable what they leave behind.
func (rq *request) run() {
	defer rq.survive()
	s, f, b, x := rq.s, rq.s.f, rq.w.batch, &rq.x
	var early []failure
	ms, early := unread(b, x.take(), early)
	for _, e := range early {
		rq.fail(e.m, e.err, "from")
	}
	if f.plan.Key != nil {
		kept := ms[:0]
		for _, m := range ms {
			if err := f.setKey(b, m); err != nil {
				rq.fail(m, err, "from")
			} else {
				kept = append(kept, m)
			}
		}
		ms = kept
	}
	if len(ms) > 0 && s.twins != nil {
		first, leave, err := s.first(x.ctx, b, ms[0])
		if rq.leave = leave; leave != nil {
			defer func() {
				if rq.leave != nil {
					rq.leave()
				}
				rq.leave = nil
			}()
		}
		switch {
		case err != nil:
			rq.fail(ms[0], err, "from")
			ms = ms[:0]
		case !first:
			f.stats.Again.Add(1)
			ms = ms[:0]
		}
	}
	if len(ms) > 0 && s.keys != nil {
		key := ms[0].Key
		if !s.keys.take(x.ctx, key) {
			rq.refuse(ended(x.ctx))
			ms = ms[:0]
		} else {
			defer s.keys.give(key)
		}
	}
	rq.through(ms)
	if !mutation.On("answered-before-flush") {
		rq.flush()
	}
	if f.durable {
		rq.commit()
	}
}

// flush makes durable what was sent: who is answered finds it.
func (rq *request) flush() {
	f := rq.s.f
	if err := f.flushSinks(f.ctx); err != nil {
		rq.refuse(err)
		if f.ctx.Err() == nil {
			f.fatal(err)
		}
	}
}

// through takes messages through the program.
func (rq *request) through(ms []*penstock.Message) {
	defer rq.survive()
	rq.x.run(&rq.w, 0, ms)
	rq.over = true
}

// survive is deferred around what steps and drivers do: where they panic this request fails, and the others go on.
func (rq *request) survive() {
	if v := recover(); v != nil {
		rq.refuse(NewFault(rq.s.f.plan.Name, v))
		rq.over = false // it is in the middle of something
	}
}

// refuse fails all messages that have not failed yet.
func (rq *request) refuse(err error) {
	for i := range rq.ends {
		if rq.ends[i].err == nil {
			rq.ends[i].err, rq.ends[i].step = err, "from"
		}
	}
}

func (rq *request) endOf(m *penstock.Message) *requestEnd { return &rq.ends[m.Lineage.(*track).idx] }

// end notes how messages ended.
func (rq *request) end(ms []*penstock.Message, ft fate) {
	for _, m := range ms {
		e := rq.endOf(m)
		switch ft {
		case fateDone, fateStopped:
			e.reply = m
			e.done++
		case fateGrouped:
			e.grouped++
		default:
			e.filtered++
		}
	}
}

// fail notes that a message failed for good: its caller is told.
func (rq *request) fail(m *penstock.Message, err error, step string) {
	var ex *exhausted
	if errors.As(err, &ex) {
		err = ex.err
	}
	if e := rq.endOf(m); e.err == nil {
		e.err, e.step = err, step
	}
}

// stopped reports that nobody waits for the request any more, or the run was aborted: nothing more is begun for it.
func (rq *request) stopped() bool { return rq.x.ctx.Err() != nil }

// stop fails messages whose request was stopped.
func (rq *request) stop(ms []*penstock.Message, step string) {
	for _, m := range ms {
		rq.fail(m, ended(rq.x.ctx), step)
	}
	rq.x.give(ms)
}

// answer leaves in b what has become of its messages, and counts.
func (rq *request) answer(b *penstock.Batch) {
	s, st := rq.s, rq.s.f.stats
	b.ClearErrors()
	for i := range rq.ends {
		e := &rq.ends[i]
		switch {
		case e.err != nil:
			rq.x.logFailed(b.Msgs[i], e.err, e.step)
			b.Fail(i, e.err)
			b.Msgs[i].Body = nil
			st.Failed.Add(1)
			st.refuse(e.err, e.step)
			continue
		case e.reply == nil || !s.p.ep.Server.Replies:
			b.Msgs[i].Body = nil
		default:
			b.Msgs[i] = e.reply
			rq.own(b, e.reply)
		}
		st.Done.Add(e.done)
		st.Filtered.Add(e.filtered)
		st.Grouped.Add(e.grouped)
	}
	st.Settled.Add(int64(len(rq.ends)))
	rq.answered()
	rq.forget(b)
}

// own brings the reply into b's memory, where calls or branches have made it in memory of their own.
func (rq *request) own(b *penstock.Batch, m *penstock.Message) {
	if len(rq.w.extra) == 0 {
		return
	}
	d := b.NewDoc()
	m.Body.CloneInto(d, b.Arena().Alloc)
	m.Body = d
	for _, e := range m.Meta.Entries() {
		m.Meta.Set(e.Name, e.Value.Clone())
	}
}

// forget makes ready for the next request.
func (rq *request) forget(b *penstock.Batch) {
	s := rq.s
	for _, m := range b.Msgs {
		m.Lineage = nil
	}
	for _, mem := range rq.w.extra {
		s.f.recycle(mem)
	}
	clear(rq.w.extra)
	rq.w = work{extra: rq.w.extra[:0]}
	clear(rq.ends)
	rq.x.ctx = nil
	in := rq.in
	rq.in = nil
	in.batch = nil
	for i := range in.tracks {
		in.tracks[i].orig = nil
	}
	if !rq.lost {
		in.part()
	}
	if !rq.handed && !rq.lost {
		in.part() // the ledger's part, too
	}
	if rq.over {
		s.requests.put(rq)
	}
}
