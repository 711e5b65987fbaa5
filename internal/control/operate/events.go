package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
)

// Events looks into the histories of entities.
type Events interface {
	// List visits events: those of a key in the order of its versions, else those of each part in the order of commits.
	List(ctx context.Context, q entity.Listing, visit func(*entity.Listed) error) error
	// State is the state of an entity, as it is or as it was. It needs the configuration.
	State(ctx context.Context, q EventState) (*EntityState, error)
	// Verify holds the events of an entity (of all, where none is named) to their chain of hashes. What is found is a result and no error.
	Verify(ctx context.Context, q EventsVerify, progress func(EventsProgress) error) (*EventsVerified, error)
	// Erase makes the personal fields of a subject unreadable, and writes down who did so in the channel #audit.
	Erase(ctx context.Context, q EventsErase) (*entity.Erased, error)
	// Forms lists the schemas that the events in the store were written with, by entity, event and version.
	Forms(ctx context.Context) (*EventForms, error)
}

// EventForms are the schemas that the events of a store were written with.
type EventForms struct {
	Forms []entity.Form `json:"forms"`
}

// EventState says which state is asked for.
type EventState struct {
	Entity  string    `json:"entity"`
	Key     string    `json:"key"`
	Version int64     `json:"version,omitempty"` // 0: the newest
	Time    time.Time `json:"time,omitzero"`     // what had happened by then
}

// EntityState is the state of an entity.
type EntityState struct {
	Entity  string          `json:"entity"`
	Key     string          `json:"key"`
	Version int64           `json:"version"` // 0: nothing had happened
	State   json.RawMessage `json:"state"`
}

// EventsVerify names an entity; "": all that the store has events of.
type EventsVerify struct {
	Entity string `json:"entity"`
}

// EventsProgress is how far a verification has come.
type EventsProgress struct {
	Entity string `json:"entity"`
	Events int64  `json:"events"`
}

// EventsVerified is what was found.
type EventsVerified struct {
	OK       bool               `json:"ok"`
	Entities []*entity.Verified `json:"entities"`
}

// EventsErase names a subject of an entity.
type EventsErase struct {
	Entity  string `json:"entity"`
	Subject string `json:"subject"`
	Who     string `json:"who"` // see [Action]
}

// ErasedVerb is the verb of an entry of #audit that says that a subject was erased. What names the entity; the subject it does not name.
const ErasedVerb Verb = "erase"

// histories finds out which entities are there, and that one is.
func (d *direct) histories(ctx context.Context, name string) (store.Store, []string, error) {
	s, err := d.store()
	if err != nil {
		return nil, nil, err
	}
	all, err := entity.Entities(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if name == "" || slices.Contains(all, name) {
		return s, all, nil
	}
	hint := "the store has no events so far"
	if len(all) > 0 {
		hint = "it has those of " + strings.Join(all, ", ")
	}
	if near := diag.Nearest(name, all); near != "" {
		hint = "did you mean " + near + "?"
	}
	return nil, nil, &penstock.Error{Code: penstock.NotFound, Op: "events", Err: fmt.Errorf("the store has no events of an entity %s", name), Hint: hint}
}

// List implements Events.
func (d *direct) List(ctx context.Context, q entity.Listing, visit func(*entity.Listed) error) error {
	s, all, err := d.histories(ctx, q.Entity)
	if err != nil {
		return err
	}
	if q.Entity != "" {
		all = []string{q.Entity}
	}
	left := q.Limit
	for _, name := range all {
		q.Entity, q.Limit = name, left
		err := entity.List(ctx, s, q, func(e *entity.Listed) error {
			left--
			return visit(e)
		})
		if err != nil || q.Limit > 0 && left <= 0 {
			return err
		}
	}
	return nil
}

// State implements Events.
func (d *direct) State(ctx context.Context, q EventState) (*EntityState, error) {
	if _, err := d.store(); err != nil {
		return nil, err
	}
	var x *entity.Entity
	if d.c.Entities != nil {
		if all := d.c.Entities(); all != nil {
			x = all.Entity(q.Entity)
		}
	}
	if x == nil {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "events", Err: fmt.Errorf("there is no entity %s in the configuration", q.Entity), Hint: "the state is made by the configuration's `apply`: name its folder with -f"}
	}
	state, version, err := x.State(ctx, q.Key, entity.AsOf{Version: q.Version, Time: q.Time})
	if err != nil {
		return nil, err
	}
	return &EntityState{Entity: q.Entity, Key: q.Key, Version: version, State: json.RawMessage(state)}, nil
}

// Forms implements Events.
func (d *direct) Forms(ctx context.Context) (*EventForms, error) {
	s, all, err := d.histories(ctx, "")
	if err != nil {
		return nil, err
	}
	out := &EventForms{Forms: []entity.Form{}}
	for _, name := range all {
		forms, err := entity.Forms(ctx, s, name)
		if err != nil {
			return nil, err
		}
		out.Forms = append(out.Forms, forms...)
	}
	return out, nil
}

// Verify implements Events.
func (d *direct) Verify(ctx context.Context, q EventsVerify, progress func(EventsProgress) error) (*EventsVerified, error) {
	s, all, err := d.histories(ctx, q.Entity)
	if err != nil {
		return nil, err
	}
	if q.Entity != "" {
		all = []string{q.Entity}
	}
	out := &EventsVerified{OK: true, Entities: []*entity.Verified{}}
	for _, name := range all {
		v, err := entity.Verify(ctx, s, name, func(n int64) error {
			if progress == nil {
				return nil
			}
			return progress(EventsProgress{name, n})
		})
		if err != nil {
			return nil, err
		}
		out.OK = out.OK && len(v.Broken) == 0
		out.Entities = append(out.Entities, v)
	}
	return out, nil
}

// Erase implements Events.
func (d *direct) Erase(ctx context.Context, q EventsErase) (*entity.Erased, error) {
	if q.Subject == "" {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "erase", Err: errors.New("no subject is named")}
	}
	s, _, err := d.histories(ctx, q.Entity)
	if err != nil {
		return nil, err
	}
	over, err := d.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer over()
	audit := Audited{Time: d.c.Clock.Now().UTC(), Verb: ErasedVerb, Who: q.Who, Count: 1, What: q.Entity}
	return entity.Erase(ctx, s, q.Entity, q.Subject, q.Who, d.c.Clock, audit.write)
}
