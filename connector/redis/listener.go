package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
)

// listener reads what is published to channels. Nothing is kept of it anywhere.
type listener struct {
	config  SourceConfig
	env     penstock.Env
	decoder *decoder
	stream  string // of positions
	link    *link
	was     bool

	mu     sync.Mutex
	in     []rueidis.PubSubMessage
	bytes  int
	lost   int64 // since the flow last kept up
	turns  int64
	failed error
	wake   chan struct{}
	stop   func()
	batch  []rueidis.PubSubMessage // taken, and not handed out: a registry that is away is waited for
	ready  *penstock.Preparation
	atMost int
}

var _ penstock.Source = (*listener)(nil)

// Where a published message came from, in its meta.
const (
	metaChannel = "redis-channel"
	metaPattern = "redis-pattern"
)

func newListener(c SourceConfig, env penstock.Env, d *decoder) *listener {
	l := &listener{config: c, env: env, decoder: d, wake: make(chan struct{}, 1), atMost: max(env.Batch, 512), ready: d.preparation(env)}
	var all []string
	for _, t := range append(append([]penstock.Template(nil), c.Channels...), c.Patterns...) {
		all = append(all, t.Source)
	}
	l.stream = "channels " + strings.Join(all, " ")
	return l
}

// Open implements penstock.Source: when it returns, the server sends what is published.
func (l *listener) Open(ctx context.Context) error {
	l.halt()
	err := l.open(ctx)
	if err != nil && l.was && penstock.CodeOf(err).Transient() {
		return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
	}
	l.was = l.was || err == nil
	return err
}

func (l *listener) open(ctx context.Context) (err error) {
	names := func(of []penstock.Template, what string) (out []string) {
		for _, t := range of {
			name, nerr := named(t, l.env, what)
			if nerr != nil && err == nil {
				err = nerr
			}
			out = append(out, name)
		}
		return out
	}
	channels, patterns := names(l.config.Channels, "channels"), names(l.config.Patterns, "patterns")
	if err != nil {
		return err
	}
	if l.link, err = connect(l.config.Connection, l.env); err != nil {
		return err
	}
	client, err := l.link.open(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.failed = nil
	l.mu.Unlock()
	c, release := client.Dedicate()
	broken := c.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: l.take})
	limited, cancel := context.WithTimeout(ctx, l.link.timeout())
	defer cancel()
	if len(channels) > 0 {
		err = c.Do(limited, c.B().Subscribe().Channel(channels...).Build()).Error()
	}
	if err == nil && len(patterns) > 0 {
		err = c.Do(limited, c.B().Psubscribe().Pattern(patterns...).Build()).Error()
	}
	if err != nil {
		c.Close()
		release()
		return failure(err, l.stream)
	}
	closing := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		err := <-broken
		select {
		case <-closing:
		default:
			if err == nil {
				err = io.EOF
			}
			err = failure(err, l.stream)
			l.env.Logger.Warn("nothing is heard of the channels any more; listening again. What is published meanwhile is lost", "connection", l.link.name, "error", err)
			l.fail(fmt.Errorf("%w: %w", penstock.ErrDisconnected, err))
		}
	})
	l.stop = func() {
		close(closing)
		c.Close()
		release()
		watching.Wait()
	}
	if l.env.Once {
		l.fail(io.EOF)
	}
	return nil
}

func (l *listener) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	signal(l.wake)
}

// take takes a message from the connection, which must not wait: where there is no room it is lost.
func (l *listener) take(m rueidis.PubSubMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bytes > roomBytes {
		if l.lost++; l.lost == 1 {
			l.env.Logger.Warn("messages are lost since the flow is slower than they come", "connection", l.link.name, "channel", m.Channel)
		}
		return
	}
	l.in = append(l.in, m)
	l.bytes += len(m.Message) + 256
	signal(l.wake)
}

// Read implements penstock.Source.
func (l *listener) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		if len(l.batch) == 0 {
			n := min(len(l.in), l.atMost)
			l.batch = append(l.batch[:0], l.in[:n]...)
			l.in = slices.Delete(l.in, 0, n)
			for i := range l.batch {
				l.bytes -= len(l.batch[i].Message) + 256
			}
		}
		if lost := l.lost; lost > 0 && len(l.in) == 0 {
			l.lost = 0
			l.env.Logger.Warn("messages were lost since the flow was slower than they came", "connection", l.link.name, "count", lost)
		}
		err := l.failed
		l.mu.Unlock()
		n, stop := l.ready.Ready(ctx, len(l.batch), func(i int) []byte { return []byte(l.batch[i].Message) })
		switch {
		case stop != nil:
			return stop
		case n > 0:
			l.fill(into, n)
			return nil
		case err != nil && (len(l.batch) == 0 || !errors.Is(err, io.EOF)):
			return err
		case len(l.batch) > 0:
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill makes messages of the first n that were taken.
func (l *listener) fill(into *penstock.Batch, n int) {
	now := l.env.Clock.Now()
	for i := range l.batch[:n] {
		x := &l.batch[i]
		m := into.Append()
		m.Meta.Add(metaChannel, penstock.StringValue(valid(x.Channel)))
		if x.Pattern != "" {
			m.Meta.Add(metaPattern, penstock.StringValue(valid(x.Pattern)))
		}
		if err := l.decoder.body(into, m, x.Message); err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
		l.turns++
		m.Time = now
		m.Pos = penstock.Position{Stream: l.stream, Offset: l.turns, Next: l.turns + 1}
	}
	l.batch = slices.Delete(l.batch, 0, n)
}

// Settle implements penstock.Source: nobody waits to hear of it.
func (l *listener) Settle(context.Context, []penstock.Outcome) error { return nil }

// halt ends the listening.
func (l *listener) halt() {
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
}

// Close implements penstock.Source.
func (l *listener) Close(context.Context) error {
	l.halt()
	return nil
}
