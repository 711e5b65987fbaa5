package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is what tells one plan from another, flow by flow. The lists are in the order of the new plan, Removed in that of the old
// one.
type Difference struct {
	Added     []string `json:"added"`
	Removed   []string `json:"removed"`
	Changed   []Change `json:"changed"`
	Unchanged []string `json:"unchanged"`
}

// Change is a flow that is in both plans and is not the same.
type Change struct {
	Flow string `json:"flow"`
	// What changed, in words: "step lines: complete.idle 2s → 5s".
	What []string `json:"what"`
}

// Empty reports whether both plans have the same flows.
func (c *Difference) Empty() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// Diff compares the flows of two plans by their hashes. A flow without a hash counts as changed.
func Diff(before, after *Plan) *Difference {
	c := &Difference{Added: []string{}, Removed: []string{}, Changed: []Change{}, Unchanged: []string{}}
	for _, f := range after.Flows {
		switch old := before.Flow(f.Name); {
		case old == nil:
			c.Added = append(c.Added, f.Name)
		case old.Hash != "" && old.Hash == f.Hash && before.Durable == after.Durable:
			c.Unchanged = append(c.Unchanged, f.Name)
		default:
			what := differences(old.Facts, f.Facts)
			if before.Durable != after.Durable {
				what = append(what, "the run "+keeps(after.Durable))
			}
			if len(what) == 0 {
				what = append(what, "what it depends on")
			}
			c.Changed = append(c.Changed, Change{f.Name, what})
		}
	}
	for _, f := range before.Flows {
		if after.Flow(f.Name) == nil {
			c.Removed = append(c.Removed, f.Name)
		}
	}
	return c
}

func keeps(state bool) string {
	if state {
		return "keeps state"
	}
	return "keeps no state any more"
}

// maxWords bounds what is said of one flow.
const maxWords = 8

// StepOrder is the Of of the fact that lists a flow's steps.
const StepOrder = "steps"

// KeyOrder ends the Path of the fact that lists the keys of a map, which are in order.
const KeyOrder = ".(keys)"

// differences says what tells two lists of facts apart.
func differences(before, after []Fact) []string {
	old, now := byOwner(before), byOwner(after)
	var words []string
	steps := false // some came or went
	for _, o := range now.order {
		was, there := old.of[o]
		switch {
		case o == StepOrder:
		case !there && o != "":
			words, steps = append(words, o+" added"), true
		default:
			words = append(words, now.of[o].differences(o, was)...)
		}
	}
	for _, o := range old.order {
		if _, there := now.of[o]; !there && o != StepOrder {
			words, steps = append(words, o+" removed"), true
		}
	}
	if a, b := old.of[StepOrder], now.of[StepOrder]; !steps && a != nil && b != nil && a.text[""] != b.text[""] {
		words = append(words, "steps are in another order")
	}
	if n := len(words) - maxWords; n > 0 {
		words = append(words[:maxWords], fmt.Sprintf("and %d more", n))
	}
	return words
}

// owners are facts by what they are of.
type owners struct {
	order []string
	of    map[string]*owner
}

type owner struct {
	paths []string
	text  map[string]string
}

func byOwner(facts []Fact) owners {
	o := owners{of: map[string]*owner{}}
	for _, f := range facts {
		own := o.of[f.Of]
		if own == nil {
			own = &owner{text: map[string]string{}}
			o.of[f.Of] = own
			o.order = append(o.order, f.Of)
		}
		if _, twice := own.text[f.Path]; !twice {
			own.paths = append(own.paths, f.Path)
		}
		own.text[f.Path] = f.Text
	}
	return o
}

func (o *owner) differences(name string, before *owner) (words []string) {
	if before == nil {
		before = &owner{}
	}
	say := func(path, what string) {
		switch {
		case name == "" && path == "":
			words = append(words, what)
		case path == "":
			words = append(words, name+": "+what)
		case name == "":
			words = append(words, path+" "+what)
		default:
			words = append(words, name+": "+path+" "+what)
		}
	}
	for _, p := range o.paths {
		is := o.text[p]
		if strings.HasSuffix(p, KeyOrder) {
			continue
		}
		switch was, there := before.text[p]; {
		case was == is && there:
		case strings.HasPrefix(is, digestMark) && p == "":
			words = append(words, name+" changed")
		case strings.HasPrefix(is, digestMark) || strings.HasPrefix(was, digestMark):
			say(p, "changed")
		case !there:
			say(p, clip(is)+" added")
		default:
			say(p, clip(was)+" → "+clip(is))
		}
	}
	for _, p := range before.paths {
		if !slices.Contains(o.paths, p) && !strings.HasSuffix(p, KeyOrder) {
			say(p, "removed")
		}
	}
	for _, p := range o.paths {
		if path, ok := strings.CutSuffix(p, KeyOrder); ok && len(words) == 0 && before.text[p] != o.text[p] {
			say(path, "has its keys in another order")
		}
	}
	return words
}

// maxClip is how much of a value is shown.
const maxClip = 48

func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxClip {
		s = string(r[:maxClip-1]) + "…"
	}
	if s == "" {
		return `""`
	}
	return s
}
