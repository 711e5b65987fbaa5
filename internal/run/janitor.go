package run

import (
	"context"
	"strings"
	"time"

	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/store"
)

// janitorEvery is how often a run looks for what its store need not hold any longer. It goes by the time of the machine: a test's
// clock has nothing to do with it.
const janitorEvery = 5 * time.Second

// janitor drops what is out of its retention until ctx ends.
func (r *Runner) janitor(ctx context.Context) {
	t := time.NewTicker(janitorEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := r.tidy(ctx); err != nil && ctx.Err() == nil {
				r.opts.Logger.Warn("the store was not tidied up", "error", err)
			}
		}
	}
}

// tidy drops channels' segments, claims, entries of drivers, known commands and journals that are over.
func (r *Runner) tidy(ctx context.Context) error {
	if _, err := r.hub.Retain(ctx, r.clock.Now()); err != nil {
		return err
	}
	if err := r.tidySpace(ctx, claimSpace); err != nil {
		return err
	}
	if err := r.tidyDrivers(ctx); err != nil {
		return err
	}
	if err := r.tidyCommands(ctx); err != nil {
		return err
	}
	return r.tidyJournal(ctx)
}

// tidyCommands deletes what commands of entities are known by, when its time is over: of the spaces of entities it is the only one where anything runs out.
func (r *Runner) tidyCommands(ctx context.Context) error {
	return r.tidySpaces(ctx, "entity/", func(name string) bool { return strings.Contains(name, "/cause#") })
}

// tidySpaces does so in the spaces whose names begin with prefix, and that is says.
func (r *Runner) tidySpaces(ctx context.Context, prefix string, is func(name string) bool) error {
	var spaces []store.Space
	if err := r.store.View(ctx, func(v store.View) (err error) {
		spaces, err = v.State().Spaces(prefix)
		return err
	}); err != nil {
		return err
	}
	for _, s := range spaces {
		if !strings.HasPrefix(s.Name, prefix) || !is(s.Name) {
			continue
		}
		if err := r.tidySpace(ctx, s.Name); err != nil {
			return err
		}
	}
	return nil
}

// tidySpace deletes the entries of a space whose retention is over: bodies that wait to be claimed, what drivers keep.
func (r *Runner) tidySpace(ctx context.Context, space string) error {
	now := r.clock.Now().UnixNano()
	for {
		var due []store.Entry
		if err := r.store.View(ctx, func(v store.View) (err error) {
			due, err = v.State().Due(space, now, 500)
			return err
		}); err != nil || len(due) == 0 {
			return err
		}
		if err := r.store.Submit(store.Bulk, func(tx store.Tx) error {
			for _, e := range due {
				if err := tx.Delete(space, e.Key); err != nil {
					return err
				}
			}
			return nil
		}).Wait(ctx); err != nil {
			return err
		}
	}
}

// tidyJournal keeps the journal within its bound: the oldest half goes when it is reached.
func (r *Runner) tidyJournal(ctx context.Context) error {
	limit := r.current().Store.Journal
	var b store.Bounds
	if err := r.store.View(ctx, func(v store.View) (err error) {
		b, err = v.Log().Bounds(journal.Channel)
		return err
	}); err != nil || b.Bytes <= limit || b.Segments < 2 {
		return err
	}
	// Positions stand for about the same number of bytes.
	share := float64(b.Bytes-limit*3/4) / float64(b.Bytes)
	before := b.First + int64(float64(b.Next-b.First)*share)
	return r.store.Submit(store.Bulk, func(tx store.Tx) error {
		_, err := tx.Drop(journal.Channel, before)
		return err
	}).Wait(ctx)
}
