package rabbitmq

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAcks holds what is told to what a server does with it: "up to" must name a delivery that is not settled yet (RabbitMQ closes the channel
// otherwise), and in the end every delivery is settled exactly once.
func TestAcks(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		const n = 200
		order := r.Perm(n)
		if seed%4 == 0 {
			slices.Sort(order)
		}
		a := newAcks()
		open := map[uint64]bool{}
		for i := range n {
			open[uint64(i)+1] = true
		}
		for at := 0; at < n; {
			k := min(1+r.IntN(20), n-at)
			var tags []uint64
			for _, o := range order[at : at+k] {
				tags = append(tags, uint64(o)+1)
			}
			at += k
			settled := map[uint64]bool{}
			for _, o := range order[:at] {
				settled[uint64(o)+1] = true
			}
			upTo, single := a.settle(tags)
			if upTo > 0 {
				if !open[upTo] {
					t.Fatalf("seed %d: %d is told twice", seed, upTo)
				}
				for tag := range open {
					if tag <= upTo {
						if !settled[tag] {
							t.Fatalf("seed %d: up to %d settles %d, which is not", seed, upTo, tag)
						}
						delete(open, tag)
					}
				}
			}
			for _, tag := range single {
				if !open[tag] {
					t.Fatalf("seed %d: %d is told twice", seed, tag)
				}
				delete(open, tag)
			}
			for _, o := range order[:at] {
				if open[uint64(o)+1] {
					t.Fatalf("seed %d: %d was settled, and the server does not hear of it", seed, o+1)
				}
			}
		}
		if len(open) > 0 || len(a.done) > n {
			t.Fatalf("seed %d: %d are left", seed, len(open))
		}
	}
	a := newAcks()
	tags := make([]uint64, 100)
	next := uint64(1)
	if got := testing.AllocsPerRun(100, func() {
		for i := range tags {
			tags[i], next = next, next+1
		}
		if upTo, single := a.settle(tags); upTo != next-1 || len(single) > 0 {
			t.Fatal(upTo, single)
		}
	}); got > 0 {
		t.Errorf("%v allocations for deliveries that are settled in order", got)
	}
}
