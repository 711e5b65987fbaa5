package run

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Names in the store. Resources are DNS labels, so that none of these collides with one.
const (
	cursorSpace = "cursor/" // + consumer
	claimSpace  = "claims"
	stepSpace   = "steps" // what the state of each durable step depends on
	queueGroup  = "queue"
)

// deadChannel holds a flow's dead letters, inChannel those that are given to it again.
func deadChannel(flow string) string { return flow + ".dead" }
func inChannel(flow string) string   { return flow + "#in" }

// durable is a channel in the store, as a run uses it.
type durable struct {
	name      string
	plan      *plan.Channel // nil: internal
	entity    string        // whose events it holds, and in which part; "": it holds messages
	part      int
	producers atomic.Int32 // flows and steps of this run that still may send
	sources   readers
	takers    enders      // of a queue of jobs
	ended     atomic.Bool // its readers were told that nobody sends any more
	out       *outlet
	c         *channel.Channel // nil until the store is open
}

// outlet is the sending end of a durable channel. What goes there is recorded; the committer writes it.
type outlet struct {
	name   string
	key    penstock.Program // what the key becomes; nil: it stays
	handed atomic.Int64
	jobs   *plan.JobQueue // what goes there are jobs; else nil
}

// Open implements penstock.Sink.
func (*outlet) Open(context.Context) error { return nil }

// Write implements penstock.Sink. Nobody calls it: see exec.recordSend.
func (o *outlet) Write(context.Context, *penstock.Batch) error {
	return penstock.E(penstock.Internal, "send", o.name, "a durable channel is written by the committer")
}

// Close implements penstock.Sink.
func (*outlet) Close(context.Context) error { return nil }

// become gives the channel its plan; nil: it has none. Nobody may use the channel meanwhile.
func (d *durable) become(p *plan.Channel) {
	if d.plan = p; p != nil {
		d.out.key, d.out.jobs = p.Key, p.Jobs
	} else {
		d.out.key, d.out.jobs = nil, nil
	}
}

// summary counts what this run sent.
func (d *durable) summary() ChannelSummary {
	return ChannelSummary{Name: d.name, Handed: d.out.handed.Load(), Durable: true}
}

// config is how the store keeps the channel.
func (d *durable) config() channel.Config {
	c := channel.Config{Name: d.name, Queue: true} // internal: what is acknowledged can go
	if d.plan != nil {
		c.Queue, c.Retain, c.RetainBytes = d.plan.Queue, d.plan.Retain, d.plan.RetainBytes
	}
	return c
}

// configure tells the store how to keep the channel, unless what it has are jobs: those are kept by their queue.
func (d *durable) configure() {
	if d.c != nil || mutation.On("job-reload-configures") {
		d.c.Configure(d.config())
	}
}

// release says that a sender has ended; after the last the readers see the end, unless other processes send there, too.
func (d *durable) release(others bool) {
	if d.producers.Add(-1) == 0 && !others {
		d.end()
	}
}

func (d *durable) end() {
	d.ended.Store(true)
	d.sources.each(func(s *channelSource) {
		if g := s.group.Load(); g != nil {
			g.End()
		}
		s.standing.look(false)
	})
	d.takers.end()
}

// channelSource reads a durable channel.
type channelSource struct {
	d        *durable
	f        *flow
	consumer string
	stage    *stageNode // nil: not the reader behind a durable step
	redrive  bool       // messages that died before: each says where it goes on
	group    atomic.Pointer[channel.Group]
	reader   *channel.Reader
	waits    channel.Waits
	held     []channel.Delivery // read, and not handed on: they go on elsewhere
	bytes    int64              // of the messages that were handed on last
	entry    entry              // where they begin
	deaths   []deadAt           // of messages that were dead: what their keys and places are
	standing standing           // of one that reads events
}

func (r *Runner) newChannelSource(d *durable, f *flow, consumer string) *channelSource {
	s := &channelSource{d: d, f: f, consumer: consumer, entry: fromEntry}
	s.standing.cond.init(r, &s.standing.mu)
	d.sources.add(s)
	return s
}

// Waits implements Waiter.
func (s *channelSource) Waits(idle, busy func()) { s.waits = channel.Waits{Idle: idle, Busy: busy} }

// Open implements penstock.Source.
func (s *channelSource) Open(ctx context.Context) error {
	if s.reader != nil {
		return nil
	}
	name := s.consumer
	if s.d.plan != nil && s.d.plan.Queue {
		name = queueGroup
	}
	start := channel.Start{}
	if s.d.plan != nil && !s.f.later {
		start = s.f.r.opts.From.start()
	}
	g, err := s.d.c.Group(ctx, name, start)
	if err != nil {
		return err
	}
	s.group.Store(g)
	s.reader = g.Join(s.waits)
	if p := s.stage; p != nil {
		left, _ := g.Lag()
		p.waiting.Store(left)
	}
	return nil
}

// readMessages is how many messages a channel is asked for at a time.
const readMessages = 256

// readBytes is how much of them goes on together, unless it is one message.
const readBytes = 1 << 20

// Read implements penstock.Source.
func (s *channelSource) Read(ctx context.Context, into *penstock.Batch) error {
	ds := s.held
	if len(ds) == 0 {
		var err error
		if ds, err = s.reader.Next(ctx, readMessages); err != nil {
			return err
		}
	}
	s.bytes, s.deaths = 0, s.deaths[:0]
	turn := s.standing.tries()
	for i := range ds {
		if s.bytes >= readBytes {
			s.held = slices.Clone(ds[i:])
			return nil
		}
		m, ok, err := s.message(ctx, &ds[i], into)
		if err != nil {
			if s.d.entity == "" {
				return s.damaged(ds[i].Position, err)
			}
			s.held = slices.Clone(ds[i:]) // those before it go on; then it is its turn again
			var u *UnreadableEvent
			if len(into.Msgs) == 0 && errors.As(err, &u) {
				return s.block(ctx, u, turn)
			}
			if len(into.Msgs) == 0 {
				return err
			}
			return nil
		}
		if s.d.entity != "" {
			if was := s.standing.goesOn(); was != nil {
				s.f.log.Info("the flow goes on with the event at which it stood", "event", was.Event)
			}
		}
		if !ok {
			continue
		}
		m.Pos = penstock.Position{Stream: s.d.name, Offset: ds[i].Position, Next: ds[i].Position + 1}
		s.bytes += int64(len(ds[i].Record))
		if !s.redrive {
			continue
		}
		at := deathOf(m)
		m.Meta.Set("dead", penstock.Absent)
		entry := s.f.entry(at.entry)
		if i > 0 && entry.name != s.entry.name { // goes on elsewhere: the next batch
			into.Msgs = into.Msgs[:len(into.Msgs)-1]
			s.held = slices.Clone(ds[i:])
			return nil
		}
		s.entry = entry
		s.deaths = append(s.deaths, at)
	}
	s.held = nil
	return nil
}

// message makes a message of what was read; false: none comes of it.
func (s *channelSource) message(ctx context.Context, d *channel.Delivery, into *penstock.Batch) (*penstock.Message, bool, error) {
	if s.d.entity != "" {
		return s.event(ctx, d.Position, d.Record, into)
	}
	v, err := record.Parse(d.Record)
	if err != nil {
		return nil, false, err
	}
	m, err := v.Message(into, s.f.plan.Vars)
	return m, err == nil, err
}

// damaged is about a message that can't be read: the channel is stopped, for nothing of it may get lost.
func (s *channelSource) damaged(pos int64, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "read channel " + s.d.name, Path: journal.ID(s.d.name, pos, 0), Err: err,
		Hint: "`penstock store check` says what else is damaged; `penstock backup restore` brings a backup back"}
}

// Settle implements penstock.Source. The committer acknowledges.
func (*channelSource) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source.
func (s *channelSource) Close(context.Context) error {
	if s.reader != nil {
		s.reader.Leave()
		s.reader = nil
	}
	s.d.sources.remove(s)
	return nil
}

// openStore opens the store of a run that keeps state, and its channels.
func (r *Runner) openStore(ctx context.Context) error {
	if !r.current().Durable {
		return nil
	}
	st, err := r.theStore()
	if err != nil {
		return err
	}
	if err := r.knowStore(ctx, st); err != nil {
		return err
	}
	r.hub = channel.NewHub(st, r.clock, channel.Options{})
	var errs []error
	for _, d := range r.wiring().durables {
		if d.out.jobs != nil {
			continue // it is no channel
		}
		c, err := r.hub.Open(d.config())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.c = c
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := r.checkSteps(ctx, st, r.list(), r.current().Known); err != nil {
		return err
	}
	for _, f := range r.list() {
		if err := f.restore(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

// theStore is the run's store; it is opened when it is needed first.
func (r *Runner) theStore() (store.Store, error) {
	r.storeM.Lock()
	defer r.storeM.Unlock()
	if r.store != nil {
		return r.store, nil
	}
	if r.opts.Store == nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "store", Err: errors.New("this run has no store"), Hint: "name one in the Integration"}
	}
	st, err := r.opts.Store()
	if err != nil {
		return nil, err
	}
	r.store = st
	return st, nil
}

// restore reads what earlier runs of the flow left: positions, the state of durable steps, parked keys.
func (f *flow) restore(ctx context.Context, st store.Store) error {
	for _, p := range f.pumps {
		if p.heir != nil {
			continue // it knows
		}
		if err := p.restore(ctx, st); err != nil {
			return err
		}
	}
	for _, s := range f.stages {
		if err := s.machine.Load(ctx, st); err != nil {
			return f.staged(s, err)
		}
		s.due.Store(s.machine.Due())
	}
	if f.parked != nil && (f.before == nil || f.before.parked == nil) {
		return f.parked.load(ctx, f, st)
	}
	return nil
}

// restore brings a source that keeps positions to where it was.
func (p *pump) restore(ctx context.Context, st store.Store) error {
	if p.inbox != nil {
		if err := p.inbox.load(ctx, st); err != nil {
			return err
		}
	}
	if !p.keeps {
		return nil
	}
	if !p.flow.later && p.flow.r.opts.From.anew() {
		return p.source.(penstock.Positioned).Resume(ctx, nil)
	}
	var from []penstock.Position
	var after []byte
	for {
		var page []store.Entry
		err := st.View(ctx, func(v store.View) (err error) {
			page, err = v.State().Scan(p.space(), after, 1000)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range page {
			k, pos, err := readPosition(string(e.Key), e.Value)
			if err != nil {
				return &penstock.Error{Code: penstock.Internal, Op: "resume " + p.ep.Name, Err: err}
			}
			pr := &progress{prefix: pos, any: !k.None, told: pos, before: k.Done}
			if p.at.streams == nil {
				p.at.streams = map[string]*progress{}
			}
			p.at.streams[pos.Stream] = pr
			if p.before == nil {
				p.before = map[string]kept{}
			}
			p.before[pos.Stream] = k
			if !k.None {
				from = append(from, pos)
			}
		}
		if len(page) < 1000 {
			break
		}
		after = page[len(page)-1].Key
	}
	return p.source.(penstock.Positioned).Resume(ctx, from)
}

// space is where the positions of a source are kept.
func (p *pump) space() string { return cursorSpace + p.ep.Name }

// forgettable lists the streams whose positions nobody needs any more.
func (p *pump) forgettable() []string {
	o, ok := p.source.(penstock.Forgetter)
	if !ok {
		return nil
	}
	over := o.Over()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stream := range over {
		delete(p.reached, stream)
	}
	return over
}
