package control

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/socket"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// Place says which store is meant.
type Place struct {
	// Store is the path of the store's file; "": that of the Integration in Project, or the default.
	Store string
	// Project is the configuration that goes with the store. It may be missing, or wrong: then fewer names are known.
	Project Project
}

// Operate makes the operations on a store: over the socket of the process that runs on it, or else directly. A store that is opened
// directly is opened by the first operation that needs it. The caller closes what is returned.
func (s *Service) Operate(ctx context.Context, at Place) (*operate.Operations, error) {
	known := s.Check(at.Project, false)
	path := storePath(known.set, at.Store)
	ops, err := socket.Dial(ctx, path)
	if err == nil || !errors.Is(err, socket.ErrNobody) {
		return ops, err
	}
	st := newStorage(nil, path, nil)
	c := s.direct(st)
	for _, r := range known.set.Of(resource.KindFlow) {
		c.Flows = append(c.Flows, r.Name())
	}
	if known.plan != nil {
		c.Steps, c.Groups = durableSteps(known.plan), groupsOf(known.plan)
		if !known.plan.Durable {
			c.Jobs = c.Flows
		}
	}
	c.Open = func() (store.Store, error) {
		db, err := st.Open()
		return db, unanswered(err)
	}
	ops = operate.Direct(c)
	ops.Closer = st
	return ops, nil
}

// unanswered is the error of a store that could not be opened, after nobody answered on its socket.
func unanswered(err error) error {
	var e *penstock.Error
	if !errors.Is(err, sqlite.ErrLocked) || !errors.As(err, &e) {
		return err
	}
	own := *e
	own.Hint = "that process does not answer on its control socket: it may be starting, ending, or of another user; ask again, or stop it"
	return &own
}

// storePath is where the store of a configuration is.
func storePath(set *resource.Set, given string) string {
	if given != "" {
		return given
	}
	if in := set.Integration(); in != nil && in.Store.Path != "" {
		return in.Store.Path
	}
	return resource.DefaultStore().Path
}

// direct is what direct operations on a store need.
func (s *Service) direct(st *storage) operate.Config {
	return operate.Config{Path: st.path, Open: st.Open, Opened: st.Opened, Clock: s.clock(), Where: s.where, File: storeFile{s.clock()}}
}
