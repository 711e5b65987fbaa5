package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Forget implements [Remains].
func (d *direct) Forget(ctx context.Context, r GroupForget) (*GroupForgotten, error) {
	over, err := d.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer over()
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	fail := func(code penstock.Code, hint, format string, args ...any) (*GroupForgotten, error) {
		return nil, &penstock.Error{Code: code, Op: string(Forgotten), Err: fmt.Errorf(format, args...), Hint: hint}
	}
	var groups []channel.Cursor
	if err := s.View(ctx, func(v store.View) (err error) {
		groups, err = channel.Cursors(v, r.Channel)
		return err
	}); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(groups, func(c channel.Cursor) bool { return c.Group == r.Group })
	if _, dead := deadFlow(r.Channel); dead && r.Group == deadGroup {
		return fail(penstock.Invalid, "`penstock dlq drop` gives dead letters up", "%s says which dead letters were dealt with, and is not forgotten", r.Group)
	}
	if strings.Contains(r.Channel, "/") {
		return fail(penstock.Invalid, "`penstock store drop "+r.Channel+"` gives up what a step has left", "%s is what lies behind a durable step", r.Channel)
	}
	if Reads(d.names().Groups[r.Channel], r.Group) {
		hint := "take the flow out of the configuration first; or `penstock run --from` has it begin elsewhere"
		if d.c.Process != nil {
			hint = "stop the process first (penstock drain), and take the flow out of the configuration"
		}
		return fail(penstock.Conflict, hint, "a flow reads %s as %s", r.Channel, r.Group)
	}
	if i < 0 {
		var names []string
		for _, g := range groups {
			names = append(names, g.Group)
		}
		hint := "`penstock store info` shows the groups of each channel"
		if near := diag.Nearest(r.Group, names); near != "" {
			hint = "did you mean " + near + "?"
		}
		return fail(penstock.NotFound, hint, "the channel %s has no group %s", r.Channel, r.Group)
	}
	if err := d.forget(ctx, s, r); err != nil {
		return nil, err
	}
	return &GroupForgotten{Channel: r.Channel, Group: r.Group, Lag: groups[i].Left + groups[i].Given}, nil
}

// forget removes a group, and writes down that it did so.
func (d *direct) forget(ctx context.Context, s store.Store, r GroupForget) error {
	audit := Audited{Time: d.c.Clock.Now().UTC(), Verb: Forgotten, Who: r.Who, What: r.Channel + " " + r.Group}
	err := channel.NewHub(s, d.c.Clock, channel.Options{}).Forget(ctx, r.Channel, r.Group)
	if err != nil {
		return err
	}
	c := s.Submit(store.Small, audit.write)
	<-c.Done()
	return c.Err()
}

// Reads reports whether a group is one of those that read a channel. Generations of a view are groups of their own: view/<name>@<number>.
func Reads(groups []string, group string) bool {
	if slices.Contains(groups, group) {
		return true
	}
	name, _, found := strings.Cut(group, "@")
	return found && strings.HasPrefix(name, "view/") && slices.Contains(groups, name+"@0")
}
