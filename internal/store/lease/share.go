package lease

import (
	"slices"
	"time"

	"penstock.dev/penstock/internal/mutation"
)

// balance compares what is held with the replica's share, has its holder yield what is too much, and says which parts to take, and how long
// to wait for the next look.
//
// The share is parts/replicas, and one more for the first of them by ID, so that all shares together are all parts, and a
// replica that comes or goes moves no more than it must. A replica whose leases have run out does not count as living, also while it
// was seen: what it had is taken at once. A part that nobody has wanted for a whole lease (its replica can't drive it, say) is taken
// by whoever looks first, beyond his share.
func (k *Keeper) balance(t Table) (want []int, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table.Store(&t)
	now := k.o.Clock.Now()
	wait = k.ttl / 3
	index, live := k.living(t)
	n := len(t.Parts)
	share := 0
	if index >= 0 {
		share = n / live
		if index < n%live {
			share++
		}
		if k.o.All {
			share = n
		}
	}
	counted := []*holding{}
	for _, h := range k.inOrder() {
		if h.yielding {
			continue
		}
		if !h.beyond || k.stopping {
			counted = append(counted, h)
		}
	}
	for _, h := range counted[min(share, len(counted)):] {
		k.yield(h)
	}
	var orphans []int
	start := 0
	if index >= 0 {
		start = index * n / live
	}
	for i := range n {
		p := t.Parts[(start+i)%n]
		if h := k.held[p.Part]; h != nil {
			delete(k.free, p.Part)
			continue
		}
		if !p.Free() && p.Owner != k.o.Replica.ID {
			delete(k.free, p.Part)
			wait = min(wait, p.Left+time.Millisecond)
			continue
		}
		since, known := k.free[p.Part]
		if !known {
			since = now
			k.free[p.Part] = now
		}
		switch {
		case index < 0 || now.Before(k.pause[p.Part]) || slices.ContainsFunc(k.give, func(l Lease) bool { return l.Part == p.Part }):
		case now.Sub(since) >= k.ttl:
			orphans = append(orphans, p.Part)
		default:
			want = append(want, p.Part)
		}
	}
	want = want[:max(0, min(len(want), share-len(counted)))]
	return append(want, orphans...), wait
}

// living says which of the live replicas this one is, and how many there are. Below 0: it takes nothing any more.
func (k *Keeper) living(t Table) (index, n int) {
	dead := map[string]bool{}
	for _, p := range t.Parts {
		if p.Owner != "" && p.Left <= 0 {
			dead[p.Owner] = true
		}
	}
	delete(dead, k.o.Replica.ID)
	index = -1
	for _, r := range t.Replicas {
		if r.Stopping || dead[r.ID] {
			continue
		}
		if r.ID == k.o.Replica.ID && !k.stopping {
			index = n
		}
		n++
	}
	return index, max(n, 1)
}

// yield asks the holder to hand a part over. mu must be held.
func (k *Keeper) yield(h *holding) {
	h.yielding = true
	l := h.lease
	k.o.Logger.Debug("a part is handed over", "part", l.Part, "epoch", l.Epoch)
	if mutation.On("lease-released-without-drain") {
		k.give = append(k.give, l)
		delete(k.held, l.Part)
		k.wake()
		return
	}
	k.o.Holder.Yield(l, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.held[l.Part] != h {
			return // lost meanwhile
		}
		delete(k.held, l.Part)
		k.give = append(k.give, l)
		k.wake()
	})
}
