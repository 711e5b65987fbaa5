package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/stage"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// unit is what one transaction of a flow writes and settles.
type unit struct {
	c       *committer
	intakes []*intake
	count   int // messages
	bytes   int // recorded
	tracks  []*track

	appends map[*outlet]*bundle
	order   []*outlet      // of appends, in the order of their first message
	items   [][]stage.Item // by durable step
	sources [][]*track     // of items
	last    string         // key of the item before: mostly it is the same
	changes []change
	acks    map[*pump][]channel.Range
	fates   map[*pump][]penstock.Outcome
	ends    *stageNode // it did what the end of its sources does
	leave   []string   // keys of which one that was given in again is done
	journal journal.Draft
	frame   []byte

	identities map[*pump][]*identity // for inboxes

	noted bool // a request is in the journal: nothing else of it may be written
}

// fromStore says that nothing in the unit came from outside of the store.
func (u *unit) fromStore() bool {
	outside := func(in *intake) bool { return in.src.channel == nil }
	return !slices.ContainsFunc(u.intakes, outside) && !slices.ContainsFunc(u.tracks, func(t *track) bool { return outside(t.in) })
}

// bundle gathers the messages for one channel. What is very much is written in several pieces.
type bundle struct {
	n    int
	base int64 // of the first, once it is written
	data []byte
	cuts []cut // the ends of all pieces but the last
}

// cut is where a piece of a bundle ends.
type cut struct{ n, data int }

// pieceBytes is how much of what goes to a channel makes a segment, unless it is one message.
const pieceBytes = 4 << 20

// add adds a message.
func (b *bundle) add(rec []byte) {
	var last cut
	if n := len(b.cuts); n > 0 {
		last = b.cuts[n-1]
	}
	if b.n > last.n && len(b.data)-last.data+len(rec) > pieceBytes {
		b.cuts = append(b.cuts, cut{b.n, len(b.data)})
	}
	b.n++
	b.data = store.AppendFrame(b.data, rec)
}

// write appends the messages to the channel.
func (b *bundle) write(tx store.Tx, name string, now int64) error {
	var from cut
	for i := 0; i <= len(b.cuts); i++ {
		to := cut{b.n, len(b.data)}
		if i < len(b.cuts) {
			to = b.cuts[i]
		}
		base, err := tx.Append(name, store.Bundle{N: to.n - from.n, Data: b.data[from.data:to.data], MinTime: now, MaxTime: now})
		if err != nil {
			return err
		}
		if i == 0 {
			b.base = base
		}
		from = to
	}
	return nil
}

// reset empties b, and keeps its memory where it is not much.
func (b *bundle) reset() {
	b.n, b.data, b.cuts = 0, b.data[:0], b.cuts[:0]
	if cap(b.data) > pieceBytes {
		b.data = nil
	}
}

// change is one entry that is written or, without a value, deleted.
type change struct {
	space string
	e     store.Entry
	gone  bool
}

func (c *change) write(tx store.Tx) error {
	if c.gone {
		return tx.Delete(c.space, c.e.Key)
	}
	return tx.Put(c.space, c.e)
}

func (u *unit) full() bool { return u.count >= unitMessages || u.bytes >= unitBytes }

func (u *unit) empty() bool {
	return len(u.tracks) == 0 && len(u.order) == 0 && len(u.changes) == 0
}

// urgent says that somebody waits for what u writes, or that nothing is gained by waiting.
func (u *unit) urgent() bool {
	if len(u.order) > 0 || len(u.changes) > 0 {
		return true
	}
	for _, t := range u.tracks {
		if p := t.in.src; !p.keeps && p.channel == nil && (p.server == nil || t.inbox != nil) { // nobody waits for a note about a request
			return true
		}
	}
	return false
}

// writes says that there is something to write to the store.
func (u *unit) writes() bool {
	return len(u.order) > 0 || len(u.changes) > 0 || len(u.acks) > 0 || u.noted
}

// take adds a message that is done: what it recorded, and its place.
func (u *unit) take(t *track) {
	u.tracks = append(u.tracks, t)
	r := &t.recorded
	if t.err != nil && t.in.src.takesJobs() {
		r.ops = r.ops[:0] // the job is done again as a whole
	}
	for i := range r.ops {
		o := &r.ops[i]
		rec := r.bytes(o.record)
		u.bytes += len(rec)
		switch {
		case o.outlet != nil:
			o.place = u.append(o.outlet, rec)
		case o.stage != nil:
			u.last = r.text(o.key, u.last)
			u.items[o.stage.index] = append(u.items[o.stage.index], stage.Item{
				Key: u.last, At: o.at, Due: o.due, Number: o.number, Flag: o.flag, Of: string(r.bytes(o.of)), Record: rec,
			})
			u.sources[o.stage.index] = append(u.sources[o.stage.index], t)
		case o.claim:
			u.changes = append(u.changes, change{space: claimSpace, e: store.Entry{Key: r.bytes(o.key), Value: rec, Due: o.due}})
		}
	}
	u.note(t)
	p := t.in.src
	u.noted = u.noted || p.server != nil
	switch {
	case t.early:
	case p.channel != nil:
		u.ack(p, t.pos.Offset)
	case p.each():
		u.fates[p] = append(u.fates[p], penstock.Outcome{Pos: t.pos, Err: t.err, Dead: t.dead.Load()})
	}
	if t.inbox != nil {
		u.identities[p] = append(u.identities[p], t.inbox)
	}
	u.park(t)
}

// note writes the message's way into the journal.
func (u *unit) note(t *track) {
	r := &t.recorded
	key := ""
	if r.noted.to > r.noted.from {
		key = string(r.bytes(r.noted))
	}
	u.journal.Message(t.pos.Stream, t.pos.Offset, t.pos.Line, key, t.fate, len(r.ops)-r.claims())
	for i := range r.ops {
		switch o := &r.ops[i]; {
		case o.outlet != nil:
			u.journal.Appended(o.outlet.name, o.place)
		case o.stage != nil:
			u.journal.Absorbed(o.stage.space, string(r.bytes(o.key)))
		case o.sink != nil:
			u.journal.Sent(o.sink.ep.Name)
		}
	}
}

// park notes that a message which was given in again is done: its key may be free once that is durable.
func (u *unit) park(t *track) {
	if t.redriven && !t.died && t.parkKey != "" {
		u.leave = append(u.leave, t.parkKey)
	}
}

// append adds a message for a channel, and says which one of the transaction's it is.
func (u *unit) append(o *outlet, rec []byte) int {
	b := u.appends[o]
	if b == nil {
		b = &bundle{}
		u.appends[o] = b
	}
	if b.n == 0 {
		u.order = append(u.order, o)
	}
	b.add(rec)
	return b.n - 1
}

// ack adds the position of a message that was read from a channel.
func (u *unit) ack(p *pump, pos int64) {
	rs := u.acks[p]
	if n := len(rs); n > 0 && rs[n-1].To == pos {
		rs[n-1].To++
		return
	}
	u.acks[p] = append(rs, channel.Range{From: pos, To: pos + 1})
}

// prepare adds what depends on everything else: the positions of sources, and the counts of parked keys.
func (u *unit) prepare(ctx context.Context) error {
	f := u.c.f
	for p, ids := range u.identities {
		if err := p.inbox.add(ctx, u, ids); err != nil {
			return err
		}
	}
	clear(u.identities)
	for _, p := range f.pumps {
		p.at.tidy()
		if !p.keeps {
			continue
		}
		for stream, pr := range p.at.streams {
			if pr.changed {
				u.changes = append(u.changes, change{space: p.space(), e: store.Entry{Key: []byte(stream), Value: pr.value()}})
				pr.changed = false
			}
		}
		for _, stream := range p.forgettable() {
			u.changes = append(u.changes, change{space: p.space(), e: store.Entry{Key: []byte(stream)}, gone: true})
			delete(p.at.streams, stream)
		}
	}
	return nil
}

// write is the transaction: it runs on the store's own goroutine.
func (u *unit) write(tx store.Tx) error {
	now := u.c.f.r.clock.Now().UnixNano()
	for _, o := range u.order {
		if o.jobs != nil {
			if err := u.appends[o].enqueue(tx, u.c.f.r.opts.Jobs, o.jobs.Name, now); err != nil {
				return err
			}
			continue
		}
		if err := u.appends[o].write(tx, o.name, now); err != nil {
			return err
		}
	}
	if !u.journal.Empty() {
		data := store.AppendFrame(u.frame[:0], u.journal.Append(now, u.base))
		u.frame = data
		if _, err := tx.Append(journal.Channel, store.Bundle{N: 1, Data: data, MinTime: now, MaxTime: now}); err != nil {
			return err
		}
	}
	for i := range u.changes {
		if err := u.changes[i].write(tx); err != nil {
			return err
		}
	}
	for p, ranges := range u.acks {
		if mutation.On("acknowledgement-missing") {
			break
		}
		if err := p.channel.group.Load().Ack(tx, ranges); err != nil {
			return err
		}
	}
	return nil
}

// base is the position of the first message that the transaction appended to a channel.
func (u *unit) base(name string) (int64, bool) {
	for _, o := range u.order {
		if o.name == name {
			return u.appends[o].base, true
		}
	}
	return 0, false
}

// settle tells the sources what has become of their messages.
func (u *unit) settle(ctx context.Context) error {
	f := u.c.f
	for p, ranges := range u.acks {
		p.channel.group.Load().Acked(ranges)
	}
	for _, key := range u.leave {
		f.parked.leave(key)
	}
	for _, p := range f.pumps {
		var out []penstock.Outcome
		switch {
		case p.channel != nil:
			continue
		case p.each():
			out = u.fates[p]
		default:
			for _, pr := range p.at.streams {
				if pr.any && pr.prefix != pr.told {
					pr.told = pr.prefix
					out = append(out, penstock.Outcome{Pos: pr.prefix})
				}
			}
		}
		if len(out) == 0 {
			continue
		}
		if err := p.source.Settle(ctx, out); err != nil {
			return &penstock.Error{Code: penstock.CodeOf(err), Op: "settle " + p.ep.Name, Err: err}
		}
	}
	for _, t := range u.tracks {
		if t.in.src.counts {
			f.stats.Settled.Add(1)
		}
	}
	for _, o := range u.order {
		o.handed.Add(int64(u.appends[o].n))
	}
	u.wakeTakers(ctx)
	return nil
}

// measure counts how long its messages took. Those of one intake mostly follow one another.
func (u *unit) measure() {
	var in *intake
	n := 0
	for _, t := range u.tracks {
		if t.in != in {
			if n > 0 {
				in.over(n)
			}
			in, n = t.in, 0
		}
		n++
	}
	if n > 0 {
		in.over(n)
	}
}

// reset empties u for the next transaction, and keeps its memory.
func (u *unit) reset() {
	for _, b := range u.appends {
		b.reset()
	}
	clear(u.tracks)
	clear(u.intakes)
	clear(u.changes)
	clear(u.acks)
	clear(u.fates)
	u.leave = u.leave[:0]
	u.noted = false
	u.journal.Reset(u.c.f.plan.Name)
	u.intakes, u.count, u.bytes = u.intakes[:0], 0, 0
	u.tracks, u.order, u.changes = u.tracks[:0], u.order[:0], u.changes[:0]
}

// absorbed empties the list of what was given to a durable step.
func (u *unit) absorbed(s *stageNode) {
	clear(u.items[s.index])
	clear(u.sources[s.index])
	u.items[s.index], u.sources[s.index] = u.items[s.index][:0], u.sources[s.index][:0]
}

// stageOutput is what a durable step writes to: the unit.
type stageOutput struct {
	u *unit
	s *stageNode
}

var _ stage.Output = (*stageOutput)(nil)

// Emit implements stage.Output.
func (o *stageOutput) Emit(rec []byte) {
	if !o.s.gathers() {
		o.u.c.f.stats.Groups.Add(o.s.leave(1))
	}
	if mutation.On("emission-apart") {
		o.apart(rec, nil, nil)
		return
	}
	i := o.u.append(o.s.out, rec)
	v, err := record.Parse(rec)
	if err != nil {
		return // it is damaged, which its reader will say
	}
	o.u.journal.Emitted(o.s.out.name, i, v.Key(), v.Origin())
}

// Put implements stage.Output.
func (o *stageOutput) Put(key, value []byte, due int64) {
	if mutation.On("key-final-early") {
		o.apart(nil, &store.Entry{Key: key, Value: value, Due: due}, nil)
		return
	}
	spaceOutput{o.u, o.s.space}.Put(key, value, due)
}

// Delete implements stage.Output.
func (o *stageOutput) Delete(key []byte) {
	if mutation.On("deleted-before-emission") {
		o.apart(nil, nil, key)
		return
	}
	spaceOutput{o.u, o.s.space}.Delete(key)
}

// Reject implements stage.Output: the item is dead-lettered.
func (o *stageOutput) Reject(i int, cause error) {
	u, s := o.u, o.s
	f := u.c.f
	it := &u.items[s.index][i]
	if err := u.reject(it.Record, u.sources[s.index][i], cause, s.node.Name); err != nil {
		f.fatal(&penstock.Error{Code: penstock.CodeOf(err), Op: "dead letter of " + f.plan.Name, Err: err, Hint: notSettled(err)})
		return
	}
	f.stats.reject(cause, s.node.Name)
	f.stats.Dead.Add(1)
	s.leave(1)
}

// Count implements stage.Output.
func (o *stageOutput) Count(what stage.Counted, n int) {
	st := o.u.c.f.stats
	switch what {
	case stage.Groups:
		st.Groups.Add(int64(n))
	case stage.Late:
		st.Late.Add(int64(n))
	case stage.ByBound:
		st.Bound.Add(int64(n))
	case stage.Dropped:
		o.s.node.stats.Dropped.Add(int64(n))
		st.Filtered.Add(int64(n))
		o.s.leave(int64(n))
	}
	o.s.count(what, n)
}

// staged names the durable step that an error is about.
func (f *flow) staged(s *stageNode, err error) error {
	var e *penstock.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s/%s: %w", f.plan.Name, s.node.Name, err)
	}
	return &penstock.Error{Code: penstock.Internal, Op: f.plan.Name + "/" + s.node.Name, Err: err}
}

// reject dead-letters a message that a durable step refused: in the transaction, or, where dead letters go elsewhere,
// before it.
func (u *unit) reject(rec []byte, t *track, cause error, stepName string) error {
	f := u.c.f
	b := f.batches.get()
	defer f.recycle(b)
	b.Runtime = f.runtime
	v, err := record.Parse(rec)
	if err != nil {
		return err
	}
	m, err := v.Message(b, f.plan.Vars)
	if err != nil {
		return err
	}
	m.Lineage, m.Pos = t, t.pos
	m.Meta.Set("dead", f.deadMeta(cause, stepName, 1, m, "at "+stepName))
	if f.dead.outlet == nil {
		f.envelop(b, m)
		return f.dead.write(f.ctx, b, false)
	}
	u.append(f.dead.outlet, record.Append(nil, f.header(m, f.now()), m, f.plan.Vars))
	return nil
}
