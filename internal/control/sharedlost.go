package control

import (
	"context"
	"errors"

	"penstock.dev/penstock/internal/store"
)

// lostBy says whether what failed with err did so because of the store. One that was away for a moment may answer by now: ending the program then would make
// what a server that is started again does to it a matter of luck.
func (s *shared) lostBy(db store.Store, err error) bool {
	return errors.Is(err, store.ErrAway) || s.reaches(db) != nil
}

// lose ends what runs on the store, and opens it again.
func (s *shared) lose() {
	s.gone.Store(true)
	select {
	case s.broken <- struct{}{}:
	default:
	}
}

// give ends the process with an error.
func (s *shared) give(err error) {
	select {
	case s.fatal <- err:
	default:
	}
}

// reaches says whether the store can be used.
func (s *shared) reaches(db store.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.x.lease())
	defer cancel()
	return db.View(ctx, func(store.View) error { return nil })
}
