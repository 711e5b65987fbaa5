package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
)

// publisher publishes to JetStream, many messages under way at once, and waits until each is confirmed.
//
// The client has a publisher of its own, which tries again by itself what nobody took, later and so out of order, and has a channel and a random name
// for each message. Here a number is the name, and what could not be written is left to whoever wrote it.
type publisher struct {
	link     *link
	clock    penstock.Clock
	prefix   string // of the subjects that confirmations come to
	sub      *nats.Subscription
	forget   func()
	timeout  time.Duration
	window   int
	expected []string // header

	mu    sync.Mutex
	first uint64 // the number of out[0]
	out   []outgoing
	done  []bool
	left  int        // of those that were sent, not confirmed
	stuck error      // a message failed that may be written later: none is sent behind it
	moved chan token // left became smaller
	reply []byte
}

type token = struct{}

func newPublisher(l *link, clock penstock.Clock, c SinkConfig) (*publisher, error) {
	p := &publisher{link: l, clock: clock, prefix: l.nc.NewInbox() + ".", timeout: c.AckTimeout.Std(), window: c.InFlight, expected: []string{c.Stream}, moved: make(chan token, 1)}
	sub, err := l.nc.Subscribe(p.prefix+"*", p.confirmed)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return nil, l.failure(err)
	}
	p.sub = sub
	p.forget = l.watch(&watcher{denied: p.denied})
	return p, nil
}

func (p *publisher) close() {
	p.forget()
	_ = p.sub.Unsubscribe()
}

// confirmed takes a confirmation.
func (p *publisher) confirmed(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[min(len(p.prefix), len(m.Subject)):], 36, 64)
	if err != nil {
		return
	}
	said := confirmation(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < p.first || n >= p.first+uint64(len(p.done)) {
		return // of a Write that has given up
	}
	p.settle(int(n-p.first), said) //nolint:gosec // it is an index
}

// settle notes what became of a message. mu is held.
func (p *publisher) settle(i int, err error) {
	if p.done[i] {
		return
	}
	p.done[i] = true
	p.left--
	if err != nil {
		p.out[i].err = err
		if p.stuck == nil && penstock.CodeOf(err).Transient() {
			p.stuck = err
		}
	}
	if p.left == 0 || p.left == p.window/2 || err != nil {
		signal(p.moved)
	}
}

// denied hears of subjects that we must not publish to: no answer ever comes from there.
func (p *publisher) denied(subject string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.done {
		if !p.done[i] && p.out[i].msg.Subject == subject {
			p.settle(i, err)
		}
	}
}

// confirmation reads what the server says to a message: {"stream":"ORDERS","seq":17}, or an error.
func confirmation(m *nats.Msg) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return &penstock.Error{Code: penstock.Unavailable, Op: "nats", Err: errors.New("no stream took the message"), Unsent: true,
			Hint: "see that the stream is there and has the subject, and that JetStream runs"}
	}
	if !bytes.Contains(m.Data, []byte(`"error"`)) && bytes.HasPrefix(m.Data, []byte(`{"stream":`)) {
		return nil
	}
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Error == nil && ack.Stream == "" {
		return &penstock.Error{Code: penstock.Config, Op: "nats", Err: errors.New("somebody answered who is no stream of JetStream"), Hint: "publish to a subject that only the stream listens to"}
	}
	if ack.Error != nil {
		e := apiFailure(ack.Error, "stream "+ack.Stream)
		if ack.Stream == "" {
			e.Path = ""
		}
		return e
	}
	return nil
}

// publish publishes messages in order and notes in each what became of it. An error speaks of all.
func (p *publisher) publish(ctx context.Context, out []outgoing) error {
	waiting, cancel := context.WithTimeout(ctx, p.timeout)
	err := p.link.wait(waiting)
	cancel()
	if err != nil {
		return err
	}
	lost := p.link.lost()
	p.begin(out)
	for i := range out {
		o := &out[i]
		if o.err != nil {
			continue
		}
		stuck := p.send(i)
		for errors.Is(stuck, errFull) {
			p.wait(ctx, lost, p.window/2)
			stuck = p.send(i)
		}
		if stuck != nil {
			o.err = stuck
			continue
		}
		p.reply = strconv.AppendUint(append(p.reply[:0], p.prefix...), p.first+uint64(i), 36) //nolint:gosec // an index
		o.msg.Reply = string(p.reply)
		if err := p.link.nc.PublishMsg(&o.msg); err != nil {
			p.mu.Lock()
			p.settle(i, failure(err, "subject "+o.msg.Subject, true))
			p.mu.Unlock()
		}
	}
	p.wait(ctx, lost, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first += uint64(len(p.done))
	p.out, p.done = nil, p.done[:0]
	return nil
}

// begin starts to publish.
func (p *publisher) begin(out []outgoing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out, p.left, p.stuck, p.done = out, 0, nil, p.done[:0]
	for range out {
		p.done = append(p.done, true) // until it is sent
	}
	select {
	case <-p.moved:
	default:
	}
}

// errFull says that as many messages are under way as may be.
var errFull = errors.New("full")

// send notes that a message is under way, unless one before it failed that may be written later.
func (p *publisher) send(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stuck != nil:
		return &penstock.Error{Code: penstock.CodeOf(p.stuck), Op: "nats", Err: fmt.Errorf("not sent, since a message before it could not be: %w", p.stuck), Unsent: true, RetryAfter: penstock.RetryAfterOf(p.stuck)}
	case p.left >= p.window:
		return errFull
	}
	p.done[i] = false
	p.left++
	return nil
}

// wait waits until no more than so many are under way. Those for which there is no hope have failed then.
func (p *publisher) wait(ctx context.Context, lost <-chan struct{}, most int) {
	before := -1
	var expired <-chan time.Time
	stop := func() {}
	defer func() { stop() }()
	for {
		p.mu.Lock()
		left := p.left
		p.mu.Unlock()
		if left <= most {
			return
		}
		if before != left {
			stop()
			before = left
			expired, stop = p.clock.NewTimer(p.timeout)
		}
		select {
		case <-p.moved:
		case <-expired:
			p.mu.Lock()
			moved := p.left != before
			p.mu.Unlock()
			if !moved {
				p.abandon(&penstock.Error{Code: penstock.Timeout, Op: "nats", Err: fmt.Errorf("the stream has not confirmed the message within %s", p.timeout)})
			}
			before = -1
		case <-lost:
			p.abandon(&penstock.Error{Code: penstock.Unavailable, Op: "nats", Err: errors.New("the connection broke before the stream had confirmed the message")})
		case <-ctx.Done():
			p.abandon(failure(context.Cause(ctx), "connection "+p.link.name, false))
		}
	}
}

// abandon fails all that is under way.
func (p *publisher) abandon(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.done {
		if !p.done[i] {
			p.settle(i, err)
		}
	}
}
