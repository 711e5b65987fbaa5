package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// What is done with remains, as it is written down.
const (
	StepDropped Verb = "store drop"
	StepRenamed Verb = "store rename"
	Forgotten   Verb = "store forget"
)

// What stands for a step while it is dropped or renamed, before what it is keyed by: a run that finds it refuses to start with half of
// a state.
const (
	halfDropped = "half dropped: "
	halfRenamed = "half renamed from "
)

// A transaction moves as much.
const (
	moveEntries = 500
	moveBytes   = 1 << 20
)

// DropStep implements [Remains].
func (d *direct) DropStep(ctx context.Context, r StepDrop) (*StepMoved, error) {
	over, err := d.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer over()
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	m := &mover{d: d, s: s, op: string(StepDropped), out: &StepMoved{Step: r.Step}}
	if err := m.free(r.Step); err != nil {
		return nil, err
	}
	keyed, err := m.known(ctx, r.Step)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(keyed, halfDropped) {
		if err := m.mark(r.Step, halfDropped+keyed); err != nil {
			return nil, err
		}
	}
	if err := m.all(ctx, r.Step, ""); err != nil {
		return nil, err
	}
	return m.out, m.do(func(tx store.Tx) error {
		return errors.Join(m.forget(tx, r.Step), (&Audited{Time: d.c.Clock.Now().UTC(), Verb: StepDropped, Who: r.Who, What: r.Step, Count: m.out.Messages}).write(tx))
	})
}

// RenameStep implements [Remains].
func (d *direct) RenameStep(ctx context.Context, r StepRename) (*StepMoved, error) {
	over, err := d.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer over()
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	m := &mover{d: d, s: s, op: string(StepRenamed), out: &StepMoved{Step: r.Step, To: r.To}}
	if flow, step, ok := strings.Cut(r.To, "/"); !ok || flow == "" || step == "" || r.To == r.Step {
		return nil, m.fail(penstock.Invalid, fmt.Errorf("%q is no new name for it", r.To), "write it as <flow>/<step>")
	}
	if err := errors.Join(m.free(r.Step), m.free(r.To)); err != nil {
		return nil, err
	}
	keyed, err := m.known(ctx, r.Step)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(keyed, halfDropped) || strings.HasPrefix(keyed, halfRenamed) {
		return nil, m.fail(penstock.Conflict, fmt.Errorf("%s is %s", r.Step, keyed), "repeat that command first")
	}
	if err := m.s.View(ctx, func(v store.View) error {
		all, err := channel.Cursors(v, r.Step)
		if slices.ContainsFunc(all, func(c channel.Cursor) bool { return c.Given > 0 }) {
			err = m.fail(penstock.Conflict, fmt.Errorf("messages behind %s were given back, to be tried later", r.Step), "run the flow as it was until they are done")
		}
		return err
	}); err != nil {
		return nil, err
	}
	mark := halfRenamed + r.Step + ": " + keyed
	now, err := m.target(ctx, r.To, mark)
	if err != nil {
		return nil, err
	}
	if now != mark {
		if err := m.mark(r.To, mark); err != nil {
			return nil, err
		}
	}
	if err := m.all(ctx, r.Step, r.To); err != nil {
		return nil, err
	}
	return m.out, m.do(func(tx store.Tx) error {
		return errors.Join(m.forget(tx, r.Step), tx.Put(run.StepSpace, store.Entry{Key: []byte(r.To), Value: []byte(keyed)}),
			(&Audited{Time: d.c.Clock.Now().UTC(), Verb: StepRenamed, Who: r.Who, What: r.Step, To: r.To, Count: m.out.Messages}).write(tx))
	})
}

// mover drops or renames what a step has left, in transactions each of which leaves less.
type mover struct {
	d   *direct
	s   store.Store
	op  string
	out *StepMoved
}

func (m *mover) fail(code penstock.Code, err error, hint string) error {
	return &penstock.Error{Code: code, Op: m.op, Err: err, Hint: hint}
}

// do runs a transaction. Who asked may go away: that must not leave open how it ended, and it takes milliseconds.
func (m *mover) do(f func(store.Tx) error) error {
	c := m.s.Submit(store.Bulk, f)
	<-c.Done()
	return c.Err()
}

// free refuses a step that runs.
func (m *mover) free(step string) error {
	if m.d.c.Process == nil || !slices.Contains(m.d.names().Steps, step) {
		return nil
	}
	return m.fail(penstock.Conflict, fmt.Errorf("the process that runs has the step %s", step), "stop it first: penstock drain")
}

// known finds what a step is keyed by.
func (m *mover) known(ctx context.Context, step string) (keyed string, err error) {
	var there bool
	var names []string
	err = m.s.View(ctx, func(v store.View) error {
		return eachEntry(v, run.StepSpace, func(e store.Entry) error {
			if names = append(names, string(e.Key)); string(e.Key) == step {
				keyed, there = string(e.Value), true
			}
			return nil
		})
	})
	if err != nil || there {
		return keyed, err
	}
	hint := "`penstock store info` shows the durable steps of a store"
	if near := diag.Nearest(step, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return "", m.fail(penstock.NotFound, fmt.Errorf("the store knows no durable step %s", step), hint)
}

// target refuses a step that has something already, unless it came from an earlier try. It returns what the step is keyed by.
func (m *mover) target(ctx context.Context, to, mark string) (keyed string, err error) {
	err = m.s.View(ctx, func(v store.View) error {
		e, _, err := v.State().Get(run.StepSpace, []byte(to))
		if keyed = string(e.Value); err != nil || keyed == mark {
			return err
		}
		some, err := v.State().Scan(to, nil, 1)
		if err != nil {
			return err
		}
		n, err := waiting(v, to)
		if err != nil {
			return err
		}
		if len(some) > 0 || n > 0 {
			return m.fail(penstock.Conflict, fmt.Errorf("the step %s has state, or messages on their way, of its own", to), "`penstock store drop "+to+"` gives them up")
		}
		return nil
	})
	return keyed, err
}

func (m *mover) mark(step, text string) error {
	return m.do(func(tx store.Tx) error {
		return tx.Put(run.StepSpace, store.Entry{Key: []byte(step), Value: []byte(text)})
	})
}

// all moves everything of a step; to is "" where it is given up.
func (m *mover) all(ctx context.Context, step, to string) error {
	for _, move := range []func(step, to string) (bool, error){m.entries, m.messages} {
		for more := true; more; {
			if ctx.Err() != nil {
				return m.fail(penstock.Cancelled, context.Cause(ctx), "the same command goes on with the rest")
			}
			var err error
			if more, err = move(step, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries moves a portion of the state.
func (m *mover) entries(step, to string) (more bool, err error) {
	n := 0
	err = m.do(func(tx store.Tx) error {
		n = 0 // it may run more than once
		page, err := tx.State().Scan(step, nil, moveEntries)
		if err != nil {
			return err
		}
		size := 0
		for _, e := range page {
			if to != "" {
				if err := tx.Put(to, e); err != nil {
					return err
				}
			}
			if err := tx.Delete(step, e.Key); err != nil {
				return err
			}
			n++
			if size += len(e.Value); size > moveBytes {
				break
			}
		}
		return nil
	})
	if err == nil {
		m.out.Entries += int64(n)
	}
	return n > 0, err
}

// messages moves the oldest segments: what is not done of them. A message has another position afterwards.
func (m *mover) messages(step, to string) (more bool, err error) {
	n := 0
	err = m.do(func(tx store.Tx) error {
		n, more = 0, false // it may run more than once
		b, err := tx.Log().Bounds(step)
		if err != nil {
			return err
		}
		g, err := groupOf(tx, b, step)
		if err != nil {
			return err
		}
		segs, err := tx.Log().Segments(step, b.First, moveBytes)
		if err != nil || len(segs) == 0 {
			return err
		}
		for _, seg := range segs {
			kept := store.Bundle{MinTime: seg.MinTime, MaxTime: seg.MaxTime}
			err := frames(seg, seg.Base, func(pos int64, rec []byte) (bool, error) {
				if g.has(pos) {
					kept.N++
					kept.Data = store.AppendFrame(kept.Data, rec)
				}
				return true, nil
			})
			if err != nil {
				return err
			}
			n += kept.N
			if to == "" || kept.N == 0 {
				continue
			}
			if _, err := tx.Append(to, kept); err != nil {
				return err
			}
		}
		more = true
		_, err = tx.Drop(step, segs[len(segs)-1].End())
		return err
	})
	if err == nil {
		m.out.Messages += int64(n)
	}
	return more && err == nil, err
}

// forget removes what is known of a step that has nothing any more.
func (m *mover) forget(tx store.Tx, step string) error {
	return errors.Join(tx.Clear(groupSpace(step)), tx.Clear(backSpace(step)), tx.Delete(run.StepSpace, []byte(step)))
}
