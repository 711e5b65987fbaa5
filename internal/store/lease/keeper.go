package lease

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// Holder is told which parts its process holds. It is called by one goroutine at a time, in the order of what happens; it must return at once and
// must not call its Keeper before it has.
type Holder interface {
	// Gained says that this process drives the part from now on.
	Gained(l Lease)
	// Lost says that it may not any more: stop now, settle nothing. Another replica may begin at any moment.
	Lost(l Lease)
	// Yield asks to bring the driving to a good end and then to call done, from any goroutine. The lease is kept until then, or until it
	// is lost.
	Yield(l Lease, done func())
}

// Options are those of a Keeper.
type Options struct {
	Role Role
	// Replica is how this process is known to the others. Its ID must be new with each start.
	Replica Replica
	// Info, where it is there, is what the replica tells with each beat: JSON. It must return at once.
	Info func() []byte
	// All has it take every part and yield none: nobody else is to drive anything. What others hold it waits for.
	All bool
	// Lease is how long one holds without being renewed; 0 is [Default]. It is renewed at a third of that.
	Lease time.Duration
	// Clock is this process's, the monotonic part of which says when to stop driving; nil is the machine's.
	Clock  penstock.Clock
	Logger *slog.Logger // nil: none
	Holder Holder
}

// Keeper holds leases for a process: its share of the parts, over all replicas that live. It is safe for concurrent use.
type Keeper struct {
	o      Options
	ttl    time.Duration
	margin time.Duration // before the end of a lease, when its holder stops driving
	poke   chan struct{}
	watch  chan struct{}

	mu       sync.Mutex
	held     map[int]*holding
	free     map[int]time.Time // parts that nobody has, since when
	pause    map[int]time.Time // parts that were given back, until when they are left to others
	give     []Lease           // to be released
	table    atomic.Pointer[Table]
	stopping bool
	failed   bool // the last tick
}

// holding is a part that is held.
type holding struct {
	lease    Lease
	deadline time.Time // when driving stops, by the monotonic clock
	yielding bool
	beyond   bool // nobody wanted it: it does not count in the share
}

// New makes a Keeper, which does nothing before Run.
func New(o Options) *Keeper {
	if o.Lease <= 0 {
		o.Lease = Default
	}
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{o: o, ttl: o.Lease, margin: o.Lease / 10, poke: make(chan struct{}, 1), watch: make(chan struct{}, 1), held: map[int]*holding{}, free: map[int]time.Time{}, pause: map[int]time.Time{}}
}

// Run holds leases until Stop has handed them all over, or until ctx ends: then they are all lost at once, and run out by themselves.
func (k *Keeper) Run(ctx context.Context) {
	var guard sync.WaitGroup
	watching, over := context.WithCancel(ctx)
	guard.Go(func() { k.guard(watching) })
	defer guard.Wait()
	defer over()
	for {
		wait := k.tick(ctx)
		if ctx.Err() != nil {
			k.loseAll()
			return
		}
		if k.left() {
			k.goodbye(ctx)
			return
		}
		timer, stop := k.o.Clock.NewTimer(wait)
		select {
		case <-timer:
		case <-k.poke:
		case <-k.o.Role.Changed():
		case <-ctx.Done():
		}
		stop()
	}
}

// Stop hands all parts over: Run returns once they are released, and ctx bounds how long their holder may take; then they are lost, and
// released. It returns at once.
func (k *Keeper) Stop(ctx context.Context) {
	k.mu.Lock()
	k.stopping = true
	k.mu.Unlock()
	k.wake()
	context.AfterFunc(ctx, func() {
		k.mu.Lock()
		for _, h := range k.inOrder() {
			k.give = append(k.give, h.lease)
			k.lose(h)
		}
		k.mu.Unlock()
		k.wake()
	})
}

// Return gives a lease up that its holder can't drive with: it was told that it is lost, or it could not begin. The part is left to others
// for a while. The holder drives with it no more when it calls this.
func (k *Keeper) Return(l Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[l.Part]
	if h == nil || h.lease != l {
		return
	}
	delete(k.held, l.Part)
	k.pause[l.Part] = k.o.Clock.Now().Add(3 * k.ttl) // others take what nobody has wanted for one
	k.give = append(k.give, l)
	k.wake()
}

// Table is how everything stood when it was last asked. It waits for nobody: a holder may ask while it is being told something.
func (k *Keeper) Table() Table {
	if t := k.table.Load(); t != nil {
		return *t
	}
	return Table{}
}

// Held are the leases that this process drives with, by part; those that it is handing over are among them.
func (k *Keeper) Held() []Lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := []Lease{}
	for _, h := range k.inOrder() {
		out = append(out, h.lease)
	}
	return out
}

// Reaches says whether the store answered when it was last asked.
func (k *Keeper) Reaches() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.failed
}

// inOrder are the holdings by part. mu must be held.
func (k *Keeper) inOrder() []*holding {
	out := make([]*holding, 0, len(k.held))
	for _, h := range k.held {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *holding) int { return a.lease.Part - b.lease.Part })
	return out
}

func (k *Keeper) wake() { signal(k.poke) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// left says that everything was handed over.
func (k *Keeper) left() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stopping && len(k.held) == 0 && len(k.give) == 0
}

// goodbye takes the replica off the list. Where the store can't be asked it is taken for dead a lease later.
func (k *Keeper) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, k.ttl/3)
	defer cancel()
	if _, err := k.o.Role.Beat(ctx, k.o.Replica, 0); err != nil {
		k.o.Logger.Warn("the other replicas could not be told that this one ends", "error", err)
	}
}

// lose ends a holding at once. mu must be held.
func (k *Keeper) lose(h *holding) {
	delete(k.held, h.lease.Part)
	if mutation.On("lease-drives-on") {
		return
	}
	k.o.Holder.Lost(h.lease)
}

func (k *Keeper) loseAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.inOrder() {
		k.lose(h)
	}
}

// guard ends the holdings whose time is up, whatever the store does meanwhile: a call of it may hang.
func (k *Keeper) guard(ctx context.Context) {
	for ctx.Err() == nil {
		timer, stop := k.o.Clock.NewTimer(k.expire())
		select {
		case <-timer:
		case <-k.watch:
		case <-ctx.Done():
		}
		stop()
	}
}

// expire ends the holdings whose time is up, and says when to look again.
func (k *Keeper) expire() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.o.Clock.Now()
	next := k.ttl
	for _, h := range k.inOrder() {
		if left := h.deadline.Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		k.o.Logger.Warn("a part is given up: its lease could not be renewed in time", "part", h.lease.Part, "epoch", h.lease.Epoch)
		k.lose(h)
	}
	return next
}

// tick renews, says that the replica lives, and takes or yields what its share asks for. It says how long it may wait for the next.
func (k *Keeper) tick(ctx context.Context) time.Duration {
	wait, err := k.turn(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && ctx.Err() == nil && !k.failed {
		k.o.Logger.Warn("the store does not answer about leases", "error", err)
	}
	k.failed = err != nil
	return wait
}

func (k *Keeper) turn(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, k.ttl/3)
	defer cancel()
	retry := k.ttl / 10
	if err := k.renew(ctx); err != nil {
		return retry, err
	}
	if err := k.release(ctx); err != nil {
		return retry, err
	}
	me := k.o.Replica
	if k.o.Info != nil {
		me.Info = k.o.Info()
	}
	k.mu.Lock()
	me.Stopping = k.stopping
	k.mu.Unlock()
	t, err := k.o.Role.Beat(ctx, me, k.ttl)
	if err != nil {
		return retry, err
	}
	want, wait := k.balance(t)
	if len(want) == 0 {
		return wait, nil
	}
	at := k.o.Clock.Now()
	got, err := k.o.Role.Take(ctx, me.ID, want, k.ttl)
	if err != nil {
		return retry, err
	}
	k.gained(at, got)
	return wait, nil
}

// renew prolongs what is held.
func (k *Keeper) renew(ctx context.Context) error {
	k.mu.Lock()
	var mine []Lease
	for _, h := range k.inOrder() {
		mine = append(mine, h.lease)
	}
	at := k.o.Clock.Now() // before the store is asked: its clock starts later
	k.mu.Unlock()
	if len(mine) == 0 {
		return nil
	}
	kept, err := k.o.Role.Renew(ctx, mine, k.ttl)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.o.Clock.Now()
	for _, l := range mine {
		h := k.held[l.Part]
		if h == nil || h.lease != l {
			continue
		}
		switch {
		case !slices.Contains(kept, l):
			k.o.Logger.Warn("a part was taken by another replica, or its lease had run out", "part", l.Part, "epoch", l.Epoch)
			k.lose(h)
		case !h.deadline.After(now): // its time was up while the store was asked
			k.lose(h)
		default:
			h.deadline = at.Add(k.ttl - k.margin)
		}
	}
	return nil
}

// release gives up what is to be given up.
func (k *Keeper) release(ctx context.Context) error {
	k.mu.Lock()
	give := slices.Clone(k.give)
	k.mu.Unlock()
	if len(give) == 0 {
		return nil
	}
	if err := k.o.Role.Release(ctx, give); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.give = k.give[len(give):] // only this goroutine takes from it
	return nil
}

// gained notes what was taken. at is the time before the store was asked.
func (k *Keeper) gained(at time.Time, got []Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range got {
		h := &holding{lease: l, deadline: at.Add(k.ttl - k.margin)}
		since, orphan := k.free[l.Part]
		h.beyond = orphan && at.Sub(since) >= k.ttl
		if k.stopping || !h.deadline.After(k.o.Clock.Now()) {
			k.give = append(k.give, l)
			k.wake()
			continue
		}
		k.held[l.Part] = h
		k.o.Logger.Debug("a part is driven from now on", "part", l.Part, "epoch", l.Epoch)
		k.o.Holder.Gained(l)
	}
	signal(k.watch)
}
