package run

import "sync"

// gate lets lanes into the tail of a flow of total order: one at a time, in the order
// of reading. Timers and the end of the sources come in between, under the same
// exclusion but without a turn.
type gate struct {
	mu      sync.Mutex
	cond    cond
	next    uint64
	busy    bool
	closed  bool                // the run was aborted: nobody waits any more
	aside   int                 // those who wait to come in between: they go first
	skipped map[uint64]struct{} // turns given up before they came
}

func newGate(r *Runner) *gate {
	g := &gate{skipped: map[uint64]struct{}{}}
	g.cond.init(r, &g.mu)
	return g
}

// enter waits for the turn of seq.
func (g *gate) enter(seq uint64) {
	g.mu.Lock()
	for !g.closed && (g.next != seq || g.busy || g.aside > 0) {
		g.cond.wait()
	}
	g.busy = true
	g.mu.Unlock()
}

// leave ends the turn.
func (g *gate) leave() {
	g.mu.Lock()
	g.busy = false
	g.advance()
	g.cond.wake()
	g.mu.Unlock()
}

func (g *gate) advance() {
	g.next++
	for {
		if _, ok := g.skipped[g.next]; !ok {
			return
		}
		delete(g.skipped, g.next)
		g.next++
	}
}

// skip gives up the turn of seq without waiting: nothing of it reached the tail.
func (g *gate) skip(seq uint64) {
	g.mu.Lock()
	if g.next == seq {
		g.advance()
	} else {
		g.skipped[seq] = struct{}{}
	}
	g.cond.wake()
	g.mu.Unlock()
}

// abort lets everyone in: nothing that they do counts any more.
func (g *gate) abort() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.cond.wake()
}

// between runs f in the tail without a turn; not at all where the run was aborted.
func (g *gate) between(f func()) {
	g.mu.Lock()
	g.aside++
	for g.busy && !g.closed {
		g.cond.wait()
	}
	g.aside--
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.busy = true
	g.mu.Unlock()
	f()
	g.mu.Lock()
	g.busy = false
	g.cond.wake()
	g.mu.Unlock()
}
