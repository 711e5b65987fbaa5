package penstock

import "penstock.dev/penstock/types"

// DataTree is a data tree of a driver's configuration (LANGUAGE.md §2): every key is data,
// every text leaf a template. Decoding fills Tree, compiling Mapping.
type DataTree struct {
	Tree    Tree
	Mapping Mapping     // nil until compiled, and for a tree that was left out
	Type    *types.Type // of what the mapping gives; nil until compiled
}

// IsZero reports whether the field was left out.
func (d DataTree) IsZero() bool { return d.Tree.Kind == TreeNone }
