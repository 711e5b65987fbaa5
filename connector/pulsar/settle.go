package pulsar

import (
	"context"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
)

// Settle implements penstock.Source: it has acknowledged what is done. What isn't, the broker gives again.
func (r *reader) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range outcomes {
		if o.Err != nil {
			continue // until Close
		}
		at := place{o.Pos.Stream, o.Pos.Offset}
		d := r.out[at]
		if d == nil {
			continue
		}
		delete(r.out, at)
		if n := r.config.NegativeAck; n != nil && o.Dead && int(d.again)+1 < n.Deliveries && d.entry.topic < len(r.topics) {
			r.ledger.givenBack(d)
			r.topics[d.entry.topic].consumer.NackID(d.id)
			continue
		}
		r.ledger.settled(d)
	}
	signal(r.acks)
	return nil
}

// atOnce is how many entries are acknowledged in one request.
const atOnce = 1000

// acknowledge tells the broker what is done, until ctx ends, and then once more what is left.
func (r *reader) acknowledge(ctx context.Context, topics []*reading) {
	for {
		select {
		case <-r.acks:
		case <-ctx.Done():
			_ = r.tell(topics) // what fails is given again
			return
		}
		if err := r.tell(topics); err != nil {
			c, end := r.env.Clock.NewTimer(500 * time.Millisecond)
			select {
			case <-c:
				signal(r.acks)
			case <-ctx.Done():
			}
			end()
		}
	}
}

// tell acknowledges what is done.
func (r *reader) tell(topics []*reading) (failed error) {
	var again []*entry
	for {
		r.mu.Lock()
		entries := r.ledger.take(atOnce)
		ids := make([][]client.MessageID, len(topics))
		whole := make([]bool, len(entries))
		for i, e := range entries {
			if e.topic >= len(topics) {
				continue
			}
			id := e.own
			if whole[i] = e.left == 0; whole[i] && e.size > 1 {
				id = client.NewMessageID(e.at.ledger, e.at.entry, -1, e.index)
			}
			ids[e.topic] = append(ids[e.topic], id)
		}
		r.mu.Unlock()
		if len(entries) == 0 {
			break
		}
		errs := make([]error, len(topics))
		for i, list := range ids {
			if len(list) > 0 {
				errs[i] = topics[i].consumer.AckIDList(list)
			}
		}
		r.mu.Lock()
		for i, e := range entries {
			if err := errs[min(e.topic, len(errs)-1)]; err != nil {
				failed = err
				again = append(again, e)
				continue
			}
			r.ledger.acknowledged(e, whole[i])
		}
		r.mu.Unlock()
	}
	if failed != nil {
		r.mu.Lock()
		for _, e := range again {
			r.ledger.again(e)
		}
		r.mu.Unlock()
	}
	return failed
}
