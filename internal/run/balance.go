package run

import (
	"context"
	"errors"
	"hash/fnv"
	"math"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// balancer chooses targets for the messages of one step, whichever lanes they are on.
type balancer struct {
	op       *plan.Fork
	turn     atomic.Uint64
	inFlight []atomic.Int64 // by target
	mu       sync.Mutex
	credit   []int // of weighted
}

func newBalancer(op *plan.Fork) *balancer {
	return &balancer{op: op, inFlight: make([]atomic.Int64, len(op.Branches)), credit: make([]int, len(op.Branches))}
}

// choose gives the target of a message whose key is key; for failover the first.
func (l *balancer) choose(key string, random func() float64) int {
	n := len(l.op.Branches)
	switch l.op.Pick.Strategy {
	case plan.Random:
		return min(int(random()*float64(n)), n-1)
	case plan.Weighted:
		return l.weighted()
	case plan.LeastInFlight:
		return l.least()
	case plan.Sticky:
		return l.sticky(key)
	case plan.Failover:
		return 0
	}
	return int((l.turn.Add(1) - 1) % uint64(n))
}

// weighted is the smooth weighted round robin of nginx: of 5, 1 and 1 the targets are a a b a c a a, and not a a a a a b c.
func (l *balancer) weighted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	best, total := 0, 0
	for i, w := range l.op.Pick.Weights {
		l.credit[i] += w
		total += w
		if l.credit[i] > l.credit[best] {
			best = i
		}
	}
	l.credit[best] -= total
	return best
}

// least is the target with the fewest messages; of several the next in turn.
func (l *balancer) least() int {
	n := len(l.inFlight)
	from := int((l.turn.Add(1) - 1) % uint64(n))
	best, fewest := from, int64(math.MaxInt64)
	for i := range n {
		at := (from + i) % n
		if now := l.inFlight[at].Load(); now < fewest {
			best, fewest = at, now
		}
	}
	return best
}

// sticky is rendezvous hashing: the target whose name, hashed with the key, wins. Where a target is added or taken away, only the keys
// that it wins, or had won, move.
func (l *balancer) sticky(key string) int {
	best, highest := 0, uint64(0)
	for i := range l.op.Branches {
		h := fnv.New64a()
		_, _ = h.Write([]byte(key))
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(l.op.Branches[i].Name))
		v := h.Sum64() // FNV mixes its last bytes little: finish as MurmurHash3 does
		v = (v ^ v>>33) * 0xff51afd7ed558ccd
		v = (v ^ v>>33) * 0xc4ceb9fe1a85ec53
		if v ^= v >> 33; v >= highest {
			best, highest = i, v
		}
	}
	return best
}

// balanced runs a message through one target.
func (x *exec) balanced(ctx context.Context, b *penstock.Batch, n *node, op *plan.Fork, m *penstock.Message) (*reply, error) {
	key := ""
	if op.Pick.Key != nil {
		var err error
		if key, err = text(op.Pick.Key, b.Frame(m), n.Name+" key"); err != nil {
			return nil, err
		}
	}
	at := n.balancer.choose(key, x.f.r.random)
	if op.Pick.Strategy != plan.Failover {
		return x.target(ctx, b, n, m, at, x.inner(n))
	}
	unsafe := false
	for {
		r, err := x.target(ctx, b, n, m, at, nil)
		if err == nil || ctx.Err() != nil || !penstock.CodeOf(err).Transient() {
			return r, err
		}
		var ex *exhausted
		if errors.As(err, &ex) {
			unsafe = unsafe || ex.unsafe
		}
		if at++; at == len(op.Branches) {
			if ex != nil && unsafe && n.Retry == nil && !x.f.plan.OnError.Declared {
				err = &exhausted{err: err, step: ex.step, attempts: ex.attempts, final: true} // another round could be a second effect
			}
			return nil, err
		}
	}
}

// target runs a message through the target at.
func (x *exec) target(ctx context.Context, b *penstock.Batch, n *node, m *penstock.Message, at int, inherit *plan.Retry) (*reply, error) {
	in := &n.balancer.inFlight[at]
	in.Add(1)
	defer in.Add(-1)
	r := &reply{}
	err := x.byItself(ctx, m, func(ctx context.Context) error {
		res, mem, err := x.branch(ctx, x.ownerOf(m), b, n.subs[at], inherit, []*penstock.Message{child(b, m, 0)})
		r.memory = mem
		switch {
		case err != nil:
			return err
		case res.msgs[0] == nil:
			return &penstock.Error{Code: penstock.Unprocessable, Op: n.Name, Err: errors.New("the target dropped the message"), Hint: "use choice instead of filter inside a target"}
		}
		r.doc = res.msgs[0].Body
		return nil
	})
	if err != nil {
		for _, mem := range r.memory {
			x.f.recycle(mem)
		}
		return nil, err
	}
	return r, nil
}
