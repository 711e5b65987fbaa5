package control

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/socket"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// Place says which store is meant.
type Place struct {
	// Store is the path of the store's file; "": that of the Integration in Project, or the default.
	Store string
	// Server is the control port of a process elsewhere, in place of a store; its URL "" is none.
	Server socket.Remote
	// Project is the configuration that goes with the store. It may be missing, or wrong: then fewer names are known.
	Project Project
}

// Operate makes the operations on a store: over the socket of the process that runs on it, or else directly. A store that is opened
// directly is opened by the first operation that needs it. The caller closes what is returned.
func (s *Service) Operate(ctx context.Context, at Place) (*operate.Operations, error) {
	if at.Server.URL != "" {
		return socket.DialPort(at.Server)
	}
	known := s.Check(at.Project, false)
	path := storePath(known.set, at.Store)
	ops, err := socket.Dial(ctx, path)
	if err == nil || !errors.Is(err, socket.ErrNobody) {
		return ops, err
	}
	st := s.storageOf(known, at.Store, path)
	c := s.direct(st)
	c.Shared = s.replicasIn
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
	c.Entities = func() *entity.Runtime {
		if known.plan == nil {
			return nil
		}
		return entity.New(known.plan.Entities, entity.Options{Store: c.Open, Clock: s.clock(), UUID: newUUID, Params: known.plan.Params})
	}
	c.Views = &viewOps{clock: s.clock(), plan: known.plan, open: c.Open, entities: c.Entities}
	if known.plan != nil && len(known.plan.Queues) > 0 {
		c.Queues = jobs.NewService(known.plan.Queues, jobs.Options{Store: c.Open, Clock: c.Clock})
	}
	ops = operate.Direct(c)
	ops.Closer = st
	return ops, nil
}

// storageOf is the store of a configuration, as it is opened directly.
func (s *Service) storageOf(known *Checked, given, path string) *storage {
	in := known.set.Integration()
	if given != "" || in == nil || in.Store.Driver != postgresDriver {
		return newStorage(nil, path, nil)
	}
	st := newStorage(compile.StoreOf(&in.Store), "", nil)
	st.fill = func(ctx context.Context) error {
		if in.Store.Password.IsZero() {
			return nil
		}
		if known.plan == nil {
			return &penstock.Error{Code: penstock.Config, Op: "open the store", Err: errors.New("the configuration has errors, so that the password of the store is not known"), Hint: "penstock check shows them"}
		}
		only := &plan.Plan{SecretProviders: known.plan.SecretProviders}
		for _, use := range known.plan.Secrets {
			if use.Target == in.Store.Password {
				only.Secrets = append(only.Secrets, use)
			}
		}
		st.secrets = s.keeper(nil)
		return st.secrets.Fill(ctx, only)
	}
	return st
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
	return operate.Config{Path: st.where(), OnServer: st.server != nil, Open: st.Open, Opened: st.Opened, Clock: s.clock(), Where: s.where, File: storeFile{s.clock()}}
}
