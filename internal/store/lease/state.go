package lease

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// The spaces of InState.
const (
	stateSpace   = "lease/part"
	replicaSpace = "lease/replica"
)

// State is the role over the entries of any store, for tests of what replicas do: several of them share one store in memory. It is safe for
// concurrent use.
type State struct {
	store store.Store
	parts int
	clock penstock.Clock

	mu      sync.Mutex
	changed []chan struct{} // of those who share it
}

// InState makes the role over a store of so many parts. clock is that of the store.
func InState(s store.Store, parts int, clock penstock.Clock) *State {
	return &State{store: s, parts: parts, clock: clock}
}

// For is the role as one of its replicas has it: with a Changed of its own.
func (s *State) For() Role {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = append(s.changed, c)
	return &stateRole{s, c}
}

type stateRole struct {
	*State
	c chan struct{}
}

// Changed implements Role.
func (r *stateRole) Changed() <-chan struct{} { return r.c }

// row is a part as it is stored.
type row struct {
	Owner   string `json:"owner"`
	Epoch   int64  `json:"epoch"`
	Expires int64  `json:"expires"` // Unix nanoseconds
}

func partKey(p int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(p)) } //nolint:gosec // parts are few

func readRow(v store.View, p int) (r row, err error) {
	e, ok, err := v.State().Get(stateSpace, partKey(p))
	if err != nil || !ok {
		return r, err
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return r, fmt.Errorf("the lease of part %d can't be read: %w", p, err)
	}
	return r, nil
}

func put(tx store.Tx, space string, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Put(space, store.Entry{Key: key, Value: b})
}

// stateFence tests leases that are entries.
type stateFence struct{ store.View }

// Holds implements Fence.
func (f stateFence) Holds(part int, owner string, epoch int64) (bool, error) {
	r, err := readRow(f.View, part)
	return r.Owner == owner && r.Epoch == epoch, err
}

// Beat implements Role.
func (s *State) Beat(ctx context.Context, me Replica, ttl time.Duration) (Table, error) {
	var t Table // not to be touched before it is known that the transaction is over
	err := s.store.Submit(store.Small, func(tx store.Tx) error {
		t = Table{}
		now := s.clock.Now()
		if ttl <= 0 {
			return tx.Delete(replicaSpace, []byte(me.ID))
		}
		me.Seen = now
		if me.ID != "" {
			if err := put(tx, replicaSpace, []byte(me.ID), me); err != nil {
				return err
			}
		}
		all, err := tx.State().Scan(replicaSpace, nil, 1000)
		if err != nil {
			return err
		}
		for _, e := range all {
			var r Replica
			if err := json.Unmarshal(e.Value, &r); err != nil {
				return err
			}
			if r.Seen.Add(ttl).After(now) {
				t.Replicas = append(t.Replicas, r)
			}
		}
		for p := range s.parts {
			r, err := readRow(tx, p)
			if err != nil {
				return err
			}
			t.Parts = append(t.Parts, Part{Part: p, Owner: r.Owner, Epoch: r.Epoch, Left: time.Duration(r.Expires - now.UnixNano())})
		}
		return nil
	}).Wait(ctx)
	if ttl <= 0 {
		s.tell()
	}
	if err != nil {
		return Table{}, err
	}
	return t, nil
}

// Take implements Role.
func (s *State) Take(ctx context.Context, owner string, parts []int, ttl time.Duration) ([]Lease, error) {
	var out []Lease // see Beat
	err := s.store.Submit(store.Small, func(tx store.Tx) error {
		out = nil
		now := s.clock.Now()
		for _, p := range parts {
			r, err := readRow(tx, p)
			if err != nil {
				return err
			}
			if r.Owner != "" && r.Owner != owner && r.Expires > now.UnixNano() && !mutation.On("lease-taken-while-held") {
				continue
			}
			if !mutation.On("lease-epoch-stays") || r.Epoch == 0 {
				r.Epoch++
			}
			r.Owner, r.Expires = owner, now.Add(ttl).UnixNano()
			if err := put(tx, stateSpace, partKey(p), r); err != nil {
				return err
			}
			out = append(out, Lease{Part: p, Epoch: r.Epoch, Owner: owner})
		}
		return nil
	}).Wait(ctx)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Renew implements Role.
func (s *State) Renew(ctx context.Context, leases []Lease, ttl time.Duration) ([]Lease, error) {
	var out []Lease // see Beat
	err := s.store.Submit(store.Small, func(tx store.Tx) error {
		out = nil
		now := s.clock.Now()
		for _, l := range leases {
			r, err := readRow(tx, l.Part)
			if err != nil {
				return err
			}
			if r.Owner != l.Owner || r.Epoch != l.Epoch || r.Expires <= now.UnixNano() && !mutation.On("lease-renewed-after-expiry") {
				continue
			}
			r.Expires = now.Add(ttl).UnixNano()
			if err := put(tx, stateSpace, partKey(l.Part), r); err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	}).Wait(ctx)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Release implements Role.
func (s *State) Release(ctx context.Context, leases []Lease) error {
	err := s.store.Submit(store.Small, func(tx store.Tx) error {
		for _, l := range leases {
			r, err := readRow(tx, l.Part)
			if err != nil {
				return err
			}
			if r.Owner != l.Owner || r.Epoch != l.Epoch {
				continue
			}
			r.Owner, r.Expires = "", 0
			if err := put(tx, stateSpace, partKey(l.Part), r); err != nil {
				return err
			}
		}
		return nil
	}).Wait(ctx)
	s.tell()
	return err
}

// tell tells all replicas that something is free.
func (s *State) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changed {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
