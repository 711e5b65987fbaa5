package control

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/socket"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// CheckHistory adds to a checked configuration which schemas of events don't go with those that the events in its store were written with. It asks the process that runs
// on the store, or opens it; a store that is not there has no events, and is not made. The error says why the store can't be asked.
func (s *Service) CheckHistory(ctx context.Context, c *Checked) error {
	if c.plan == nil || !c.OK || !c.plan.Durable || len(c.plan.Entities) == 0 {
		return nil
	}
	written, err := s.written(ctx, c)
	if err != nil {
		return err
	}
	found, err := incompatible(c.plan, written)
	if err != nil {
		return err
	}
	c.add(found)
	return nil
}

// add adds findings.
func (c *Checked) add(found *diag.List) {
	c.Errors += found.Len()
	var all diag.List
	for _, f := range c.Findings {
		all.Add(f)
	}
	all.Merge(found)
	c.Findings = all.Sorted()
	c.OK = c.OK && found.Len() == 0
}

// written asks what the events in the store of a configuration were written with.
func (s *Service) written(ctx context.Context, c *Checked) (forms []entity.Form, err error) {
	path := storePath(c.set, "")
	ops, err := socket.Dial(ctx, path)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, ops.Close()) }()
		all, err := ops.Events.Forms(ctx)
		if err != nil {
			return nil, err
		}
		return all.Forms, nil
	case !errors.Is(err, socket.ErrNobody):
		return nil, err
	}
	st := s.storageOf(c, "", path)
	defer func() { err = errors.Join(err, st.Close()) }()
	if st.server == nil {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	db, err := st.Open()
	if err != nil {
		return nil, unanswered(err)
	}
	return formsOf(ctx, db, c.plan)
}

// formsOf lists what the events of a plan's entities were written with.
func formsOf(ctx context.Context, db store.Store, pl *plan.Plan) (out []entity.Form, err error) {
	for _, x := range pl.Entities {
		forms, err := entity.Forms(ctx, db, x.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, forms...)
	}
	return out, nil
}

// incompatible says where a plan's events don't go with those that were written.
func incompatible(pl *plan.Plan, written []entity.Form) (*diag.List, error) {
	all, err := entity.Incompatible(pl.Entities, written)
	if err != nil {
		return nil, err
	}
	found := &diag.List{}
	for _, e := range all {
		found.Errorf(e.Event.Pos, "incompatible-schema", e.Event.Name, e.Hint(), "%v", e)
	}
	return found, nil
}

// compatible refuses a plan whose events don't go with those in the store.
func (x *session) compatible(ctx context.Context, pl *plan.Plan) (*diag.List, error) {
	if !pl.Durable || len(pl.Entities) == 0 {
		return &diag.List{}, nil
	}
	db, err := x.st.Open()
	if err != nil {
		return nil, err
	}
	written, err := formsOf(ctx, db, pl)
	if err != nil {
		return nil, err
	}
	return incompatible(pl, written)
}

// begins refuses to begin with a plan whose events don't go with those in the store.
func (x *session) begins(ctx context.Context, pl *plan.Plan) error {
	found, err := x.compatible(ctx, pl)
	if err != nil || found.Len() == 0 {
		return err
	}
	var all []string
	first := found.Sorted()[0]
	for _, f := range found.Sorted() {
		all = append(all, f.Pos.String()+": "+f.Message)
	}
	return &penstock.Error{Code: penstock.Config, Op: "start", Err: errors.New(strings.Join(all, "; ")), Hint: first.Hint}
}
