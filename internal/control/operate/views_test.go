package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity/view"
)

// acting is views of which one has stopped.
type acting struct{ fails bool }

func (acting) States(context.Context) (*operate.ViewList, error) { return &operate.ViewList{}, nil }

func (v acting) Act(_ context.Context, a operate.ViewAction, _ func(operate.ViewState) error) (*operate.ViewActed, error) {
	if v.fails {
		return nil, errors.New("no")
	}
	out := &operate.ViewActed{}
	if a.Verb == operate.ViewSkip {
		out.Skipped = &view.Stopped{Part: 3, Position: 17}
	}
	return out, nil
}

// TestWhoActsOnViewsIsWrittenDown: but not who only compares, nor what was not done.
func TestWhoActsOnViewsIsWrittenDown(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		verb  string
		fails bool
		ids   []string
	}{
		{operate.ViewSkip, false, []string{"part 3, position 17"}},
		{operate.ViewRebuild, false, nil},
		{operate.ViewRetry, true, nil},
		{operate.ViewDiff, false, nil},
	} {
		before := len(w.bodies("#audit"))
		w.conf.Views = acting{c.fails}
		_, err := w.again().Views.Act(t.Context(), operate.ViewAction{Verb: c.verb, View: "balances", Who: "ann"}, nil)
		if (err != nil) != c.fails {
			t.Fatal(err)
		}
		noted := w.bodies("#audit")[before:]
		if c.fails || c.verb == operate.ViewDiff {
			if len(noted) != 0 {
				t.Errorf("%s: %s is noted", c.verb, noted)
			}
			continue
		}
		var a operate.Audited
		if len(noted) != 1 || json.Unmarshal([]byte(noted[0]), &a) != nil {
			t.Fatalf("%s: noted is %q", c.verb, noted)
		}
		if string(a.Verb) != "view "+c.verb || a.Who != "ann" || a.What != "balances" || len(a.IDs) != len(c.ids) || len(c.ids) > 0 && a.IDs[0] != c.ids[0] {
			t.Errorf("%s: %+v", c.verb, a)
		}
	}
}
