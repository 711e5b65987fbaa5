package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// A portion of an action is one transaction.
const (
	portionMessages = 256
	portionBytes    = 1 << 20
	portionsASecond = 10 // where there is a rate: it is kept evenly
)

// portion is dead letters that are redriven or dropped together.
type portion struct {
	letters []stored
	bytes   int
}

func (p *portion) ranges() []channel.Range {
	var out []channel.Range
	for _, l := range p.letters {
		if n := len(out); n > 0 && out[n-1].To == l.pos {
			out[n-1].To++
			continue
		}
		out = append(out, channel.Range{From: l.pos, To: l.pos + 1})
	}
	return out
}

// Act implements [DeadLetters].
func (d *direct) Act(ctx context.Context, a Action, progress func(Acted) error) (*Acted, error) {
	switch {
	case a.Verb != Redrive && a.Verb != Drop:
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "dead letters", Err: fmt.Errorf("%q is nothing that can be done with them", a.Verb)}
	case a.Flow == "":
		return nil, &penstock.Error{Code: penstock.Invalid, Op: string(a.Verb), Err: errors.New("there is no flow named"), Hint: "dead letters go back into one flow at a time"}
	case a.Rate < 0:
		return nil, &penstock.Error{Code: penstock.Invalid, Op: string(a.Verb), Err: errors.New("the rate is below zero")}
	}
	if a.Verb == Redrive && slices.Contains(d.names().Jobs, a.Flow) {
		return nil, &penstock.Error{Code: penstock.Conflict, Op: "redrive", Err: fmt.Errorf("flow %s keeps no state: it would not read what is redriven", a.Flow),
			Hint: "name a store in the Integration (store: {driver: sqlite}); or run the flow again over its source, and drop these"}
	}
	over, err := d.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer over()
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	g, err := d.group(ctx, s, deadChannel(a.Flow), deadGroup)
	if err != nil {
		return nil, err
	}
	out := &Acted{Verb: a.Verb, Flow: a.Flow}
	size := portionMessages
	if a.Rate > 0 {
		size = min(size, max(1, int(a.Rate/portionsASecond)))
	}
	end, err := d.end(ctx, s, a.Flow) // what dies meanwhile is not meant
	if err != nil {
		return nil, err
	}
	var p portion
	began := d.c.Clock.Now()
	flush := func() error {
		if len(p.letters) == 0 {
			return nil
		}
		if err := d.write(s, g, a, &p); err != nil {
			return err
		}
		out.Count += int64(len(p.letters))
		p = portion{}
		if out.Left, err = d.open(ctx, s, a.Flow, end); err != nil {
			return err
		}
		if progress != nil {
			return progress(*out)
		}
		return nil
	}
	err = d.visit(ctx, a.Selection, func(l stored) error {
		p.letters = append(p.letters, l)
		p.bytes += len(l.record)
		if len(p.letters) < size && p.bytes < portionBytes {
			return context.Cause(ctx)
		}
		if a.Rate > 0 { // as many as the rate allows until now
			due := began.Add(time.Duration(float64(out.Count) / a.Rate * float64(time.Second)))
			if wait := due.Sub(d.c.Clock.Now()); wait > 0 {
				if err := d.sleep(ctx, wait); err != nil {
					return err
				}
			}
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return nil, d.interrupted(err, out)
	}
	out.Left, err = d.open(ctx, s, a.Flow, end)
	return out, err
}

// interrupted says how far an action has come that failed.
func (d *direct) interrupted(err error, done *Acted) error {
	if done.Count == 0 {
		return err
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Op: fmt.Sprintf("%s: stopped after %d dead letters", done.Verb, done.Count), Err: err,
		Hint: "what is done is done, and nothing is done twice: the same command goes on with the rest"}
}

// write does a portion in one transaction.
func (d *direct) write(s store.Store, g *channel.Group, a Action, p *portion) error {
	now := d.c.Clock.Now()
	ranges := p.ranges()
	var data []byte
	if a.Verb == Redrive {
		for _, l := range p.letters {
			data = store.AppendFrame(data, l.record)
		}
	}
	entry := Audited{Time: now.UTC(), Verb: a.Verb, Flow: a.Flow, Who: a.Who, Where: a.Where}
	for _, r := range ranges {
		id := letterID(a.Flow, r.From)
		if r.To > r.From+1 {
			id = fmt.Sprintf("%s-%d", id, r.To-1)
		}
		entry.IDs = append(entry.IDs, id)
		entry.Count += r.To - r.From
	}
	at := now.UnixNano()
	c := s.Submit(store.Bulk, func(tx store.Tx) error {
		if a.Verb == Redrive {
			if mutation.On("redrive-loses") {
				return g.Ack(tx, ranges)
			}
			if d.toQueue(a.Flow) {
				if err := d.enqueueAgain(tx, a.Flow, at, p.letters); err != nil {
					return err
				}
				if err := g.Ack(tx, ranges); err != nil {
					return err
				}
				return entry.write(tx)
			}
			base, err := tx.Append(inChannel(a.Flow), store.Bundle{N: len(p.letters), Data: data, MinTime: at, MaxTime: at})
			if err != nil {
				return err
			}
			note := store.AppendFrame(nil, p.note(a.Flow, at, base))
			if _, err := tx.Append(journal.Channel, store.Bundle{N: 1, Data: note, MinTime: at, MaxTime: at}); err != nil {
				return err
			}
		}
		if err := g.Ack(tx, ranges); err != nil {
			return err
		}
		return entry.write(tx)
	})
	<-c.Done() // a caller who goes away must not leave the outcome open: it takes milliseconds
	if err := c.Err(); err != nil {
		return err
	}
	g.Acked(ranges)
	if a.Verb == Redrive && d.toQueue(a.Flow) && d.c.Process != nil {
		d.c.Queues.Enqueued(a.Flow)
	}
	if a.Verb == Drop && d.c.Process != nil {
		d.let(a.Flow, p)
	}
	return nil
}

// note is the journal of a portion that is redriven: each dead letter is a message of the flow's again.
func (p *portion) note(flow string, now, base int64) []byte {
	var d journal.Draft
	d.Reset(flow)
	for i, l := range p.letters {
		d.Message(deadChannel(flow), l.pos, 0, record.Key(l.record), journal.Done, 1)
		d.Appended(inChannel(flow), i)
	}
	return d.Append(now, func(name string) (int64, bool) { return base, name == inChannel(flow) })
}

// let has the run that goes on meanwhile let go of the keys that dropped dead letters hold back. The next run sees what is left.
func (d *direct) let(flow string, p *portion) {
	var dropped []Reason
	for _, l := range p.letters {
		if v, err := record.Parse(l.record); err == nil { // one that is damaged holds nothing back
			if r := reasonOf(v); r.Number != 0 {
				dropped = append(dropped, r)
			}
		}
	}
	if len(dropped) > 0 {
		d.c.Process.Let(flow, dropped)
	}
}

// end is the position behind the last dead letter of a flow.
func (d *direct) end(ctx context.Context, s store.Store, flow string) (end int64, err error) {
	err = s.View(ctx, func(v store.View) error {
		b, err := v.Log().Bounds(deadChannel(flow))
		end = b.Next
		return err
	})
	return end, err
}

// open counts the open dead letters of a flow before a position.
func (d *direct) open(ctx context.Context, s store.Store, flow string, end int64) (n int64, err error) {
	err = s.View(ctx, func(v store.View) error {
		b, err := v.Log().Bounds(deadChannel(flow))
		if err != nil {
			return err
		}
		g, err := groupOf(v, b, deadGroup)
		b.Next = end
		n = g.open(b)
		return err
	})
	return n, err
}
