package run

import "sync"

// pool keeps what is used over and over: last in, first out, so that the memory that is
// warm is used next. Unlike sync.Pool it survives the garbage collector, which would
// otherwise make the engine build its batches anew at every cycle.
type pool[T any] struct {
	mu    sync.Mutex
	items []*T
	keep  int // at most; 0 is 256
}

func (p *pool[T]) get() *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.items); n > 0 {
		v := p.items[n-1]
		p.items[n-1] = nil
		p.items = p.items[:n-1]
		return v
	}
	return new(T)
}

func (p *pool[T]) put(v *T) {
	keep := p.keep
	if keep == 0 {
		keep = 256
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) < keep {
		p.items = append(p.items, v)
	}
}
