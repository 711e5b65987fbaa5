package conform

import (
	"errors"
	"sync"

	"penstock.dev/penstock/internal/store"
)

// Twice makes a store that runs every transaction twice: once for nothing, with a Tx that is then undone, and once for good. It
// shows who relies on a transaction running once, which [store.Store] does not promise.
func Twice(s store.Store) store.Store { return &twice{Store: s} }

type twice struct {
	store.Store
	mu sync.Mutex // the two stay together
}

var errTwice = errors.New("the run that does not count")

// Submit implements store.Store.
func (s *twice) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Store.Submit(c, func(tx store.Tx) error {
		_ = f(tx)
		return errTwice
	})
	return s.Store.Submit(c, f)
}
