// Package scope says what an expression may speak of: its roots, where each is found
// at run time, and its type (LANGUAGE.md §3, Scope). The compiler builds a Scope per
// step; the checker and both evaluators read it.
package scope

import "penstock.dev/penstock/types"

// Source says where the value of a root is found in a penstock.Frame.
type Source uint8

// The sources.
const (
	Body   Source = iota // Msg.Body, read with the root's type
	Meta                 // Msg.Meta: a map of header name to value, dyn unless Fields declare one
	Key                  // Msg.Key, a string
	Vars                 // Msg.Vars: each of Fields at its slot
	Params               // Runtime.Params: each of Fields at its slot
	Now                  // Frame.Now()
	Slot                 // Msg.Vars[Slot]: a scoped name (forEach's as, index, error, item)
)

// Root is one name at the root of expressions.
type Root struct {
	Name   string
	Source Source
	Slot   int         // of Source Slot
	Type   *types.Type // nil is dyn
	Fields []Field     // of Vars and Params: what is declared
}

// Field is a declared name below vars or params.
type Field struct {
	Name string
	Slot int
	Type *types.Type
	// Maybe says that the value may be absent (a `when` or a branch may have left it out).
	Maybe bool
}

// Scope is the set of roots that are in force at one place.
type Scope struct{ Roots []Root }

// Root finds a root by name.
func (s *Scope) Root(name string) (*Root, bool) {
	for i := range s.Roots {
		if s.Roots[i].Name == name {
			return &s.Roots[i], true
		}
	}
	return nil, false
}

// With returns a copy of s in which r replaces the root of the same name, or is added.
func (s *Scope) With(r Root) *Scope {
	out := &Scope{Roots: append([]Root(nil), s.Roots...)}
	for i := range out.Roots {
		if out.Roots[i].Name == r.Name {
			out.Roots[i] = r
			return out
		}
	}
	out.Roots = append(out.Roots, r)
	return out
}
