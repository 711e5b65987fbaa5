package control

import (
	"context"
	"log/slog"
	"sync"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// storage opens a store when it is needed first, and once. It is safe for concurrent use.
type storage struct {
	path    string
	reserve int64 // bytes of the disk that stay free; 0: the store's own
	logger  *slog.Logger

	mu   sync.Mutex
	open *sqlite.DB
}

// newStorage is the store of a plan, or the one at path where that is given.
func newStorage(p *plan.Store, path string, logger *slog.Logger) *storage {
	s := &storage{path: path, logger: logger}
	if p != nil {
		s.reserve = p.Reserve
		if path == "" {
			s.path = p.Path
		}
	}
	return s
}

// Open opens the store where it is not open yet; where there is no file it is made.
func (s *storage) Open() (store.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		return s.open, nil
	}
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: s.path, Reserve: s.reserve, Logger: s.logger})
	if err != nil {
		return nil, err
	}
	s.open = db
	return db, nil
}

// Opened is the store, if it is open; else nil.
func (s *storage) Opened() store.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil
	}
	return s.open
}

// Close closes the store, if it is open.
func (s *storage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil
	}
	db := s.open
	s.open = nil
	return db.Close()
}
