package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"penstock.dev/penstock"
)

// listener listens to a subject of core NATS. Nothing of it is kept anywhere.
type listener struct {
	config  SourceConfig
	env     penstock.Env
	decoder *decoder
	link    *link
	sub     *nats.Subscription
	forget  func()
	wake    chan struct{}

	mu     sync.Mutex
	room   *sync.Cond
	in     []message
	bytes  int
	closed bool
	failed error
	count  int64     // messages so far
	batch  []message // taken, and not handed out: a registry that is away is waited for
	ready  *penstock.Preparation
}

var _ penstock.Source = (*listener)(nil)

// Open implements penstock.Source.
func (s *listener) Open(ctx context.Context) (err error) {
	s.halt()
	if s.env.Once {
		s.failed = io.EOF
	}
	if s.link, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	if err = s.link.open(ctx); err != nil {
		return err
	}
	subject, err := fixed(s.config.Subject, s.env)
	if err == nil {
		err = checkSubject(subject, true)
	}
	if err != nil {
		return config(s.env.Name, "", "%w", err)
	}
	s.mu.Lock()
	s.closed = false
	if s.room == nil {
		s.room = sync.NewCond(&s.mu)
	}
	s.mu.Unlock()
	s.forget = s.link.watch(&watcher{denied: func(denied string, err error) {
		if denied == subject {
			s.fail(err)
		}
	}, ended: s.fail})
	take := func(m *nats.Msg) { s.take(m) }
	if s.config.Queue != "" {
		s.sub, err = s.link.nc.QueueSubscribe(subject, s.config.Queue, take)
	} else {
		s.sub, err = s.link.nc.Subscribe(subject, take)
	}
	if err == nil {
		err = s.sub.SetPendingLimits(1<<20, 256<<20)
	}
	if err == nil {
		flush, cancel := context.WithTimeout(ctx, s.link.config.ConnectTimeout.Std())
		err = s.link.nc.FlushWithContext(flush) // the server listens for us from here on
		cancel()
	}
	if err != nil {
		return failure(err, "subject "+subject, true)
	}
	return nil
}

func (s *listener) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
	signal(s.wake)
}

// take takes a message from the connection. Where there is no room it waits: the client holds a million messages more, or 256 MiB, and drops what
// comes then.
func (s *listener) take(m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes > roomBytes && !s.closed {
		s.room.Wait()
	}
	s.in = append(s.in, message{m.Subject, m.Header, m.Data})
	s.bytes += len(m.Data) + 256
	signal(s.wake)
}

// Read implements penstock.Source.
func (s *listener) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		if len(s.batch) == 0 {
			n := min(len(s.in), max(s.env.Batch, 512))
			s.batch = append(s.batch[:0], s.in[:n]...)
			rest := copy(s.in, s.in[n:])
			clear(s.in[rest:])
			s.in = s.in[:rest]
			for i := range s.batch {
				s.bytes -= len(s.batch[i].data) + 256
			}
		}
		err := s.failed
		s.room.Signal()
		s.mu.Unlock()
		n, stop := s.ready.Ready(ctx, len(s.batch), func(i int) []byte { return s.batch[i].data })
		switch {
		case stop != nil:
			return stop
		case n > 0:
			s.fill(into, n)
			return nil
		case err != nil && (len(s.batch) == 0 || !errors.Is(err, io.EOF)):
			return err
		case len(s.batch) > 0:
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill makes messages of the first n that were taken.
func (s *listener) fill(into *penstock.Batch, n int) {
	for i := range s.batch[:n] {
		m := into.Append()
		if err := s.decoder.decode(into, m, &s.batch[i]); err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
		s.count++
		m.Time = s.env.Clock.Now()
		m.Pos = penstock.Position{Stream: fmt.Sprintf("subject %s", s.config.Subject.Source), Offset: s.count, Next: s.count + 1}
	}
	s.batch = slices.Delete(s.batch, 0, n)
}

// Settle implements penstock.Source: nobody waits to hear of it.
func (s *listener) Settle(context.Context, []penstock.Outcome) error { return nil }

// halt ends the listening.
func (s *listener) halt() {
	if s.forget != nil {
		s.forget()
		s.forget = nil
	}
	if s.sub != nil {
		_ = s.sub.Unsubscribe()
		s.sub = nil
	}
	if s.room != nil {
		s.mu.Lock()
		s.closed = true
		s.room.Broadcast()
		s.mu.Unlock()
	}
}

// Close implements penstock.Source.
func (s *listener) Close(context.Context) error {
	s.halt()
	return nil
}
