package resource

import "penstock.dev/penstock/internal/diag"

func load(o Options) (*Set, *diag.List) {
	return &Set{fsys: o.FS, byName: map[key]*Resource{}}, &diag.List{}
}

func (s *Set) selects(r *Resource) bool { return true }
