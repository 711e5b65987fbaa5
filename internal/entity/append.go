package entity

import (
	"encoding/binary"
	"errors"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// outcome is what has become of a command in its transaction.
type outcome uint8

const (
	conflict outcome = iota // it was evaluated on something else than what is there
	appended
	known    // it was done before
	rejected // what is kept beside can't take its events
)

// pending is a command that was evaluated, on its way into the store.
type pending struct {
	cause   string
	key     string
	version int64  // that it was evaluated on
	expect  uint64 // token of that version
	token   uint64
	events  []Event
	types   []eventType
	frames  [][]byte
	// published are records for the channel that events are sent to.
	published [][]byte
	state     []byte
	snap      []byte // nil: none is due
	subject   string // whom it is about; "": nobody
	secret    *secret

	outcome outcome
	known   []byte // where it was done before: what it did
	why     error  // it was rejected
}

// batch is commands that are appended in one transaction.
type batch struct {
	l      *lane
	commit *store.Commit
	all    []*pending // lane.mu, until it is sealed
	bytes  int
}

// Most that one transaction takes.
const (
	batchCommands = 1024
	batchBytes    = 1 << 20
)

// join has a command appended, behind all that joined before it.
func (l *lane) join(p *pending) *batch {
	size := len(p.state)
	for _, f := range p.frames {
		size += len(f)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.joining
	if b == nil || len(b.all) >= batchCommands || b.bytes+size > batchBytes {
		b = &batch{l: l}
		l.joining = b
		b.all = append(b.all, p)
		b.bytes = size
		b.commit = l.st.Submit(store.Small, b.write)
		return b
	}
	b.all = append(b.all, p)
	b.bytes += size
	return b
}

// write is the transaction. It may run more than once, always with the same commands.
func (b *batch) write(tx store.Tx) error {
	l := b.l
	l.mu.Lock()
	if l.joining == b {
		l.joining = nil
	}
	all := b.all
	l.mu.Unlock()
	ch, err := l.chain(tx.State())
	if err != nil {
		return err
	}
	before := ch
	x := l.e.plan.Load()
	views, err := l.besides(tx, ch.next)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := l.append(tx, &ch, p, x.Remember.Nanoseconds(), views); err != nil {
			return err
		}
		if p.outcome != appended {
			continue
		}
		if pub := x.Publish; pub != nil && len(p.published) > 0 {
			if err := publish(tx, pub.Channel, p); err != nil {
				return err
			}
		}
	}
	if ch == before {
		return nil
	}
	if err := views.end(); err != nil {
		return err
	}
	return tx.Put(l.n.chain, store.Entry{Key: chainKey, Value: ch.append(nil)})
}

// besides are what is kept beside the events of one transaction.
type besides []Beside

// besides begins them.
func (l *lane) besides(tx store.Tx, next int64) (out besides, err error) {
	all := l.e.inline.Load()
	if all == nil {
		return nil, nil
	}
	for _, v := range *all {
		b, err := v.Begin(tx, l.n.part, next)
		if err != nil {
			return nil, err
		}
		if b != nil {
			out = append(out, b)
		}
	}
	return out, nil
}

// fold has all take the events of a command, which get positions from next on. Where one refuses them, none has them.
func (all besides) fold(events []Event, next int64) (refused, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	for i := range events {
		events[i].Position = next + int64(i)
	}
	for i, b := range all {
		if refused, err = b.Fold(events); refused != nil || err != nil {
			all[:i+1].keep(false)
			return refused, err
		}
	}
	return nil, nil
}

func (all besides) keep(appended bool) {
	for _, b := range all {
		b.Keep(appended)
	}
}

func (all besides) end() error {
	for _, b := range all {
		if err := b.End(); err != nil {
			return err
		}
	}
	return nil
}

// append tests that a command was evaluated on what is there, and appends its events.
func (l *lane) append(tx store.Tx, ch *chain, p *pending, remember int64, views besides) error {
	p.outcome, p.known, p.why = conflict, nil, nil
	if p.cause != "" && !mutation.On("cause-not-looked-for") {
		c, ok, err := tx.State().Get(l.n.cause, []byte(p.cause))
		if err != nil {
			return err
		}
		if ok {
			p.outcome, p.known = known, c.Value
			return nil
		}
	}
	h, err := l.head(tx.State(), p.key)
	if err != nil {
		return err
	}
	if (h.version != p.version || h.token != p.expect) && !mutation.On("conflict-not-tested") {
		return nil
	}
	if p.why, err = l.formed(tx, p); p.why != nil || err != nil {
		p.outcome = rejected
		return err
	}
	if p.why, err = views.fold(p.events, ch.next); p.why != nil || err != nil {
		p.outcome = rejected
		return err
	}
	if p.secret != nil {
		if ok, err := l.holdSecret(tx, p); err != nil || !ok {
			views.keep(false)
			return err
		}
	}
	views.keep(true)
	var data []byte
	for i, f := range p.frames {
		copy(f[prevAt:], ch.hash[:])
		p.events[i].Prev = ch.hash
		ch.hash = hashOf(f)
		if mutation.On("hash-skips-the-head") {
			ch.hash = hashOf(f[prevAt:])
		}
		data = store.AppendFrame(data, f)
	}
	now := p.events[0].Time
	base, err := tx.Append(l.n.events, store.Bundle{N: len(p.frames), Data: data, MinTime: now, MaxTime: now})
	if err != nil {
		return err
	}
	if base != ch.next {
		return errors.New("the chain of events and the events don't fit together: `penstock events verify` says where")
	}
	ch.next = base + int64(len(p.frames))
	for i := range p.events {
		p.events[i].Position = base + int64(i)
	}
	p.outcome = appended
	if err := tx.Put(l.n.at, store.Entry{Key: atKey(p.key, p.version+1), Value: binary.AppendUvarint(binary.AppendUvarint(nil, uint64(base)), uint64(len(p.frames)))}); err != nil {
		return err
	}
	if p.cause != "" && !mutation.On("cause-not-stored") {
		if err := tx.Put(l.n.cause, store.Entry{Key: []byte(p.cause), Value: appendDone(nil, p.key, p.version+1, len(p.frames)), Due: now + remember}); err != nil {
			return err
		}
	}
	if p.snap != nil {
		if err := tx.Put(l.n.snap, store.Entry{Key: []byte(p.key), Value: p.snap}); err != nil {
			return err
		}
	}
	return tx.Put(l.n.head, store.Entry{Key: []byte(p.key), Value: head{version: p.after(), position: ch.next - 1, token: p.token}.append(nil)})
}

// holdSecret makes sure that the key that a command encrypted with is the subject's, and stores a new one. False: it is not, and the command has to be
// evaluated again.
func (l *lane) holdSecret(tx store.Tx, p *pending) (bool, error) {
	e, there, err := tx.State().Get(l.n.keys, subjectKey(p.subject))
	if err != nil {
		return false, err
	}
	if there {
		if string(e.Value[:min(secretID, len(e.Value))]) != string(p.secret.id) {
			return false, nil
		}
	} else {
		// One that was erased meanwhile must not come back.
		if _, gone, err := tx.State().Get(l.n.keys, goneKey(p.secret.id)); err != nil || gone {
			return false, err
		}
		if err := p.secret.put(tx, l.n.keys, p.subject); err != nil {
			return false, err
		}
	}
	return true, tx.Put(l.n.under, store.Entry{Key: underKey(p.subject, p.key)})
}

// publish sends the events of a command to a channel.
func publish(tx store.Tx, channel string, p *pending) error {
	var data []byte
	for _, r := range p.published {
		data = store.AppendFrame(data, r)
	}
	_, err := tx.Append(channel, store.Bundle{N: len(p.published), Data: data, MinTime: p.events[0].Time, MaxTime: p.events[0].Time})
	return err
}
