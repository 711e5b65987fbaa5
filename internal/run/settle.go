package run

import (
	"context"
	"time"

	"penstock.dev/penstock"
)

// fates is what became of an intake whose source is told cumulatively: how far its streams
// are settled. Almost always there is one stream.
type fates struct {
	last     penstock.Outcome
	more     []penstock.Outcome
	messages int
}

// each says that the source hears of every message, and not of how far it is settled.
func (p *pump) each() bool {
	return p.server == nil && p.ep.Driver != nil && p.ep.Driver.Spec.Settle == penstock.Each
}

// fates sums up an intake: the last outcome of each stream.
func (in *intake) fates() fates {
	f := fates{messages: len(in.tracks)}
	for i := range in.tracks {
		o := penstock.Outcome{Pos: in.tracks[i].pos, Err: in.tracks[i].err}
		if i > 0 && f.last.Pos.Stream != o.Pos.Stream {
			f.more = append(f.more, f.last)
		}
		f.last = o
	}
	return f
}

// completed takes an intake whose messages have all ended. Its ledger is free at once: what
// the source has to hear is noted.
func (p *pump) completed(in *intake) {
	if p.flow.tx != nil {
		p.flow.tx.completed(in)
		return
	}
	in.over(len(in.tracks))
	in.endSpans()
	p.mu.Lock()
	if p.each() {
		for i := range in.tracks {
			p.ready = append(p.ready, penstock.Outcome{Pos: in.tracks[i].pos, Err: in.tracks[i].err, Dead: in.tracks[i].dead.Load()})
		}
		p.standFor += len(in.tracks)
		p.intakes++
	} else {
		p.complete[in.read] = in.fates()
		for {
			f, ok := p.complete[p.nextSeq]
			if !ok {
				break
			}
			delete(p.complete, p.nextSeq)
			p.nextSeq++
			p.intakes++
			p.standFor += f.messages
			for _, o := range f.more {
				p.note(o)
			}
			p.note(f.last)
		}
	}
	p.mu.Unlock()
	p.signal()
	in.part()
}

// note adds how far a stream is settled, in place of how far it was.
func (p *pump) note(o penstock.Outcome) {
	if n := len(p.ready); n > 0 && p.ready[n-1].Pos.Stream == o.Pos.Stream {
		p.ready[n-1] = o
		return
	}
	p.ready = append(p.ready, o)
}

// flushEvery is how long the settler of a source that keeps positions gathers before it
// makes the sinks durable: nobody waits for its acknowledgement, and an fsync has its price.
const flushEvery = 100 * time.Millisecond

// settle tells the source what has become of its messages, after everything they left
// behind is durable. It returns when the source has ended and everything is settled, or
// the run was aborted.
func (p *pump) settle(ctx context.Context) error {
	var last time.Time
	var told []penstock.Outcome
	for {
		finished, any := p.finished()
		if wait := flushEvery - time.Since(last); any && !finished && !p.each() && wait > 0 && !p.flow.leaving.Load() {
			p.linger(wait)
			last = time.Time{}
			continue
		}
		if any {
			last = time.Now()
			p.mu.Lock()
			outcomes, messages, intakes := p.ready, p.standFor, p.intakes
			p.ready, p.standFor, p.intakes = told[:0], 0, 0
			p.mu.Unlock()
			if err := p.flow.flushSinks(ctx); err != nil {
				return err
			}
			if err := p.source.Settle(ctx, outcomes); err != nil {
				return &penstock.Error{Code: penstock.CodeOf(err), Op: "settle " + p.ep.Name, Err: err}
			}
			told = outcomes
			p.flow.stats.Settled.Add(int64(messages))
			p.mu.Lock()
			p.open -= intakes
			p.mu.Unlock()
			continue
		}
		if finished {
			return nil
		}
		select {
		case <-p.wake:
		case <-p.flow.abort:
			return nil
		case <-p.flow.gone: // nothing more will be ready before another flow goes on
			if _, any := p.finished(); !any {
				return nil
			}
		}
	}
}

// finished says whether there will be nothing more to settle than what is ready, and
// whether anything is.
func (p *pump) finished() (finished, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended && (p.forgotten || p.open == p.intakes), p.intakes > 0
}

// linger waits for up to d, or until the source has ended and all is complete.
func (p *pump) linger(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		if over, _ := p.finished(); over {
			return
		}
		select {
		case <-t.C:
			return
		case <-p.wake:
		case <-p.flow.gone:
			return
		case <-p.flow.abort:
			return
		}
	}
}
