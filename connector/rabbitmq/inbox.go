package rabbitmq

import (
	"context"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// inbox gathers the deliveries of a consumer, so that a Read can take all that are there: the client hands them over one by one. It holds no more than
// the prefetch allows.
type inbox struct {
	mu    sync.Mutex
	queue []amqp.Delivery
	spare []amqp.Delivery // what was handed out last, to be used again
	over  bool
	news  chan struct{} // there is something, or it is over
}

func newInbox(from <-chan amqp.Delivery) *inbox {
	b := &inbox{news: make(chan struct{}, 1)}
	go b.gather(from)
	return b
}

// gather runs until the channel, or its consumer, is closed.
func (b *inbox) gather(from <-chan amqp.Delivery) {
	for d := range from {
		b.mu.Lock()
		b.queue = append(b.queue, d)
		first := len(b.queue) == 1
		b.mu.Unlock()
		if first {
			b.tell()
		}
	}
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	b.tell()
}

func (b *inbox) tell() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// fitting is how many of the first deliveries, of at most so many, go into one batch: as many as [readBytes] holds, and one in any case.
func fitting(queue []amqp.Delivery, most int) int {
	size := 0
	for i := range queue {
		if size += len(queue[i].Body); i == most || i > 0 && size > readBytes {
			return i
		}
	}
	return most
}

// take waits for deliveries and gives at most so many, and no more than fit into one batch. They are valid until the next take. None are given where ctx or quiet ended first, or where
// there will be no more: then open is false.
func (b *inbox) take(ctx context.Context, quiet <-chan time.Time, most int) (got []amqp.Delivery, open bool) {
	for {
		b.mu.Lock()
		most := fitting(b.queue, most)
		switch {
		case b.over: // what is left was given back to the queue with the channel
			b.mu.Unlock()
			return nil, false
		case len(b.queue) > most:
			got = append(b.spare[:0], b.queue[:most]...)
			rest := copy(b.queue, b.queue[most:])
			clear(b.queue[rest:])
			b.queue, b.spare = b.queue[:rest], got
			b.mu.Unlock()
			b.tell() // there is more
			return got, true
		case len(b.queue) > 0:
			clear(b.spare)
			got, b.queue, b.spare = b.queue, b.spare[:0], b.queue
			b.mu.Unlock()
			return got, true
		}
		b.mu.Unlock()
		select {
		case <-b.news:
		case <-quiet:
			return nil, true
		case <-ctx.Done():
			return nil, true
		}
	}
}

// ended says that the channel, or its consumer, is closed.
func (b *inbox) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// waiting says that there are deliveries which nobody took.
func (b *inbox) waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) > 0
}
