package control

import (
	"context"
	"fmt"
	"strings"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
)

// CheckOnline adds to a checked configuration what only others know: whether the schemas that its messages are written with are compatible with those that their
// registries have under the same subjects, and what [Service.CheckHistory] finds. A registry that can't be asked is an error, too. It changes nothing there. The error is about the configuration's secrets, or
// ctx.
func (s *Service) CheckOnline(ctx context.Context, c *Checked) error {
	if c.plan == nil || !c.OK {
		return nil
	}
	keeper := s.keeper(nil)
	defer func() { _ = keeper.Close() }()
	if err := keeper.Fill(ctx, c.plan); err != nil {
		return err
	}
	var found diag.List
	type asked struct{ subject, text string }
	seen := map[asked]bool{}
	for _, p := range c.plan.Published {
		key := asked{p.Subject, string(p.Schema.Text)}
		if seen[key] {
			continue
		}
		seen[key] = true
		s.compatible(ctx, p, keeper.Redact, &found)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := s.CheckHistory(ctx, c); err != nil {
		return err
	}
	c.add(&found)
	return nil
}

// compatible asks about one schema.
func (s *Service) compatible(ctx context.Context, p plan.Published, redact func(string) string, found *diag.List) {
	why, err := p.Registry.Compatible(ctx, p.Subject, p.Schema)
	switch {
	case err != nil:
		found.Errorf(p.Pos, "unreachable-registry", p.Subject, "look whether the registry can be reached, or leave --online out", "%s", redact(fmt.Sprintf("the registry can't say whether the schema is compatible: %v", err)))
	case len(why) > 0:
		found.Errorf(p.Pos, "incompatible-schema", p.Subject, "readers with the schemas before it could not read what is written; change it, or the rules of the subject",
			"the schema is not compatible with subject %s: %s", p.Subject, redact(strings.Join(why, "; ")))
	}
}
