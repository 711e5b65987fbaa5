package operate

import (
	"context"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/store"
)

// Views looks after read models.
type Views interface {
	// States says how they stand.
	States(ctx context.Context) (*ViewList, error)
	// Act builds the rows of a view anew, compares them, or has one go on that has stopped. progress is told how it stands, every so
	// often; it may be nil.
	Act(ctx context.Context, a ViewAction, progress func(ViewState) error) (*ViewActed, error)
}

// ViewState is how a view stands.
type ViewState = view.State

// ViewList is how all views stand.
type ViewList struct {
	Views []ViewState `json:"views"`
}

// The verbs of a [ViewAction].
const (
	ViewRebuild = "rebuild" // builds the rows anew beside those that are there, and switches to them
	ViewDiff    = "diff"    // … compares them, and leaves them beside
	ViewRetry   = "retry"   // has a view that has stopped try the event again
	ViewSkip    = "skip"    // … leave it out
)

// ViewAction is what is to be done with a view.
type ViewAction struct {
	Verb string `json:"verb"`
	View string `json:"view"`
	List int    `json:"list,omitempty"` // how many rows that differ are listed
	Who  string `json:"who,omitempty"`  // see [Action]
}

// ViewActed is what was done.
type ViewActed struct {
	View     ViewState      `json:"view"`               // as it stands now
	Compared *view.Compared `json:"compared,omitempty"` // of diff, and of rebuild
	Skipped  *view.Stopped  `json:"skipped,omitempty"`  // the event that is left out
}

// noViews is what stands for views where there are none.
type noViews struct{}

func viewsOf(d *direct) Views {
	if d.c.Views == nil {
		return noViews{}
	}
	return &notedViews{Views: d.c.Views, d: d}
}

// States implements [Views].
func (noViews) States(context.Context) (*ViewList, error) {
	return &ViewList{Views: []ViewState{}}, nil
}

// Act implements [Views].
func (noViews) Act(_ context.Context, a ViewAction, _ func(ViewState) error) (*ViewActed, error) {
	return nil, &penstock.Error{Code: penstock.NotFound, Op: "view", Path: a.View, Err: errors.New("the configuration has no views"), Hint: "name the folder of a configuration that has it"}
}

// notedViews writes down who did what.
type notedViews struct {
	Views
	d *direct
}

// Act implements [Views].
func (n *notedViews) Act(ctx context.Context, a ViewAction, progress func(ViewState) error) (*ViewActed, error) {
	out, err := n.Views.Act(ctx, a, progress)
	if err != nil || a.Verb == ViewDiff {
		return out, err
	}
	st, err := n.d.store()
	if err != nil {
		return nil, err
	}
	entry := Audited{Time: n.d.c.Clock.Now(), Verb: Verb("view " + a.Verb), Who: a.Who, What: a.View}
	if s := out.Skipped; s != nil {
		entry.IDs = []string{fmt.Sprintf("part %d, position %d", s.Part, s.Position)}
	}
	if err := st.Submit(store.Small, entry.write).Wait(ctx); err != nil {
		return nil, err
	}
	return out, nil
}
