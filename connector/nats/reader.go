package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
)

// reader reads a stream of JetStream, or the stream behind a bucket, by a durable consumer.
type reader struct {
	config   SourceConfig
	env      penstock.Env
	decoder  *decoder
	stream   string
	consumer string
	prefix   string // of subjects, before the key of an entry of a bucket
	link     *link
	was      bool // opened before
	handle   handle
	settings jetstream.ConsumerConfig // as the server has them

	mu     sync.Mutex
	line   line
	wake   chan struct{} // something is to be read, or failed
	look   chan struct{} // the keeper is to look at the consumer
	room   *sync.Cond    // of mu: there is room for more
	failed error
	closed bool
	over   []string // streams of late messages that were settled

	stop   func()      // ends the consuming and the keeper
	batch  []*delivery // taken from the line, and not handed out: a registry that is away is waited for
	ready  *penstock.Preparation
	mark   string // of the positions of batch
	acks   []*delivery
	atMost int // messages in a Read
}

// handle is what a pull and a push consumer have in common.
type handle interface {
	Info(ctx context.Context) (*jetstream.ConsumerInfo, error)
}

// positioned is a reader whose position the engine keeps.
type positioned struct{ *reader }

var (
	_ penstock.Source     = (*reader)(nil)
	_ penstock.Positioned = (*positioned)(nil)
	_ penstock.Forgetter  = (*positioned)(nil)
)

// Bounds of what is here and was not read: beyond them nothing more is taken from the connection.
const roomBytes = 16 << 20

func newReader(c SourceConfig, env penstock.Env, d *decoder) *reader {
	r := &reader{config: c, env: env, decoder: d, stream: c.Stream, consumer: c.Consumer, wake: make(chan struct{}, 1), look: make(chan struct{}, 1)}
	if c.Bucket != "" {
		r.stream, r.prefix = "KV_"+c.Bucket, "$KV."+c.Bucket+"."
	}
	if r.consumer == "" {
		r.consumer = flowOf(env.Name)
	}
	if d != nil { // a topology reads nothing
		r.ready = d.preparation(env)
	}
	r.room = sync.NewCond(&r.mu)
	r.line.ordered = !c.Shared && (env.Ordered || env.Resumes)
	r.atMost = max(env.Batch, 512)
	return r
}

// Resume implements penstock.Positioned.
func (r *positioned) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		if p.Stream == r.stream {
			r.line.from = uint64(p.Next) //nolint:gosec // we gave it
			r.line.last = r.line.from - 1
			r.line.gaps = parseGaps(p.Mark)
			r.line.gaps.looked = r.line.last
		} else if seq, ok := strings.CutPrefix(p.Stream, r.stream+late); ok {
			if n, ok := number(seq); ok { // its acknowledgement may be lost
				r.line.seen.add(n)
				r.over = append(r.over, p.Stream)
			}
		}
	}
	return nil
}

// late stands in the name of the stream of a message that turned up behind a newer one, before its sequence number: the engine would take it for done under its own.
const late = " late "

// Over implements penstock.Forgetter.
func (r *positioned) Over() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := r.over
	r.over = nil
	return over
}

// Open implements penstock.Source: it finds the stream, and finds or makes the consumer.
func (r *reader) Open(ctx context.Context) error {
	r.halt()
	err := r.open(ctx)
	if err != nil && r.was && penstock.CodeOf(err).Transient() {
		return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
	}
	r.was = r.was || err == nil
	return err
}

func (r *reader) open(ctx context.Context) (err error) {
	if r.link, err = connect(r.config.Connection, r.env); err != nil {
		return err
	}
	if err = r.link.open(ctx); err != nil {
		return err
	}
	if r.handle, err = r.declare(ctx); err != nil {
		return err
	}
	info, err := r.handle.Info(ctx)
	if err != nil {
		return r.failure(err)
	}
	r.settings = info.Config
	r.mu.Lock()
	r.failed, r.closed = nil, false
	r.line.begin(info.Delivered.Consumer, info.NumAckPending, r.env.Clock.Now())
	r.mu.Unlock()
	cc, err := r.consume()
	if err != nil {
		return r.failure(err)
	}
	forget := r.link.watch(&watcher{ended: r.fail, denied: func(subject string, err error) {
		if strings.HasSuffix(subject, "."+r.stream+"."+r.consumer) { // $JS.API.CONSUMER.MSG.NEXT
			r.fail(err)
		}
	}})
	keeping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { r.keep(keeping) })
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			forget()
			cc.Drain() // what is on its way is better here than lost
			r.mu.Lock()
			r.closed = true // nobody waits for room
			r.room.Broadcast()
			r.mu.Unlock()
			c, end := r.env.Clock.NewTimer(time.Second)
			select {
			case <-cc.Closed():
			case <-c:
			}
			end()
			kept.Wait()
		})
	}
	return nil
}

// consume begins to receive.
func (r *reader) consume() (jetstream.ConsumeContext, error) {
	if push, ok := r.handle.(jetstream.PushConsumer); ok {
		return push.Consume(r.arrive, jetstream.ConsumeErrHandler(r.trouble))
	}
	size := max(roomBytes, int(r.link.nc.MaxPayload())+1<<20)
	return r.handle.(jetstream.Consumer).Consume(r.arrive, jetstream.ConsumeErrHandler(r.trouble),
		jetstream.PullMaxMessagesWithBytesLimit(r.config.Prefetch, size), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(5*time.Second))
}

// arrive takes a message from the connection. It waits while there is no room, so that the server has to.
func (r *reader) arrive(m jetstream.Msg) {
	p, err := placeOf(m.Reply())
	if err != nil {
		r.fail(&penstock.Error{Code: penstock.Internal, Op: "nats", Path: r.at(), Err: err})
		return
	}
	d := &delivery{place: p, reply: m.Reply(), message: message{m.Subject(), m.Headers(), m.Data()}, size: len(m.Data()) + 256}
	now := r.env.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.line.bytes > roomBytes && !r.line.unsure && !r.closed {
		r.room.Wait()
	}
	if r.line.arrive(d, now) == settle {
		r.publish(d, "+ACK")
	}
	for _, d := range r.line.sentBack() {
		r.publish(d, `-NAK {"delay": 1000000000}`)
	}
	if r.line.unsure {
		signal(r.look)
	}
	signal(r.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// publish tells the server about a message. What is lost of that is made good when the message comes again.
func (r *reader) publish(d *delivery, word string) {
	_ = r.link.nc.Publish(d.reply, []byte(word))
}

// trouble hears of what goes wrong while messages are received.
func (r *reader) trouble(_ jetstream.ConsumeContext, err error) {
	switch {
	case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrBadRequest):
		r.fail(fmt.Errorf("%w: %w", penstock.ErrDisconnected, r.failure(err)))
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoHeartbeat):
		signal(r.look) // the consumer may be gone
	}
	r.env.Logger.Debug("the consumer says", "stream", r.stream, "consumer", r.consumer, "error", err)
}

// fail has the next Read fail.
func (r *reader) fail(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
	signal(r.wake)
}

// at names the consumer in errors.
func (r *reader) at() string { return "stream " + r.stream + ", consumer " + r.consumer }

func (r *reader) failure(err error) error { return failure(err, r.at(), false) }

// keep tells the server that messages are being worked on, and asks it what is out where that matters.
func (r *reader) keep(ctx context.Context) {
	wait := r.settings.AckWait
	if wait <= 0 {
		wait = 30 * time.Second // the server's own default
	}
	beat := max(wait/3, 20*time.Millisecond)
	for {
		r.mu.Lock()
		unsure, gaps := r.line.unsure, len(r.line.gaps.ranges) > 0
		r.mu.Unlock()
		pause := beat / 2
		if unsure || r.env.Once {
			pause = min(pause, 100*time.Millisecond)
		}
		c, end := r.env.Clock.NewTimer(pause)
		asked := false
		select {
		case <-ctx.Done():
			end()
			return
		case <-r.look:
			asked = true
		case <-c:
		}
		end()
		r.touch(beat)
		if asked || unsure || gaps || r.env.Once {
			r.ask(ctx, wait)
		}
		if asked { // not as often as messages come
			c, end := r.env.Clock.NewTimer(10 * time.Millisecond)
			select {
			case <-ctx.Done():
			case <-c:
			}
			end()
		}
	}
}

// touch tells the server of messages that it last heard of a while ago.
func (r *reader) touch(age time.Duration) {
	now := r.env.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.line.flight {
		if now.Sub(d.touched) >= age {
			d.touched = now
			r.publish(d, "+WPI")
		}
	}
}

// ask asks the server what is out.
func (r *reader) ask(ctx context.Context, wait time.Duration) {
	r.mu.Lock()
	c := r.line.counting()
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	info, err := r.handle.Info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		r.fail(fmt.Errorf("%w: %w", penstock.ErrDisconnected, r.failure(err)))
		return
	case err != nil:
		return // the connection is being mended, or the server is starting
	}
	now := r.env.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	unsure := r.line.unsure
	if r.line.counted(c, info.NumAckPending, info.AckFloor.Stream+1, now, wait+wait/2) && unsure {
		signal(r.wake)
	}
	if r.env.Once && info.NumPending == 0 && !r.line.unsure && info.Delivered.Consumer <= r.line.turn && len(r.line.out) == 0 && r.failed == nil {
		r.failed = io.EOF
		signal(r.wake)
	}
}

// Read implements penstock.Source.
func (r *reader) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.mu.Lock()
		if len(r.batch) == 0 {
			r.batch = r.line.next(r.atMost, 8<<20, r.batch[:0])
			r.mark = r.line.gaps.mark()
		}
		err := r.failed
		r.room.Signal()
		r.mu.Unlock()
		n, stop := r.ready.Ready(ctx, len(r.batch), func(i int) []byte { return r.batch[i].message.data })
		switch {
		case stop != nil:
			return stop
		case n > 0:
			r.fill(into, n)
			return nil
		case err != nil && (len(r.batch) == 0 || !errors.Is(err, io.EOF)):
			return err
		case len(r.batch) > 0:
			continue
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill makes messages of the first n deliveries.
func (r *reader) fill(into *penstock.Batch, n int) {
	for _, d := range r.batch[:n] {
		m := into.Append()
		err := r.decoder.decode(into, m, &d.message)
		if r.prefix != "" {
			m.Key = strings.TrimPrefix(d.message.subject, r.prefix)
		}
		m.Time = d.at
		m.Pos = penstock.Position{Stream: r.stream, Offset: int64(d.seq), Next: int64(d.seq) + 1, Mark: r.mark} //nolint:gosec // placeOf bounds it
		if d.late && r.env.Resumes {
			m.Pos.Stream, m.Pos.Mark = fmt.Sprintf("%s%s%d", r.stream, late, d.seq), ""
			r.env.Logger.Warn("a message came behind newer ones: another process reads by the same consumer, or the server lost what it knew of it", "stream", r.stream, "consumer", r.consumer, "sequence", d.seq)
		}
		if err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
		d.message = message{} // only its place is needed from here on
	}
	r.batch = slices.Delete(r.batch, 0, n)
}

// Settle implements penstock.Source: it acknowledges what is done. What isn't, the server gives again.
func (r *reader) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	r.mu.Lock()
	r.acks = r.acks[:0]
	for _, o := range outcomes {
		if o.Err != nil {
			continue // until Close
		}
		if d := r.line.settled(uint64(o.Pos.Offset)); d != nil { //nolint:gosec // we gave it
			r.acks = append(r.acks, d)
			if d.late && r.env.Resumes {
				r.over = append(r.over, o.Pos.Stream)
			}
		}
	}
	r.mu.Unlock()
	for _, d := range r.acks {
		r.publish(d, "+ACK")
	}
	return nil
}

// halt ends the receiving.
func (r *reader) halt() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// Close implements penstock.Source. What was not settled goes back to the server, in order, for whoever reads next.
func (r *reader) Close(ctx context.Context) error {
	r.halt()
	if r.link == nil || r.link.nc == nil {
		return nil
	}
	r.mu.Lock()
	back := r.line.give()
	r.mu.Unlock()
	for _, d := range back {
		r.publish(d, "-NAK")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = r.link.nc.FlushWithContext(ctx) // the acknowledgements; what is lost of them comes again
	return nil
}
