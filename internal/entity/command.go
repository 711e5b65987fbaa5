package entity

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// Request is a command.
type Request struct {
	Command string
	Key     string // of the entity; "": what the entity's own key says of Data
	Data    []byte // JSON text; it must stay as it is until the command has ended
	// Meta are the headers that the command's expressions see; nil: none.
	Meta *penstock.Meta
	// Cause is what the command is known by: one that was done gives the same reply again. "" is known by nothing.
	Cause string
	// Expect is the version that the entity must have; AnyVersion: any.
	Expect int64
}

// AnyVersion is a Request.Expect that doesn't care.
const AnyVersion = -1

// mostAttempts is how often a command is evaluated where others come before it each time. Where it is the only process, others come before it only
// if one of them fails.
const mostAttempts = 64

// Command does what is asked, and appends the reply to dst: {"version", "events", "state"}. When it returns without an error what happened is
// durable. An error of a code that is not transient says that nothing happened; after another one, the same Cause tells.
func (e *Entity) Command(ctx context.Context, dst []byte, q Request) ([]byte, error) {
	o, err := e.store()
	if err != nil {
		return dst, err
	}
	x := e.plan.Load()
	c := x.Command(q.Command)
	if c == nil {
		return dst, penstock.E(penstock.Config, "command", x.Name, "there is no command "+strconv.Quote(q.Command))
	}
	b := benches.Get().(*bench)
	defer benches.Put(b)
	if q.Key == "" {
		if q.Key, err = e.keyOf(b, x, q.Data); err != nil {
			return dst, err
		}
	}
	if err := usable(x, q.Key); err != nil {
		return dst, err
	}
	l := o.lane(q.Key)
	for range mostAttempts {
		reply, again, err := l.try(ctx, b, x, c, &q, dst)
		if !again {
			return reply, err
		}
		if ctx.Err() != nil {
			return dst, context.Cause(ctx)
		}
	}
	return dst, &penstock.Error{Code: penstock.Unavailable, Op: "command", Path: x.Name + " " + q.Key, Err: errors.New("others have changed it each time before this command came to it")}
}

// maxKey is how long a key may be: an entry of the store knows it, and a version behind it.
const maxKey = 1 << 10

func usable(x *plan.Entity, key string) error {
	switch {
	case key == "":
		return penstock.E(penstock.Unprocessable, "command", x.Name, "the key is empty, which names no entity")
	case len(key) > maxKey:
		return penstock.E(penstock.Unprocessable, "command", x.Name, fmt.Sprintf("the key has %d bytes, more than %d", len(key), maxKey))
	}
	return nil
}

// keyOf is what the entity says of a command's data.
func (e *Entity) keyOf(b *bench, x *plan.Entity, data []byte) (string, error) {
	if x.Key == nil {
		return "", penstock.E(penstock.Unprocessable, "command", x.Name, "the key is empty, which names no entity")
	}
	if err := b.over(e.r.rt.Load(), "", data, x.Initial, 0); err != nil {
		return "", err
	}
	key, err := b.text(x.Key)
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "command", Path: x.Name, Err: err}
	}
	return key, nil
}

// try evaluates the command once, and appends what it makes. again: it was evaluated on what is not there.
func (l *lane) try(ctx context.Context, b *bench, x *plan.Entity, c *plan.Command, q *Request, dst []byte) (reply []byte, again bool, err error) {
	s := l.stream(q.Key)
	s.mu.Lock()
	if !s.holds(x) {
		if err := l.load(ctx, b, x, q.Key, s); err != nil {
			s.mu.Unlock()
			return dst, false, err
		}
	}
	p := &pending{cause: q.Cause, key: q.Key, version: s.version, expect: s.token}
	refused := l.evaluate(b, x, c, q, s, p)
	if refused != nil || len(p.events) == 0 {
		token, version, state, last := s.token, s.version, s.state, s.last
		s.mu.Unlock()
		return l.without(ctx, dst, q, s, refused, last, token, version, state)
	}
	p.token = l.e.r.token()
	bt := l.join(p)
	s.version, s.state, s.token, s.last = p.version+int64(len(p.events)), p.state, p.token, bt
	l.keep(q.Key, s)
	s.mu.Unlock()
	dst = appendReply(dst, p.after(), p.events, p.state)
	if err := wait(ctx, bt.commit); err != nil {
		l.undone(s)
		return nil, false, err
	}
	switch p.outcome {
	case appended:
		l.forms.keep(p)
		return dst, false, nil
	case rejected:
		l.undone(s)
		return dst, false, p.why
	case known:
		l.undone(s)
		reply, err = l.repeat(ctx, b, x, q, nil, p.known)
		return reply, false, err
	}
	l.undone(s)
	if p.secret != nil {
		l.secretsM.Lock()
		delete(l.secrets, p.subject)
		l.secretsM.Unlock()
	}
	return dst[:0], true, nil
}

// after is the version behind what is pending.
func (p *pending) after() int64 { return p.version + int64(len(p.events)) }

// undone forgets what was made of a command that came to nothing, and so all that was evaluated on it.
func (l *lane) undone(s *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = false
}

// without ends a command that makes no event: where that was found on what is durable, and it was not done before.
func (l *lane) without(ctx context.Context, dst []byte, q *Request, s *stream, refused error, last *batch, token uint64, version int64, state []byte) ([]byte, bool, error) {
	if last != nil {
		if err := wait(ctx, last.commit); err != nil {
			l.undone(s)
			return dst, false, err
		}
	}
	var cause store.Entry
	var done, same bool
	err := l.st.View(ctx, func(v store.View) (err error) {
		h, err := l.head(v.State(), q.Key)
		if err != nil {
			return err
		}
		same = h.token == token && h.version == version
		if q.Cause != "" {
			cause, done, err = v.State().Get(l.n.cause, []byte(q.Cause))
		}
		return err
	})
	switch {
	case err != nil:
		return dst, false, err
	case done:
		b := benches.Get().(*bench)
		defer benches.Put(b)
		reply, err := l.repeat(ctx, b, l.e.plan.Load(), q, dst, cause.Value)
		return reply, false, err
	case !same: // another process was there
		l.undone(s)
		return dst, true, nil
	case refused != nil:
		return dst, false, refused
	}
	return appendReply(dst, version, nil, state), false, nil
}

// evaluate finds out what the command makes of the stream as it is: p's events, and the state behind them.
func (l *lane) evaluate(b *bench, x *plan.Entity, c *plan.Command, q *Request, s *stream, p *pending) error {
	rt := l.e.r.rt.Load()
	if err := b.over(rt, q.Key, q.Data, s.state, s.version); err != nil {
		return err
	}
	if q.Meta != nil {
		b.msg.Meta.CopyFrom(q.Meta)
	}
	if q.Expect != AnyVersion && q.Expect != s.version && !mutation.On("expected-version-ignored") {
		return refuse(penstock.Conflict, c, x, q, fmt.Sprintf("%s %s has version %d, and %d is expected", x.Name, q.Key, s.version, q.Expect))
	}
	if c.Check != nil {
		if wrong := c.Check.Validate(b.msg.Body); len(wrong) > 0 {
			v := &step.ValidationError{Violations: wrong}
			return &penstock.Error{Code: penstock.Unprocessable, Op: "command " + c.Name, Path: x.Name + " " + q.Key, Err: &penstock.Error{Code: penstock.Unprocessable, Op: "validate", Err: v}}
		}
	}
	for i := range c.Require {
		r := &c.Require[i]
		ok, err := b.holds(r.That)
		switch {
		case err != nil:
			return &penstock.Error{Code: penstock.Unprocessable, Op: "command " + c.Name, Path: x.Name + " " + q.Key, Err: err}
		case !ok:
			return refuse(r.Code, c, x, q, b.message(r))
		}
	}
	now := rt.Clock.Now().UnixNano()
	for i := range c.Emit {
		m := &c.Emit[i]
		if m.When != nil {
			ok, err := b.holds(m.When)
			if err != nil {
				return &penstock.Error{Code: penstock.Unprocessable, Op: "command " + c.Name, Path: x.Name + " " + q.Key, Err: err}
			}
			if !ok {
				continue
			}
		}
		ev := Event{Part: l.n.part, Key: q.Key, Version: s.version + int64(len(p.events)) + 1, Type: m.Event.Name, Schema: m.Event.Version, Time: now, Cause: q.Cause}
		if m.Data.IsZero() {
			ev.Data = append([]byte(nil), q.Data...)
		} else {
			data, err := b.tree(nil, m.Data)
			if err != nil {
				return &penstock.Error{Code: penstock.Unprocessable, Op: "event " + m.Event.Name, Path: x.Name + " " + q.Key, Err: err}
			}
			ev.Data = data
		}
		p.events, p.types = append(p.events, ev), append(p.types, m.Event)
	}
	return l.happen(b, x, s, p)
}

// refuse is the error of a command that is not done: who asked is told what is wrong, as with a `fail` step.
func refuse(code penstock.Code, c *plan.Command, x *plan.Entity, q *Request, text string) error {
	return &penstock.Error{Code: code, Op: "command " + c.Name, Path: x.Name + " " + q.Key, Err: penstock.E(code, "fail", "", text)}
}

// message is what is wrong where a condition doesn't hold.
func (b *bench) message(r *plan.Require) string {
	if r.Message == nil {
		return r.Source + " doesn't hold"
	}
	t, err := b.text(r.Message)
	if err != nil {
		return err.Error()
	}
	return t
}

// happen holds the events to their schemas, folds them, and makes them ready to be appended.
func (l *lane) happen(b *bench, x *plan.Entity, s *stream, p *pending) error {
	state := s.state
	for i := range p.events {
		ev, t := &p.events[i], p.types[i]
		if err := b.over(l.e.r.rt.Load(), ev.Key, ev.Data, state, ev.Version-1); err != nil {
			return err
		}
		if t.Check != nil {
			if wrong := t.Check.Validate(b.msg.Body); len(wrong) > 0 {
				v := &step.ValidationError{Violations: wrong}
				return &penstock.Error{Code: penstock.Unprocessable, Op: "event " + t.Name, Path: v.Path(), Err: v}
			}
		}
		clear := ev.Data
		if err := l.protect(b, x, t, ev, p); err != nil {
			return err
		}
		p.frames = append(p.frames, appendEvent(nil, ev))
		if pub := x.Publish; pub != nil && publishes(pub, t.Name) {
			p.published = append(p.published, published(x, ev, clear, pub.Personal))
		}
		ev.Data = clear
		next, err := b.apply(nil, t.Apply)
		if err != nil {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "event " + t.Name, Path: x.Name + " " + ev.Key, Err: fmt.Errorf("`apply` fails: %w", err)}
		}
		state = next
	}
	p.state = state
	if n := int64(len(p.events)); n > 0 && (p.version+n)/x.Every > p.version/x.Every {
		p.snap = snapshot{version: p.version + n, fold: x.Fold, state: state}.append(nil)
		if mutation.On("snapshot-of-the-wrong-version") {
			p.snap = snapshot{version: p.version + n, fold: x.Fold, state: s.state}.append(nil)
		}
	}
	return nil
}

func publishes(p *plan.Publish, event string) bool {
	if p.Events == nil {
		return true
	}
	for _, e := range p.Events {
		if e == event {
			return true
		}
	}
	return false
}

// published is the record of an event for the channel that it is sent to.
func published(x *plan.Entity, ev *Event, clear []byte, personal bool) []byte {
	data := ev.Data
	if personal {
		data = clear
	}
	return record.Draft{
		Time: ev.Time, EventTime: time.Unix(0, ev.Time).UTC(), Key: ev.Key, Origin: x.Name, Format: jsonview.JSON, Body: data,
		Meta: []penstock.MetaEntry{
			{Name: "ce-specversion", Value: penstock.StringValue("1.0")},
			{Name: "ce-type", Value: penstock.StringValue(ev.Type)},
			{Name: "ce-id", Value: penstock.StringValue(ev.Key + "/" + strconv.FormatInt(ev.Version, 10))},
			{Name: "ce-source", Value: penstock.StringValue("/entity/" + x.Name)},
			{Name: "ce-subject", Value: penstock.StringValue(ev.Key)},
			{Name: "ce-time", Value: penstock.TimestampValue(time.Unix(0, ev.Time).UTC())},
			{Name: "version", Value: penstock.IntValue(ev.Version)},
		},
	}.Append(nil)
}

// protect encrypts the personal fields of an event.
func (l *lane) protect(b *bench, x *plan.Entity, t *plan.EventType, ev *Event, p *pending) error {
	if len(t.Personal) == 0 || x.Subject == nil {
		return nil
	}
	subject, err := b.text(x.Subject)
	if err != nil {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "event " + t.Name, Path: x.Name + " " + ev.Key, Err: fmt.Errorf("`subject` fails: %w", err)}
	}
	if subject == "" || len(subject) > maxKey {
		return penstock.E(penstock.Unprocessable, "event "+t.Name, x.Name+" "+ev.Key, "its subject is empty, or longer than 1024 bytes")
	}
	if p.secret != nil && p.subject != subject {
		return penstock.E(penstock.Unprocessable, "event "+t.Name, x.Name+" "+ev.Key, "the events of one command are about two subjects")
	}
	sec, err := l.secret(subject)
	if err != nil {
		return err
	}
	p.subject, p.secret = subject, sec
	data, sealed, err := sec.seal(nil, ev, b.msg.Body, t.Personal)
	if err != nil {
		return err
	}
	if sealed != nil {
		ev.Data, ev.sealed, ev.Subject = data, sealed, sec.id
	}
	return nil
}

// secret is the key of a subject; where there is none, a new one, which is stored with the first event.
func (l *lane) secret(subject string) (*secret, error) {
	l.secretsM.Lock()
	defer l.secretsM.Unlock()
	if s := l.secrets[subject]; s != nil {
		return s, nil
	}
	var s *secret
	err := l.st.View(context.Background(), func(v store.View) error {
		e, ok, err := v.State().Get(l.n.keys, subjectKey(subject))
		if err == nil && ok {
			s, err = readSecret(e.Value)
		}
		return err
	})
	if err == nil && s == nil {
		s, err = newSecret()
	}
	if err != nil {
		return nil, err
	}
	if len(l.secrets) >= 10_000 {
		clear(l.secrets)
	}
	l.secrets[subject] = s
	return s, nil
}

// appendReply appends what a command answers.
func appendReply(dst []byte, version int64, events []Event, state []byte) []byte {
	dst = append(dst, `{"version":`...)
	dst = strconv.AppendInt(dst, version, 10)
	dst = append(dst, `,"events":[`...)
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"type":`...)
		dst = jsonview.AppendString(dst, events[i].Type)
		dst = append(dst, `,"data":`...)
		dst = append(append(dst, events[i].Data...), '}')
	}
	dst = append(dst, `],"state":`...)
	return append(append(dst, state...), '}')
}
