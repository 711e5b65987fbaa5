package rabbitmq

import (
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestATakeIsBounded: in messages and in bytes, and whatever is left comes with the next ones, in order.
func TestATakeIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		sizes []int
		most  int
		want  []int // messages of each take
	}{
		"few":                 {[]int{1, 1, 1}, 10, []int{3}},
		"as many as may be":   {[]int{1, 1, 1}, 3, []int{3}},
		"more than may be":    {[]int{1, 1, 1, 1, 1}, 2, []int{2, 2, 1}},
		"large ones":          {[]int{readBytes / 2, readBytes / 2, 1, readBytes / 2}, 10, []int{2, 2}},
		"the first of all":    {[]int{readBytes + 1, 1, 1}, 10, []int{1, 2}},
		"too large for any":   {[]int{readBytes + 1, readBytes + 1}, 10, []int{1, 1}},
		"nothing in them":     {[]int{0, 0}, 10, []int{2}},
		"one at a time":       {[]int{1, 1}, 1, []int{1, 1}},
		"a large one is last": {[]int{1, 1, readBytes}, 10, []int{2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &inbox{news: make(chan struct{}, 1)}
			body := make([]byte, readBytes+1)
			for i, size := range c.sizes {
				b.queue = append(b.queue, amqp.Delivery{DeliveryTag: uint64(i), Body: body[:size]})
			}
			var got []int
			next := uint64(0)
			for b.waiting() {
				ds, open := b.take(t.Context(), nil, c.most)
				if !open || len(ds) == 0 {
					t.Fatalf("%d deliveries, open %t", len(ds), open)
				}
				for _, d := range ds {
					if d.DeliveryTag != next {
						t.Fatalf("delivery %d in the place of %d", d.DeliveryTag, next)
					}
					next++
				}
				got = append(got, len(ds))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("takes of %v messages, want %v", got, c.want)
			}
		})
	}
}
