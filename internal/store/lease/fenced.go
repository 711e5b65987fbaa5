package lease

import (
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Fence is what the transactions of a shared store can do: Holds locks the row of the part until the transaction ends, and says whether
// its owner and epoch are these. Once it has said yes nobody can take the part before the transaction is over.
type Fence interface {
	Holds(part int, owner string, epoch int64) (bool, error)
}

// Fenced is s for who drives with l: a transaction of it fails with [ErrLost], and writes nothing, where l does not hold. Reading is not
// fenced. A lease without an owner is that of a store which nobody shares: then s is returned as it is.
func Fenced(s store.Store, l Lease) store.Store {
	if l.Owner == "" {
		return s
	}
	return &fenced{s, l}
}

// fenced is a store whose transactions test a lease.
type fenced struct {
	store.Store
	l Lease
}

// Submit implements store.Store.
func (s *fenced) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	return s.Store.Submit(c, func(tx store.Tx) error {
		if err := s.l.check(tx); err != nil {
			return err
		}
		return f(tx)
	})
}

// check tests that the lease holds, in a transaction. It is the first thing that the transaction does: the row of the part is locked from
// then on, so that what holds then holds at the commit.
func (l Lease) check(tx store.Tx) error {
	if mutation.On("lease-no-fence") {
		return nil
	}
	fence, ok := tx.(Fence)
	if !ok {
		fence = stateFence{tx}
	}
	holds, err := fence.Holds(l.Part, l.Owner, l.Epoch)
	if err == nil && !holds {
		err = l.Lost()
	}
	return err
}
