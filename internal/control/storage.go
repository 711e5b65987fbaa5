package control

import (
	"context"
	"log/slog"
	"net/url"
	"sync"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/secrets"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
)

// storage opens a store when it is needed first, and once. It is safe for concurrent use.
type storage struct {
	path    string
	reserve int64 // bytes of the disk that stay free; 0: the store's own
	logger  *slog.Logger

	other func() (store.Store, error) // opens one of another driver; nil: there is none

	mu   sync.Mutex
	open store.Store

	server  *plan.Store                 // a store on a server; nil: a file
	fill    func(context.Context) error // sees to the secrets of server; nil: they are there
	secrets *secrets.Keeper             // what fill has opened
}

// newStorage is the store of a plan, or the one at path where that is given.
func newStorage(p *plan.Store, path string, logger *slog.Logger) *storage {
	s := &storage{path: path, logger: logger}
	if p != nil {
		s.reserve = p.Reserve
		if path == "" {
			s.path = p.Path
			if p.Driver == postgresDriver {
				s.server = p
			}
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
	if s.other != nil {
		db, err := s.other()
		s.open = db
		return db, err
	}
	if s.server != nil {
		db, err := s.openServer(context.Background())
		if err != nil {
			return nil, err
		}
		s.open = db
		return db, nil
	}
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: s.path, Reserve: s.reserve, Logger: s.logger})
	if err != nil {
		return nil, err
	}
	s.open = db
	return db, nil
}

// where names the store.
func (s *storage) where() string {
	if s.server == nil {
		return s.path
	}
	if u, err := url.Parse(s.server.URL); err == nil {
		return u.Scheme + "://" + u.Host + u.Path + " (schema " + s.server.Schema + ")"
	}
	return s.server.Driver
}

// postgresDriver is the driver of stores that replicas share.
const postgresDriver = "postgres"

// openServer connects to the server.
func (s *storage) openServer(ctx context.Context) (*postgres.DB, error) {
	if s.fill != nil {
		if err := s.fill(ctx); err != nil {
			return nil, err
		}
	}
	p := s.server
	o := postgres.Options{Connection: p.URL, Schema: p.Schema, Lease: p.Lease, Volatile: p.Volatile, Logger: s.logger}
	if !p.Password.IsZero() {
		o.Password = p.Password.Reveal
	}
	return postgres.Open(ctx, o)
}

// Opened is the store, if it is open; else nil.
func (s *storage) Opened() store.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Close closes the store, if it is open.
func (s *storage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets != nil {
		_ = s.secrets.Close()
		s.secrets = nil
	}
	if s.open == nil {
		return nil
	}
	err := s.open.Close()
	s.open = nil
	return err
}
