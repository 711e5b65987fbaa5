package run

import (
	"context"
	"sync"
)

// hold keeps a pump from reading on, at a batch boundary: nothing that it has read is left in its hands while it stands there.
type hold struct {
	mu      sync.Mutex
	cond    cond
	paused  bool // by an operator
	halted  bool // while a reload looks whether it can take place
	leaving bool // another flow goes on with the source
	at      bool // the pump stands here
	read    context.Context
	cancel  context.CancelFunc
}

func (h *hold) init(r *Runner) { h.cond.init(r, &h.mu) }

// pass waits for as long as the pump is held, and gives the context of what it reads next, which ends when it is held again. False
// when ctx has ended, or the pump is to leave its source to another.
func (h *hold) pass(ctx context.Context) (context.Context, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held() {
		stop := h.cond.wakeAfter(ctx)
		defer stop()
		h.at = true
		for h.held() && !h.leaving && ctx.Err() == nil {
			h.cond.wait()
		}
		h.at = false
	}
	if h.leaving || ctx.Err() != nil {
		h.release()
		return nil, false
	}
	if h.read == nil {
		h.read, h.cancel = context.WithCancel(ctx)
	}
	return h.read, true
}

func (h *hold) held() bool { return h.paused || h.halted }

// release ends what is being read. The lock must be held.
func (h *hold) release() {
	if h.cancel != nil {
		h.cancel()
		h.read, h.cancel = nil, nil
	}
}

// change changes what holds the pump.
func (h *hold) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	if h.held() || h.leaving {
		h.release()
	}
	h.cond.wake()
}

// standing says that the pump is held and has nothing in its hands.
func (h *hold) standing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

// left says that the pump was told to leave its source to another.
func (h *hold) left() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaving
}
