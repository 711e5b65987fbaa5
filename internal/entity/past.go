package entity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

// Past is an event that is put into a history as it is, by no command.
type Past struct {
	Type string
	// Schema is the version of the schema that Data has; 0 is the present one.
	Schema int
	Data   []byte // JSON text of an object; nil is {}
	Time   time.Time
}

// Happened appends events to the history of a key, as if commands had made them: each is held to its schema, where it has the present version of
// that, and must be one that the entity can be folded over. They are published, too, and are durable when it returns. Nothing happens where one is
// refused; the error says which. It is for tests.
func (e *Entity) Happened(ctx context.Context, key string, events []Past) error {
	o, err := e.store()
	if err != nil {
		return err
	}
	x := e.plan.Load()
	if err := usable(x, key); err != nil {
		return err
	}
	b := benches.Get().(*bench)
	defer benches.Put(b)
	l := o.lane(key)
	s := l.stream(key)
	s.mu.Lock()
	if !s.holds(x) {
		if err := l.load(ctx, b, x, key, s); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	p := &pending{key: key, version: s.version, expect: s.token, state: s.state}
	for i := range events {
		if err := l.happened(b, x, p, &events[i]); err != nil {
			s.mu.Unlock()
			return &penstock.Error{Code: penstock.CodeOf(err), Op: fmt.Sprintf("event %d", i+1), Path: x.Name + " " + key, Err: err}
		}
	}
	p.token = l.e.r.token()
	bt := l.join(p)
	s.known = false
	s.mu.Unlock()
	if err := wait(ctx, bt.commit); err != nil {
		return err
	}
	if p.outcome == rejected {
		return p.why
	}
	if p.outcome != appended {
		return &penstock.Error{Code: penstock.Conflict, Op: "append events", Path: x.Name + " " + key, Err: errors.New("it was changed meanwhile")}
	}
	return nil
}

// happened adds an event to what is pending.
func (l *lane) happened(b *bench, x *plan.Entity, p *pending, past *Past) error {
	rt := l.e.r.rt.Load()
	t := x.EventType(past.Type)
	if t == nil {
		return errors.New("no event of this type is in the configuration")
	}
	ev := Event{Part: l.n.part, Key: p.key, Version: p.after() + 1, Type: past.Type, Schema: past.Schema, Time: past.Time.UnixNano(), Data: past.Data}
	if ev.Schema == 0 {
		ev.Schema = t.Version
	}
	if ev.Data == nil {
		ev.Data = []byte("{}")
	}
	clear := ev.Data
	if ev.Schema == t.Version {
		if err := b.over(rt, p.key, ev.Data, p.state, ev.Version-1); err != nil {
			return err
		}
		if t.Check != nil {
			if wrong := t.Check.Validate(b.msg.Body); len(wrong) > 0 {
				v := &step.ValidationError{Violations: wrong}
				return &penstock.Error{Code: penstock.Unprocessable, Op: "event " + t.Name, Path: v.Path(), Err: v}
			}
		}
		if err := l.protect(b, x, t, &ev, p); err != nil {
			return err
		}
	}
	p.frames = append(p.frames, appendEvent(nil, &ev))
	read := ev
	read.Data = clear
	state, err := l.stepOver(b, x, rt, &read, p.state) // brings its data to the present version
	if err != nil {
		return err
	}
	if pub := x.Publish; pub != nil && publishes(pub, t.Name) {
		out := read
		if ev.sealed != nil {
			out.Data = ev.Data
		}
		p.published = append(p.published, published(x, &out, read.Data, pub.Personal))
	}
	p.state = state
	p.events, p.types = append(p.events, read), append(p.types, t)
	return nil
}
