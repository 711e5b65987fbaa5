package view

import "testing"

// Of several things that a view does the worst is its phase.
func TestPhases(t *testing.T) {
	at := &Stopped{}
	for name, c := range map[string]struct {
		state State
		want  Phase
	}{
		"follows":                        {State{}, Running},
		"changed, and nothing is built":  {State{Changed: true}, Running},
		"is built anew":                  {State{Building: &Built{}}, Rebuilding},
		"is built to be compared":        {State{Building: &Built{Hold: true}}, Rebuilding},
		"was built, and is held":         {State{Building: &Built{Hold: true, Compared: &Compared{}}}, Running},
		"waits":                          {State{Error: "away", Building: &Built{}}, Waiting},
		"waits, what is built stopped":   {State{Error: "away", Building: &Built{Stopped: at}}, Waiting},
		"what is built waits":            {State{Building: &Built{Error: "away"}}, Waiting},
		"stopped":                        {State{Stopped: at, Error: "away"}, Halted},
		"what is built stopped":          {State{Building: &Built{Stopped: at}}, Rebuilding},
		"what is held has stopped since": {State{Building: &Built{Stopped: at, Hold: true, Compared: &Compared{}}}, Rebuilding},
	} {
		if got := c.state.phase(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
