package membroker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Source reads a topic as a member of a group: the model of a Kafka consumer that reads committed messages only.
type Source struct {
	b     *Broker
	topic string
	name  string
	// Once ends it with io.EOF where there is no more.
	Once bool
	// Most is how many messages a Read gives; 0: 10.
	Most int

	group      *group
	generation int         // that its position is of; 0: it is not a member
	at         map[int]int // next to read
	resume     []penstock.Position
}

// Source makes a member of a group; it joins when it is opened.
func (b *Broker) Source(topic, group string) *Source {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topic(topic, 1)
	return &Source{b: b, topic: topic, name: group, group: b.group(t, group)}
}

// Resume implements penstock.Positioned: reading goes on at the later of what the group has and what the engine kept.
func (s *Source) Resume(_ context.Context, from []penstock.Position) error {
	s.resume = from
	return nil
}

// Open implements penstock.Source: it joins the group, and goes on where that is.
func (s *Source) Open(context.Context) error {
	if err := s.b.fault("open"); err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.group.join(s.b, s)
	s.fetch()
	for _, pos := range s.resume {
		if p, ok := s.partition(pos); ok {
			s.at[p] = max(s.at[p], int(pos.Next))
		}
	}
	return nil
}

func (s *Source) fetch() {
	s.generation, s.at = s.group.generation, map[int]int{}
	for _, p := range s.group.owned(s) {
		s.at[p] = s.group.positions[p]
	}
}

func (s *Source) partition(pos penstock.Position) (int, bool) {
	text, ok := strings.CutPrefix(pos.Stream, s.topic+"/")
	p, err := strconv.Atoi(text)
	return p, ok && err == nil && p < len(s.group.topic.partitions)
}

// Read implements penstock.Source. Another generation disconnects it.
func (s *Source) Read(ctx context.Context, into *penstock.Batch) error {
	if err := s.b.fault("read"); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		s.b.moved.Broadcast()
	})
	defer stop()
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for {
		if s.generation != s.group.generation {
			return penstock.ErrDisconnected
		}
		n, open := 0, false
		for p, log := range s.group.topic.partitions {
			at, mine := s.at[p]
			if !mine {
				continue
			}
			end := stable(log)
			open = open || end < len(log)
			for ; at < end && n < s.most(); at++ {
				e := log[at]
				if e.tx != nil {
					continue
				}
				m := into.Append()
				m.Key = e.Key
				m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(e.Body)))
				m.Pos = penstock.Position{Stream: stream(s.group.topic, p), Offset: int64(at), Next: int64(at) + 1}
				n++
			}
			s.at[p] = at
		}
		switch {
		case n > 0:
			return nil
		case s.Once && !open:
			return io.EOF
		case ctx.Err() != nil:
			return ctx.Err()
		}
		s.b.moved.Wait()
	}
}

func (s *Source) most() int {
	if s.Most == 0 {
		return 10
	}
	return s.Most
}

// Settle implements penstock.Source. What was given to another member meanwhile is his.
func (s *Source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	if err := s.b.fault("settle"); err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.generation != s.group.generation {
		return nil
	}
	for _, o := range outcomes {
		if o.Err != nil {
			return nil
		}
		if err := s.commit(o.Pos); err != nil {
			return err
		}
	}
	return nil
}

// commit moves the group; the lock must be held.
func (s *Source) commit(pos penstock.Position) error {
	p, ok := s.partition(pos)
	if _, mine := s.at[p]; !ok || !mine {
		return errors.New("membroker: the position " + pos.Stream + " is of no partition of this member")
	}
	s.group.positions[p] = int(pos.Next)
	s.b.moved.Broadcast()
	return nil
}

// Close implements penstock.Source: it leaves the group.
func (s *Source) Close(context.Context) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.group.leave(s.b, s)
	return nil
}
