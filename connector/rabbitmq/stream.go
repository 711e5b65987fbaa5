package rabbitmq

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// stream is where a source stands in a stream, whose messages have offsets for good.
type stream struct {
	begin any   // x-stream-offset, where nothing was read yet
	next  int64 // the offset to go on at; -1: nothing was read
}

// streamSource is a source whose position the engine keeps.
type streamSource struct{ *source }

var _ penstock.Positioned = streamSource{}

func newStreamSource(s *source) (penstock.Source, error) {
	text, err := fixed(s.config.Stream.Offset, s.env)
	if err != nil {
		return nil, err
	}
	s.stream = &stream{next: -1}
	if s.stream.begin, err = offsetArgument(text, s.env.Clock.Now()); err != nil {
		return nil, config(s.config.Stream.Offset.Pos.String(), err.Error(), "")
	}
	return streamSource{s}, nil
}

// Resume implements penstock.Positioned.
func (s streamSource) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		if p.Stream == s.queue {
			s.stream.next = p.Next
		}
	}
	return nil
}

// from is the consumer's argument x-stream-offset.
func (s *stream) from() any {
	if s.next >= 0 {
		return s.next
	}
	return s.begin
}

// offset is where a delivery stands in its stream.
func offset(d *amqp.Delivery) (int64, bool) {
	at, ok := d.Headers[streamOffset].(int64)
	return at, ok
}

// had says that a delivery was read before: servers may begin at the start of the chunk that an offset is in.
func (s *stream) had(d *amqp.Delivery) bool {
	at, ok := offset(d)
	return ok && at < s.next
}

// place takes a delivery's offset.
func (s *stream) place(d *amqp.Delivery) int64 {
	at, ok := offset(d)
	if !ok {
		at = max(s.next, 0)
	}
	s.next = at + 1
	return at
}
