package stage

import (
	"context"
	"time"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/keyset"
)

// Dedupe lets the first message of a key pass and drops those that follow within the window. The window begins with the message
// that passed; those that were dropped do not make it longer. The key is stored in the transaction that stores the message which
// passed: there is never one without the other.
//
// The window goes by the time of the messages (Item.At), with a clock that does not go back: see package keyset. A message that is
// late by event time is compared with what is remembered when it comes.
type Dedupe struct {
	window time.Duration
	space  string
	set    *keyset.Set
	keys   []keyset.Key
	added  []bool
}

var _ Machine = (*Dedupe)(nil)

// NewDedupe makes the machine of a dedupe step that keeps its keys in the space.
func NewDedupe(spec *plan.Dedupe, space string) *Dedupe {
	return &Dedupe{window: spec.Window, space: space}
}

// Load opens the set of keys.
func (d *Dedupe) Load(ctx context.Context, s store.Store) (err error) {
	d.set, err = keyset.Open(ctx, s, d.space, keyset.Options{Window: d.window})
	return err
}

// Absorb lets the messages pass whose keys are new.
func (d *Dedupe) Absorb(ctx context.Context, out Output, now time.Time, items []Item) (err error) {
	d.keys = d.keys[:0]
	for i := range items {
		d.keys = append(d.keys, keyset.Key{Hash: keyset.SumString(items[i].Key), At: items[i].At})
	}
	if d.added, err = d.set.Add(ctx, out, now, d.keys, d.added[:0]); err != nil {
		return err
	}
	dropped := 0
	for i, added := range d.added {
		if added {
			out.Emit(items[i].Record)
		} else {
			dropped++
		}
	}
	if dropped > 0 {
		out.Count(Dropped, dropped)
	}
	_, err = d.set.Maintain(ctx, out)
	return err
}

// Due is 0: keys that are out of the window go when others come.
func (d *Dedupe) Due() int64 { return 0 }

// Fire does nothing.
func (d *Dedupe) Fire(context.Context, Output, time.Time) (more bool, err error) { return false, nil }

// End does nothing: keys are remembered beyond the end of the sources.
func (d *Dedupe) End(context.Context, Output, time.Time) (more bool, err error) { return false, nil }
