package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/store"
)

// inFillAtOnce is how many write the events of a view at the same time.
const inFillAtOnce = 512

// rebuild measures how fast the rows of a view of -events events, of -keys entities, are built anew beside those that are read, from when that is asked for until they have been
// compared by checksum and are read. A store that has no events yet is filled before. The rows are then held to what the events come to.
func rebuild(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	p, err := planOf(accounts)
	if err != nil {
		return err
	}
	all, x, err := entities(db, 0)
	if err != nil {
		return err
	}
	e, err := view.Open(ctx, p.Views, view.Options{Store: db, Entities: all, Clock: penstock.SystemClock{}})
	if err != nil {
		return err
	}
	defer e.Close()
	had, err := e.State(ctx, "balances")
	if err != nil {
		return err
	}
	if had.Events+had.Lag == 0 {
		// One event each, so that those of an entity are far from each other.
		if _, err := grow(ctx, x, inFillAtOnce, "move", s.events, among(max(s.keys, 1))); err != nil {
			return err
		}
	}
	if err := e.Drain(ctx); err != nil {
		return err
	}
	cpu, began := load.CPU(), time.Now()
	if err := e.Rebuild(ctx, "balances"); err != nil {
		return err
	}
	if err := e.Built(ctx, "balances"); err != nil {
		return err
	}
	took, used := time.Since(began), load.CPU()-cpu
	is, err := e.State(ctx, "balances")
	if err != nil {
		return err
	}
	r.Add("rate", "events/s", float64(is.Events)/took.Seconds())
	r.Add("CPU", "µs an event", float64(used.Microseconds())/float64(is.Events))
	r.Add("rows", "", float64(is.Rows))
	c, err := e.Last("balances")
	if err != nil {
		return err
	}
	if is.Generation == had.Generation || c == nil || c.Differ != 0 || !c.Level || c.Checksum != c.Built {
		return fmt.Errorf("the rows that were built are not those that were read: %+v, %+v", is, c)
	}
	return rowsHold(ctx, e, is)
}

// rowsHold holds rows to what the events come to: each moved an account once, and by 1.
func rowsHold(ctx context.Context, e *view.Engine, is view.State) error {
	rows, err := e.Rows(ctx, "balances")
	if err != nil {
		return err
	}
	var moves, sum int64
	for _, row := range rows {
		var has struct{ Balance, Moves int64 }
		if err := json.Unmarshal(row.Text, &has); err != nil {
			return fmt.Errorf("row %s: %w", row.Key, err)
		}
		moves += has.Moves
		sum += has.Balance
	}
	if int64(len(rows)) != is.Rows || moves != is.Events || sum != amounts(is.Events) {
		return fmt.Errorf("%d rows (%d by their count) have %d moves and %d in sum, of %d events", len(rows), is.Rows, moves, sum, is.Events)
	}
	return nil
}

// amounts is what the amounts of the first n commands come to.
func amounts(n int64) int64 { return n/100*4950 + n%100*(n%100-1)/2 }
