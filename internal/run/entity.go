package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/jsonview"
)

// Entities does what steps ask of entities. It is safe for concurrent use.
type Entities interface {
	// Command does what is asked and appends the reply to dst; what happened is durable then.
	Command(ctx context.Context, dst []byte, q EntityCommand) ([]byte, error)
	// Query appends the state of an entity to dst.
	Query(ctx context.Context, dst []byte, q EntityQuery) ([]byte, error)
	// Channels lists the channels of the store that hold an entity's events, by part.
	Channels(entity string) ([]string, error)
	// Event appends an event of a part to b as a message, as the configuration knows it now. False: it is none that flows see. An
	// [UnreadableEvent] is the error of one that the configuration can't read.
	Event(ctx context.Context, entity string, part int, pos int64, rec []byte, b *penstock.Batch) (*penstock.Message, bool, error)
}

// EntityCommand is what a step asks of an entity.
type EntityCommand struct {
	Entity, Command string
	Key             string // "": what the entity says of Data
	Data            []byte // JSON text
	Meta            *penstock.Meta
	Cause           string // what the command is known by
	Expect          int64  // version; below 0: any
}

// EntityQuery is what a step wants to know of an entity.
type EntityQuery struct {
	Entity, Key string
	Version     int64     // -1: any
	Time        time.Time // zero: now
}

// commander is what a step asks that commands an entity.
type commander struct {
	f    *flow
	name string // flow/step
	op   *plan.EntityCall
}

var (
	_ penstock.Caller = (*commander)(nil)
	_ penstock.Caller = (*querier)(nil)
)

// Open implements penstock.Caller.
func (*commander) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*commander) Close(context.Context) error { return nil }

var errNoEntities = &penstock.Error{Code: penstock.Config, Op: "command", Err: errors.New("this run has no entities")}

// Call implements penstock.Caller.
func (c *commander) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	all := c.f.r.opts.Entities
	if all == nil {
		return errNoEntities
	}
	q := EntityCommand{Entity: c.op.Entity, Command: c.op.Command, Meta: &f.Msg.Meta, Expect: -1}
	var err error
	if c.op.Key != nil {
		if q.Key, err = entityKey(f, c.op.Key); err != nil {
			return err
		}
		if q.Key == "" {
			return penstock.E(penstock.Unprocessable, "command", c.op.Entity, "the key is empty, which names no entity")
		}
	}
	if c.op.Expect != nil {
		v := c.op.Expect.Eval(f).Load(f.Arena)
		switch {
		case v.IsError():
			return v.Err()
		case v.IsAbsent() || v.Kind() == penstock.KindNull:
		case v.Kind() == penstock.KindInt && v.Int() >= 0:
			q.Expect = v.Int()
		default:
			return penstock.E(penstock.Unprocessable, "command", "expect", "a version is a whole number from 0 on")
		}
	}
	if q.Data, err = treeText(f, c.op.Data); err != nil {
		return err
	}
	if f.Msg.Lineage != nil {
		id := make([]byte, 0, 96)
		id = append(append(id, c.name...), ' ')
		q.Cause = string(appendCause(id, f.Msg))
	}
	out, err := all.Command(ctx, nil, q)
	if err != nil {
		return err
	}
	into.Body.Reset(jsonview.JSON, out)
	return nil
}

// appendCause appends what a command is known by: the identity of its message; of a request without one, what its caller says (an idempotency key).
func appendCause(dst []byte, m *penstock.Message) []byte {
	if t, ok := m.Lineage.(*track); ok && t.in.asked != "" && (t.lasting == nil || t.inbox == nil) && !mutation.On("asked-again-is-new") {
		return append(append(m.Descent.Append(append(dst, t.in.src.label...)), '#'), t.in.asked...)
	}
	return m.Lineage.AppendIdentity(dst, m.Descent)
}

// treeText is the JSON text of a data tree, or of the body.
func treeText(f *penstock.Frame, t plan.Tree) ([]byte, error) {
	switch {
	case t.Mapping != nil:
		return t.Mapping.Append(nil, f)
	case t.Program != nil:
		v := t.Program.Eval(f)
		if v.IsError() {
			return nil, v.Err()
		}
		if v.IsAbsent() {
			return []byte("null"), nil
		}
		return v.AppendJSON(nil)
	}
	if err := f.Msg.Body.Parse(jsonview.Limits{}); err != nil {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "command", Path: "body", Err: err}
	}
	return f.Msg.Body.AppendJSON(nil, 0), nil
}

// entityKey evaluates a key.
func entityKey(f *penstock.Frame, p penstock.Program) (string, error) {
	v := p.Eval(f)
	if v.IsError() {
		return "", v.Err()
	}
	text, err := v.AppendText(nil)
	return string(text), err
}

// querier is what a step asks that wants to know the state of an entity.
type querier struct {
	f  *flow
	op *plan.EntityQuery
}

// Open implements penstock.Caller.
func (*querier) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*querier) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (c *querier) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	all := c.f.r.opts.Entities
	if all == nil {
		return errNoEntities
	}
	q := EntityQuery{Entity: c.op.Entity, Version: -1}
	var err error
	if q.Key, err = entityKey(f, c.op.Key); err != nil {
		return err
	}
	if c.op.AsOf != nil {
		v := c.op.AsOf.Eval(f).Load(f.Arena)
		if v.Kind() == penstock.KindOptional {
			v = v.Optional()
		}
		switch {
		case v.IsError():
			return v.Err()
		case v.IsAbsent() || v.Kind() == penstock.KindNull:
		case v.Kind() == penstock.KindInt && v.Int() >= 0:
			q.Version = v.Int()
		case v.Kind() == penstock.KindTimestamp:
			q.Time = v.Timestamp()
		default:
			text, err := v.AppendText(nil)
			if err == nil {
				if n, e := strconv.ParseInt(string(text), 10, 64); e == nil && n >= 0 {
					q.Version = n
					break
				}
				q.Time, err = time.Parse(time.RFC3339Nano, string(text))
			}
			if err != nil {
				return penstock.E(penstock.Unprocessable, "query", "asOf", "it is neither a timestamp nor a version")
			}
		}
	}
	out, err := all.Query(ctx, nil, q)
	if err != nil {
		return err
	}
	into.Body.Reset(jsonview.JSON, out)
	return nil
}

// commands says that the node asks an entity to do something: those of one entity must come to it in the order of their messages.
func (n *node) commands() bool {
	c, ok := n.Op.(*plan.Call)
	return ok && c.Endpoint != nil && c.Endpoint.Command != nil
}

// inKeyOrder runs the tasks of a batch that command entities: those of one entity one after the other, others at once. Behind one that may be
// tried again its entity's others wait for that.
func (x *exec) inKeyOrder(w *work, n *node, ms []*penstock.Message, window *slots, t task) {
	chains, at := [][]int{}, map[string]int{}
	for i, m := range ms {
		key := ""
		if p := n.Op.(*plan.Call).Endpoint.Command.Key; p != nil {
			key, _ = entityKey(w.batch.Frame(m), p) // one that can't be computed fails by itself
		}
		c, ok := at[key]
		if !ok || mutation.On("commands-out-of-order") {
			c = len(chains)
			at[key], chains = c, append(chains, nil)
		}
		chains[c] = append(chains[c], i)
	}
	replies, errs := make([]*reply, len(ms)), make([]error, len(ms))
	x.f.r.all(len(chains), func(c int) {
		var before error
		for _, i := range chains[c] {
			if before != nil {
				errs[i] = &penstock.Error{Code: penstock.CodeOf(before), Op: "command", Err: fmt.Errorf("it is done behind one of its entity that could not be: %w", before)}
				continue
			}
			if replies[i], errs[i] = x.f.windowed(x.ctx, window, ms[i], t); errs[i] != nil && penstock.CodeOf(errs[i]).Transient() {
				before = errs[i]
			}
		}
	})
	kept := ms[:0]
	for i, m := range ms {
		err := errs[i]
		if err == nil {
			err = x.store(w, n, m, replies[i])
		}
		if err != nil {
			x.fail(m, err)
		} else {
			kept = append(kept, m)
		}
	}
	x.put(w, n.Next, kept)
}

// entityRunner is the caller of an endpoint that asks an entity; nil: it is none.
func (f *flow) entityRunner(ep *plan.Endpoint) penstock.Caller {
	switch {
	case ep.Command != nil:
		return &commander{f, ep.Name, ep.Command}
	case ep.Query != nil:
		return &querier{f, ep.Query}
	}
	return nil
}

// eventsOf finds the channels of the store that hold the events of an entity: they are kept for good.
func (f *flow) eventsOf(entity string) ([]*durable, error) {
	if f.r.opts.Entities == nil {
		return nil, errNoEntities
	}
	names, err := f.r.opts.Entities.Channels(entity)
	if err != nil {
		return nil, err
	}
	out := make([]*durable, len(names))
	for i, name := range names {
		d := f.net.durables[name]
		if d == nil {
			if d = f.r.wiring().durable(name); d == nil {
				d = newDurable(name, &plan.Channel{Name: name, Durable: true, Retain: math.MaxInt64, RetainBytes: math.MaxInt64})
				d.entity, d.part = entity, i
			}
			f.net.durables[name] = d
		}
		out[i] = d
	}
	return out, nil
}

// buildEntity makes the sources of an entity's events: one for each part of the store.
func (f *flow) buildEntity(ep *plan.Endpoint) error {
	all, err := f.eventsOf(ep.Entity)
	if err != nil {
		return err
	}
	for i, d := range all {
		own := *ep
		own.Channel = d.name
		if len(all) > 1 {
			own.Name += "#" + strconv.Itoa(i)
		}
		in, err := f.instance(RoleSource, &own)
		if err != nil {
			return err
		}
		src := f.r.newChannelSource(d, f, own.Name)
		f.events = append(f.events, src)
		p := newPump(f, in, src)
		p.channel = src
		f.pumps = append(f.pumps, p)
	}
	return nil
}

// event makes a message of an event; false: it is passed over, and settled by itself.
func (s *channelSource) event(ctx context.Context, pos int64, rec []byte, into *penstock.Batch) (*penstock.Message, bool, error) {
	m, ok, err := s.f.r.opts.Entities.Event(ctx, s.d.entity, s.d.part, pos, rec, into)
	if err != nil && mutation.On("flow-skips-unreadable-event") {
		return nil, false, s.pass(ctx, pos)
	}
	if err != nil || ok {
		if err == nil && len(s.f.plan.Vars) > 0 {
			if cap(m.Vars) < len(s.f.plan.Vars) {
				m.Vars = make([]penstock.Value, len(s.f.plan.Vars))
			}
			m.Vars = m.Vars[:len(s.f.plan.Vars)]
			clear(m.Vars)
		}
		return m, ok, err
	}
	return nil, false, s.pass(ctx, pos)
}

// pass settles what no message is made of.
func (s *channelSource) pass(ctx context.Context, pos int64) error {
	g := s.group.Load()
	ranges := []channel.Range{{From: pos, To: pos + 1}}
	st, err := s.f.r.theStore()
	if err != nil {
		return err
	}
	if err := st.Submit(store.Small, func(tx store.Tx) error { return g.Ack(tx, ranges) }).Wait(ctx); err != nil {
		return err
	}
	g.Acked(ranges)
	return nil
}

// commands notes that a flow makes events, so that those who read them, or the channel that they are sent to, wait for its end. Where they can't be found out now, whoever
// asks for them says why.
func (f *flow) commands(ep *plan.Endpoint) {
	if ep == nil || ep.Command == nil || f.r.opts.Entities == nil {
		return
	}
	for _, e := range f.net.plan.Entities {
		if e.Name != ep.Command.Entity || e.Publish == nil {
			continue
		}
		if d := f.net.durables[e.Publish.Channel]; d != nil {
			d.producers.Add(1)
			f.feedsDurable = append(f.feedsDurable, d)
		}
	}
	if !f.net.readsEntity(ep.Command.Entity) {
		return
	}
	all, err := f.eventsOf(ep.Command.Entity)
	if err != nil {
		return
	}
	for _, d := range all {
		d.producers.Add(1)
		f.feedsDurable = append(f.feedsDurable, d)
	}
}

// readsEntity says that a flow of the plan reads the events of an entity.
func (net *wiring) readsEntity(entity string) bool {
	for _, f := range net.plan.Flows {
		for _, ep := range f.Sources {
			if ep.Entity == entity {
				return true
			}
		}
	}
	return false
}
