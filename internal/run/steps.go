package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// StepSpace is where a store knows its durable steps: what the state of each depends on, by `<flow>/<step>`.
const StepSpace = stepSpace

// keyed is what the state of a durable step depends on.
func (s *stageNode) keyed() string {
	switch op := s.node.Op.(type) {
	case *plan.Group:
		return op.Keyed
	case *plan.Stage:
		return op.Keyed
	}
	return ""
}

// checkSteps holds the durable steps of the plan against those that the store knows. One that was renamed, or that is keyed
// otherwise, and has left something behind, is refused: it would be orphaned silently.
func (r *Runner) checkSteps(ctx context.Context, st store.Store, all []*flow, names []string) error {
	now := map[string]*stageNode{}
	flows := map[string]bool{}
	for _, f := range all {
		flows[f.plan.Name] = true
		for _, s := range f.stages {
			now[s.space] = s
		}
	}
	for _, name := range names {
		if !flows[name] {
			flows[name] = false // known, and not part of this run
		}
	}
	var errs []error
	var gone []string
	known := map[string]string{}
	err := st.View(ctx, func(v store.View) error {
		entries, err := scanAll(v, stepSpace)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name, keyed := string(e.Key), string(e.Value)
			known[name] = keyed
			flow, _, _ := strings.Cut(name, "/")
			if run, there := flows[flow]; there && !run {
				continue
			}
			s := now[name]
			if s != nil && s.keyed() == keyed {
				continue
			}
			left, err := leftBehind(v, name)
			if err != nil {
				return err
			}
			switch {
			case left == "" && s == nil:
				gone = append(gone, name)
			case left == "":
			case s == nil:
				errs = append(errs, orphan(name, left))
			default:
				errs = append(errs, &penstock.Error{Code: penstock.Config, Op: "start " + name, Path: s.node.Pos.String(),
					Err:  fmt.Errorf("the step has left %s, kept as %q, and is now %q", left, keyed, s.keyed()),
					Hint: "give the step another name, or take back the change; `penstock store drop " + name + "` gives up what it has left"})
			}
		}
		return nil
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return err
	}
	return r.registerSteps(ctx, st, now, known, gone)
}

func orphan(name, left string) error {
	return &penstock.Error{Code: penstock.Config, Op: "start " + name,
		Err:  fmt.Errorf("the store holds %s of the step %s, and there is no such step any more", left, name),
		Hint: "`penstock store rename " + name + " <flow>/<step>` gives it to the step's new name, `penstock store drop " + name + "` gives it up"}
}

// registerSteps notes what is new.
func (r *Runner) registerSteps(ctx context.Context, st store.Store, now map[string]*stageNode, known map[string]string, gone []string) error {
	changed := len(gone) > 0
	for name, s := range now {
		keyed, there := known[name]
		changed = changed || !there || keyed != s.keyed()
	}
	if !changed {
		return nil
	}
	return st.Submit(store.Small, func(tx store.Tx) error {
		for _, name := range gone {
			if err := tx.Delete(stepSpace, []byte(name)); err != nil {
				return err
			}
		}
		for name, s := range now {
			if err := tx.Put(stepSpace, store.Entry{Key: []byte(name), Value: []byte(s.keyed())}); err != nil {
				return err
			}
		}
		return nil
	}).Wait(ctx)
}

// leftBehind says what a step has left: "" is nothing.
func leftBehind(v store.View, name string) (string, error) {
	var parts []string
	some, err := v.State().Scan(name, nil, 1)
	if err != nil {
		return "", err
	}
	if len(some) > 0 {
		parts = append(parts, "state")
	}
	cursors, err := channel.Cursors(v, name)
	if err != nil {
		return "", err
	}
	var left int64
	for _, c := range cursors {
		left += c.Left
	}
	if len(cursors) == 0 {
		b, err := v.Log().Bounds(name)
		if err != nil {
			return "", err
		}
		left = b.Next - b.First
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d messages on their way", left))
	}
	return strings.Join(parts, " and "), nil
}

// scanAll reads a space that is small.
func scanAll(v store.View, space string) ([]store.Entry, error) {
	var all []store.Entry
	var after []byte
	for {
		page, err := v.State().Scan(space, after, 500)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < 500 {
			return all, nil
		}
		after = page[len(page)-1].Key
	}
}
