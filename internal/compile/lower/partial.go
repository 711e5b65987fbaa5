package lower

import (
	"slices"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// partialOf makes a plan's partial of a step's; nil for nil. Branches is of parallel.
func partialOf(s *resource.Step, branches []plan.Sub) *plan.Partial {
	if s.Partial == nil {
		return nil
	}
	p := &plan.Partial{Deadline: s.Partial.Deadline.Std()}
	if a := s.Partial.AtLeast; a != nil {
		p.AtLeast = a.Count
		if len(a.Names) > 0 {
			p.Need = make([]bool, len(branches))
		}
		for i := range p.Need {
			p.Need[i] = slices.ContainsFunc(a.Names, func(n resource.BranchName) bool { return n.Name == branches[i].Name })
		}
	}
	return p
}

// partialType is the type of {ok, failed} beside parallel, where ok is what all of its branches give.
func partialType(p *plan.Partial, branches []plan.Sub, ok *types.Type) *types.Type {
	all := *ok
	all.Fields = append([]types.Field(nil), ok.Fields...)
	failed := &types.Type{Kind: types.Object}
	for i, b := range branches {
		needed := p.Need != nil && p.Need[i]
		if at := slices.IndexFunc(all.Fields, func(f types.Field) bool { return f.Name == b.Name }); at >= 0 {
			all.Fields[at].Required = all.Fields[at].Required && needed
		}
		if !needed {
			failed.Fields = append(failed.Fields, types.Field{Name: b.Name, Type: ErrorType})
		}
	}
	return okFailed(&all, failed)
}

func okFailed(ok, failed *types.Type) *types.Type {
	return &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "ok", Type: ok, Required: true}, {Name: "failed", Type: failed, Required: true}}}
}

// elementFailure is the type of what failed of a forEach: the error, and the number of the element.
var elementFailure = &types.Type{Kind: types.Object, Fields: append([]types.Field{{Name: "index", Type: types.IntType, Required: true}}, ErrorType.Fields...)}
