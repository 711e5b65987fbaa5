package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
)

// queue reads a list as a reliable queue: each element is moved, in one step of the server, to the end of a list of this consumer's, and removed from there when it is
// settled. What is in that list when the consumer starts comes first. Consumers give a sign of life in a sorted set; what one has that gives none any more is moved
// back by another.
type queue struct {
	config   SourceConfig
	env      penstock.Env
	decoder  *decoder
	list     string
	mine     string // of what is worked on here
	others   string // what the lists of all consumers begin with
	alive    string // the sorted set
	consumer string
	idle     time.Duration
	link     *link
	client   rueidis.Client
	was      bool

	mu     sync.Mutex
	in     []string         // to be handed out
	bytes  int              // of in
	here   map[int64]string // handed out, and not settled
	owed   []string         // settled, and the server does not know
	paying sync.Mutex       // who tells it
	turns  int64
	failed error
	wake   chan struct{}
	room   chan struct{}
	stop   func()
	batch  []string // taken, and not handed out: a registry that is away is waited for
	ready  *penstock.Preparation
	atMost int
}

var _ penstock.Source = (*queue)(nil)

func newQueue(c SourceConfig, env penstock.Env, d *decoder) *queue {
	q := &queue{config: c, env: env, decoder: d, here: map[int64]string{}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), idle: c.ClaimAfter.Std(), atMost: max(env.Batch, 512), ready: d.preparation(env)}
	if q.idle <= 0 {
		q.idle = time.Minute
	}
	if q.config.Prefetch <= 0 {
		q.config.Prefetch = 500
	}
	return q
}

// Open implements penstock.Source.
func (q *queue) Open(ctx context.Context) error {
	q.halt()
	err := q.open(ctx)
	if err != nil && q.was && penstock.CodeOf(err).Transient() {
		return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
	}
	q.was = q.was || err == nil
	return err
}

func (q *queue) open(ctx context.Context) (err error) {
	if q.list, err = named(q.config.List, q.env, "list"); err != nil {
		return err
	}
	if q.consumer, err = fixed(q.config.Consumer, q.env); err != nil {
		return err
	}
	if q.consumer == "" {
		q.consumer = flowOf(q.env.Name)
	}
	q.others = beside(q.list) + ":processing:"
	q.mine, q.alive = q.others+q.consumer, beside(q.list)+":consumers"
	if q.link, err = connect(q.config.Connection, q.env); err != nil {
		return err
	}
	if q.client, err = q.link.open(ctx); err != nil {
		return err
	}
	if err = q.beat(ctx); err != nil {
		return q.failure(err)
	}
	q.mu.Lock()
	q.failed = nil
	q.mu.Unlock()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var both sync.WaitGroup
	both.Go(func() { q.pull(running) })
	both.Go(func() { q.keep(running) })
	q.stop = func() {
		cancel()
		both.Wait()
	}
	return nil
}

// beside is how keys begin that must be on the same node of a cluster as a list: with what of its name is hashed, in braces.
func beside(list string) string {
	if _, after, ok := strings.Cut(list, "{"); ok {
		if tag, _, ok := strings.Cut(after, "}"); ok && tag != "" {
			return list
		}
	}
	if strings.ContainsAny(list, "{}") {
		return list // it can't be named in braces; one server has all keys
	}
	return "{" + list + "}"
}

func (q *queue) failure(err error) error { return failure(err, "list "+q.list) }

// fail has the next Read that finds nothing fail. What passes by itself asks for a new Open.
func (q *queue) fail(err error) {
	if penstock.CodeOf(err).Transient() {
		q.env.Logger.Warn("the list can't be read; trying again", "list", q.list, "error", err)
		err = fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed == nil {
		q.failed = err
	}
	signal(q.wake)
}

// beat gives a sign of life, and moves back what those have who give none any more.
func (q *queue) beat(ctx context.Context) error {
	t, err := q.link.ask(ctx, q.client, q.client.B().Time().Build()).AsStrSlice()
	if err != nil {
		return err
	}
	now, err := parseID(t[0])
	if err != nil {
		return err
	}
	secs, wait := float64(now.ms), q.idle.Seconds()
	if err := q.link.ask(ctx, q.client, q.client.B().Zadd().Key(q.alive).ScoreMember().ScoreMember(secs, q.consumer).Build()).Error(); err != nil {
		return err
	}
	dead, err := q.link.ask(ctx, q.client, q.client.B().Zrangebyscore().Key(q.alive).Min("-inf").Max(fmt.Sprintf("(%f", secs-wait)).Build()).AsStrSlice()
	if err != nil {
		return err
	}
	for _, c := range dead {
		n, err := q.giveBack(ctx, q.others+c)
		if n > 0 {
			q.env.Logger.Warn("a consumer of the list gives no sign of life: what it had is given to others", "list", q.list, "consumer", c, "count", n)
		}
		if err != nil {
			return err
		}
	}
	// Their names are kept for a day, in case they come back meanwhile and die again.
	return q.link.ask(ctx, q.client, q.client.B().Zremrangebyscore().Key(q.alive).Min("-inf").Max(fmt.Sprintf("(%f", secs-wait-86400)).Build()).Error()
}

// giveBack moves what is in a list of a consumer's to the end of the list that is taken from, so that the oldest is taken first.
func (q *queue) giveBack(ctx context.Context, from string) (n int, err error) {
	for {
		there, err := q.link.ask(ctx, q.client, q.client.B().Llen().Key(from).Build()).AsInt64()
		if err != nil || there == 0 {
			return n, err
		}
		// In one piece: whoever waits at the list would otherwise be given the newest.
		cmds := []rueidis.Completed{q.client.B().Multi().Build().SetSlot(from)}
		for range min(there, 10_000) {
			cmds = append(cmds, q.client.B().Arbitrary("LMOVE").Keys(from, q.list).Args("LEFT", q.side()).Build())
		}
		cmds = append(cmds, q.client.B().Exec().Build().SetSlot(from))
		limited, cancel := context.WithTimeout(ctx, q.link.timeout())
		answers := q.client.DoMulti(limited, cmds...)
		cancel()
		moved, err := answers[len(answers)-1].ToArray()
		if err != nil {
			return n, err
		}
		for i := range moved {
			if err := moved[i].Error(); err == nil {
				n++
			} else if !rueidis.IsRedisNil(err) {
				return n, err
			}
		}
	}
}

// side is the end that is taken from.
func (q *queue) side() string {
	if q.config.Take == takeLeft {
		return "LEFT"
	}
	return "RIGHT"
}

// keep gives signs of life until ctx ends.
func (q *queue) keep(ctx context.Context) {
	for {
		c, stop := q.env.Clock.NewTimer(q.idle / 3)
		select {
		case <-ctx.Done():
			stop()
			return
		case <-c:
		}
		q.pay(ctx)
		if err := q.beat(ctx); err != nil && ctx.Err() == nil {
			q.env.Logger.Warn("no sign of life can be given to the other consumers of the list", "list", q.list, "error", q.failure(err))
		}
	}
}

// pull takes elements until ctx ends.
func (q *queue) pull(ctx context.Context) {
	err := q.own(ctx)
	for err == nil && ctx.Err() == nil {
		if err = q.wait(ctx); err == nil {
			err = q.take(ctx)
		}
	}
	if ctx.Err() == nil {
		q.fail(end(err, q.failure))
	}
}

// own reads what is in this consumer's list, but for what is here.
func (q *queue) own(ctx context.Context) error {
	all, err := q.link.ask(ctx, q.client, q.client.B().Lrange().Key(q.mine).Start(0).Stop(-1).Build()).AsStrSlice()
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	known := map[string]int{}
	for _, v := range q.in {
		known[v]++
	}
	for _, v := range q.here {
		known[v]++
	}
	for _, v := range q.owed {
		known[v]++
	}
	for i := len(all) - 1; i >= 0; i-- { // the oldest is last
		if known[all[i]] > 0 {
			known[all[i]]--
			continue
		}
		q.arrive(all[i])
	}
	return nil
}

// arrive takes an element. mu is held.
func (q *queue) arrive(v string) {
	q.in = append(q.in, v)
	q.bytes += len(v) + 64
	signal(q.wake)
}

// wait waits until there is room for more.
func (q *queue) wait(ctx context.Context) error {
	for {
		q.mu.Lock()
		full := len(q.in) >= q.config.Prefetch || q.bytes > roomBytes
		q.mu.Unlock()
		if !full {
			return ctx.Err()
		}
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ahead is how many elements are asked for behind one that was there.
const ahead = 63

// take takes what is there, and waits for it a while.
func (q *queue) take(ctx context.Context) error {
	var first rueidis.RedisResult
	if q.env.Once {
		first = q.link.ask(ctx, q.client, q.client.B().Arbitrary("LMOVE").Keys(q.list, q.mine).Args(q.side(), "LEFT").Build())
	} else {
		first = waitFor(ctx, q.env.Clock, block+q.link.timeout(), func(ctx context.Context) rueidis.RedisResult {
			return q.client.Do(ctx, q.client.B().Arbitrary("BLMOVE").Keys(q.list, q.mine).Args(q.side(), "LEFT", "2").Blocking())
		})
	}
	v, err := first.ToString()
	switch {
	case rueidis.IsRedisNil(err) && q.env.Once:
		return errOver
	case rueidis.IsRedisNil(err):
		return nil
	case err != nil:
		return err
	}
	var cmds []rueidis.Completed
	for range min(ahead, q.config.Prefetch-1) {
		cmds = append(cmds, q.client.B().Arbitrary("LMOVE").Keys(q.list, q.mine).Args(q.side(), "LEFT").Build())
	}
	got := []string{v}
	ctx, cancel := context.WithTimeout(ctx, q.link.timeout())
	defer cancel()
	for _, a := range q.client.DoMulti(ctx, cmds...) {
		v, aerr := a.ToString()
		if aerr == nil {
			got = append(got, v)
		} else if !rueidis.IsRedisNil(aerr) && err == nil {
			err = aerr
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, v := range got {
		q.arrive(v)
	}
	return err
}

// waitFor sends a command that the server may take its time for. The client returns at once where ctx ends, and where the time is over.
func waitFor(ctx context.Context, clock penstock.Clock, limit time.Duration, do func(context.Context) rueidis.RedisResult) rueidis.RedisResult {
	limited, cancel := context.WithCancel(ctx) // a context with a deadline is not listened to otherwise
	defer cancel()
	c, stop := clock.NewTimer(limit)
	done := make(chan struct{})
	var over bool
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-c:
			over = true
			cancel()
		case <-done:
		}
	})
	r := do(limited)
	close(done)
	watching.Wait()
	stop()
	if over && r.NonRedisError() != nil {
		return rueidis.NewErrorResult(context.DeadlineExceeded)
	}
	return r
}

// Read implements penstock.Source.
func (q *queue) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		q.mu.Lock()
		if len(q.batch) == 0 {
			q.next()
		}
		turn := q.turns - int64(len(q.batch))
		err := q.failed
		q.mu.Unlock()
		n, stop := q.ready.Ready(ctx, len(q.batch), func(i int) []byte { return []byte(q.batch[i]) })
		switch {
		case stop != nil:
			return stop
		case n > 0:
			signal(q.room)
			for k, v := range q.batch[:n] {
				m := into.Append()
				m.Pos = penstock.Position{Stream: q.list, Offset: turn + int64(k) + 1, Next: turn + int64(k) + 2}
				if err := q.decoder.body(into, m, v); err != nil {
					into.Fail(len(into.Msgs)-1, err)
				}
			}
			q.batch = slices.Delete(q.batch, 0, n)
			return nil
		case err != nil && (len(q.batch) == 0 || !errors.Is(err, io.EOF)):
			return err
		case len(q.batch) > 0:
			continue
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next takes what a Read may hand out. mu is held.
func (q *queue) next() {
	n, size := 0, 0
	for n < len(q.in) && n < q.atMost && (n == 0 || size < 8<<20) {
		size += len(q.in[n]) + 64
		q.here[q.turns+int64(n)+1] = q.in[n]
		n++
	}
	q.batch = append(q.batch[:0], q.in[:n]...)
	q.in = slices.Delete(q.in, 0, n)
	q.bytes -= size
	q.turns += int64(n)
}

// Settle implements penstock.Source: it removes what is done from this consumer's list.
func (q *queue) Settle(ctx context.Context, outcomes []penstock.Outcome) error {
	q.mu.Lock()
	for i := range outcomes {
		o := &outcomes[i]
		if v, ok := q.here[o.Pos.Offset]; ok && o.Err == nil {
			delete(q.here, o.Pos.Offset)
			q.owed = append(q.owed, v)
		}
	}
	q.mu.Unlock()
	q.pay(ctx)
	return nil
}

// pay tells the server what is settled. What it does not hear it is told later: until then it is not handed out again.
func (q *queue) pay(ctx context.Context) {
	q.paying.Lock()
	defer q.paying.Unlock()
	q.mu.Lock()
	owed := q.owed[:len(q.owed):len(q.owed)]
	q.mu.Unlock()
	if len(owed) == 0 {
		return
	}
	cmds := make([]rueidis.Completed, len(owed))
	for i, v := range owed {
		cmds[i] = q.client.B().Lrem().Key(q.mine).Count(-1).Element(v).Build()
	}
	ctx, cancel := context.WithTimeout(ctx, q.link.timeout())
	defer cancel()
	gone := 0
	var left []string
	for i, a := range q.client.DoMulti(ctx, cmds...) {
		n, err := a.AsInt64()
		if err != nil {
			left = append(left, owed[i])
		} else if n == 0 {
			gone++
		}
	}
	if gone > 0 {
		q.env.Logger.Warn("elements were settled that are not in this consumer's list any more: others took it for dead, and work on them, too", "list", q.list, "consumer", q.consumer, "count", gone)
	}
	q.mu.Lock()
	q.owed = append(left, q.owed[len(owed):]...)
	q.mu.Unlock()
}

// halt ends the taking.
func (q *queue) halt() {
	if q.stop != nil {
		q.stop()
		q.stop = nil
	}
}

// Close implements penstock.Source. What was not settled goes back to the list, to be taken next.
func (q *queue) Close(ctx context.Context) error {
	q.halt()
	if q.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	q.pay(ctx)
	q.mu.Lock()
	owes := len(q.owed) > 0
	q.mu.Unlock()
	if !owes { // else what is settled would go back, too: it stays until this consumer comes again
		_, _ = q.giveBack(ctx, q.mine) // where that fails it stays, too
	}
	return nil
}
