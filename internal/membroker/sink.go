package membroker

import (
	"context"
	"errors"
	"fmt"

	"penstock.dev/penstock"
)

// Sink writes to a topic: the model of a Kafka producer, and, where it gives identities, of one to a stream that knows them.
type Sink struct {
	b     *Broker
	topic string
	// ID is the transactional id: who begins with the same id fences those before.
	ID string
	// Env gives messages identities; nil: they have none.
	Env *penstock.Env
}

// TooLarge is a body that is refused for good.
const TooLarge = `"too large"`

// Sink makes a sink.
func (b *Broker) Sink(topic string) *Sink {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids++
	return &Sink{b: b, topic: topic, ID: fmt.Sprint("producer", b.ids)}
}

// Open implements penstock.Sink.
func (*Sink) Open(context.Context) error { return nil }

// Close implements penstock.Sink.
func (*Sink) Close(context.Context) error { return nil }

// Write implements penstock.Sink.
func (s *Sink) Write(_ context.Context, b *penstock.Batch) error {
	if err := s.b.fault("write"); err != nil {
		return err
	}
	return s.write(b, nil)
}

func (s *Sink) write(b *penstock.Batch, in *tx) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	t := s.b.topic(s.topic, 1)
	errs := map[int]error{}
	for i, m := range b.Msgs {
		e := entry{Record: Record{Key: m.Key, Body: string(m.Body.AppendJSON(nil, 0))}, tx: in}
		if e.Body == TooLarge {
			errs[i] = penstock.E(penstock.TooLarge, "write", s.topic, "the message is too large")
			continue
		}
		if s.Env != nil {
			e.ID = string(s.Env.AppendIdentity(nil, m))
		}
		s.b.put(t, e)
	}
	if len(errs) > 0 {
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// tx is one transaction.
type tx struct {
	b       *Broker
	id      string
	epoch   int
	aborted bool
	over    bool
	moves   []move
}

// move is how far a source is done.
type move struct {
	from       *Source
	generation int
	at         []penstock.Position
}

var _ penstock.Transactor = (*Sink)(nil)

// Begin implements penstock.Transactor.
func (s *Sink) Begin(context.Context) (penstock.Tx, error) {
	if err := s.b.fault("begin"); err != nil {
		return nil, err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.epochs[s.ID]++
	return &tx{b: s.b, id: s.ID, epoch: s.b.epochs[s.ID]}, nil
}

// Write implements penstock.Tx.
func (t *tx) Write(_ context.Context, to penstock.Sink, b *penstock.Batch) error {
	if err := t.b.fault("txwrite"); err != nil {
		return err
	}
	t.b.mu.Lock()
	over := t.over
	t.b.mu.Unlock()
	if over {
		return errors.New("membroker: a write behind the end of its transaction")
	}
	return to.(*Sink).write(b, t)
}

// Positions implements penstock.Tx.
func (t *tx) Positions(_ context.Context, from penstock.Source, at []penstock.Position) error {
	if err := t.b.fault("positions"); err != nil {
		return err
	}
	s := from.(*Source)
	t.moves = append(t.moves, move{s, s.generation, append([]penstock.Position(nil), at...)})
	return nil
}

// Commit implements penstock.Tx.
func (t *tx) Commit(context.Context) error {
	if err := t.b.fault("commit"); err != nil {
		return err
	}
	t.b.mu.Lock()
	err := t.commit()
	t.b.mu.Unlock()
	if err != nil {
		return err
	}
	return t.b.fault("committed")
}

func (t *tx) commit() error {
	if t.b.epochs[t.id] != t.epoch {
		return penstock.E(penstock.Conflict, "commit", t.id, "another producer has taken over")
	}
	for _, m := range t.moves {
		if m.generation != m.from.group.generation {
			return penstock.E(penstock.Conflict, "commit", m.from.name, "the group has another generation")
		}
	}
	for _, m := range t.moves {
		for _, pos := range m.at {
			if err := m.from.commit(pos); err != nil {
				return err
			}
		}
	}
	t.end(func(e *entry) { e.tx = nil })
	return nil
}

// end changes what the transaction has written; the lock must be held.
func (t *tx) end(f func(*entry)) {
	t.over = true
	for _, topic := range t.b.topics {
		for _, p := range topic.partitions {
			for i := range p {
				if p[i].tx == t {
					f(&p[i])
				}
			}
		}
	}
	t.b.moved.Broadcast()
}

// Abort implements penstock.Tx.
func (t *tx) Abort(context.Context) error {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if !t.over {
		t.aborted = true
		t.end(func(*entry) {})
	}
	return t.b.fault("abort")
}
