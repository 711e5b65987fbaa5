// Package stage holds the state machines of durable steps: aggregate, dedupe, resequence, delay, throttle, changes and
// sample windows.
//
// A durable step is a stage boundary (ADR 6). A lane reads from a message what the step needs to know of it (an
// [Item]); the flow's committer then gives the items to the step's [Machine] in the order in which they settle. What the
// machine puts and emits goes into the one transaction that settles the items' source messages. What it emits is appended
// to the channel `<flow>/<step>`, and the rest of the flow reads it from there.
//
// So a machine needs no locks, and nothing that it decides is ever undone: a transaction that fails ends the run.
package stage

import (
	"context"
	"time"

	"penstock.dev/penstock/internal/store"
)

// Item is a message at a durable step.
type Item struct {
	Key    string // what `by` or `key` gave; "" where the step has none
	At     int64  // Unix nanoseconds: event time where the flow has `time`, else the engine's
	Due    int64  // Unix nanoseconds: until when a delay holds it
	Number int64  // resequence: its place
	Flag   bool   // aggregate: `when` holds
	Of     string // changes: the extract that it belongs to
	Record []byte // the whole message, see package record; valid during Absorb only
}

// Machine is the state of one durable step. It is not safe for concurrent use: the committer owns it.
type Machine interface {
	// Load reads what earlier runs left. It is called once, before all others.
	Load(ctx context.Context, s store.Store) error
	// Absorb takes items in. An error ends the run; what is wrong with one item is told by Output.Reject.
	Absorb(ctx context.Context, out Output, now time.Time, items []Item) error
	// Due says when Fire has to be called next, in Unix nanoseconds of the engine's clock; 0: not by time.
	Due() int64
	// Fire does what is due at now. At most about a thousand messages are emitted at a time: more says that there are
	// others to come, with another transaction.
	Fire(ctx context.Context, out Output, now time.Time) (more bool, err error)
	// End does what the end of the sources does (atEnd; what is gone from the last extract), in portions, as Fire does. What can
	// still come of itself, by the engine's clock, is left for Fire.
	End(ctx context.Context, out Output, now time.Time) (more bool, err error)
}

// Output is what a machine does with what it was given. Its arguments are copied.
type Output interface {
	// Emit appends a message (package record) to what leaves the step.
	Emit(record []byte)
	// Put and Delete change the step's state: the entries of a space of its own.
	Put(key, value []byte, due int64)
	Delete(key []byte)
	// Reject dead-letters the i-th item of this Absorb.
	Reject(i int, err error)
	// Count counts messages under one of the words of this package: what is dropped, late, completed by the bound.
	Count(what Counted, n int)
}

// Counted is something that a durable step counts.
type Counted string

// What durable steps count.
const (
	Dropped    Counted = "dropped"    // ended here: a duplicate, outside of a sample
	Late       Counted = "late"       // came after its group, or its place, was over
	Groups     Counted = "groups"     // groups completed
	ByBound    Counted = "bound"      // completed or let go because a bound was reached
	Gaps       Counted = "gaps"       // numbers that never came
	Unfinished Counted = "unfinished" // left open by the end of the sources
)
