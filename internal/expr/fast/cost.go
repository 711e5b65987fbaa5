package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
)

// What one call does with all of a large value counts as rounds of loops: else a loop, or two lists of a body, could
// make an evaluation run for hours within its limit. A round is worth about 8 elements that are compared, or 64 bytes
// that a regular expression looks at; small values cost nothing.
const (
	compared = 8
	searched = 64
)

// spend takes n rounds off what the evaluation may still make; false says that there are none left.
func spend(f *penstock.Frame, n int) bool {
	if n <= 0 {
		return true
	}
	f.Cost -= int64(n)
	return f.Cost >= 0
}

// weigh is how many rounds it counts to compare all of v once: 0 for scalars and what is small.
func weigh(v penstock.Value) int {
	switch v.Kind() {
	case penstock.KindNode:
		d, n := v.Node()
		switch d.Kind(n) {
		case jsonview.Array:
			return len(d.Raw(n)) / (4 * compared) // an element has some 4 characters at least
		case jsonview.Object:
			keys := d.Len(n) // each is looked for among all
			return len(d.Raw(n))/(4*compared) + keys*keys/(4*compared)
		}
	case penstock.KindList:
		elems := v.List().Elems
		n := len(elems) / compared
		for _, e := range elems {
			n += weigh(e)
		}
		return n
	case penstock.KindMap:
		entries := v.Map().Entries
		n := len(entries) * len(entries) / (4 * compared)
		for i := range entries {
			n += weigh(entries[i].Value)
		}
		return n
	}
	return 0
}

// counts says that the code spends: the budget is then set although there may be no loop.
func (c *compiler) counts() { c.most = max(c.most, 1) }

// in is ops.In within the budget.
func in(f *penstock.Frame, v, among penstock.Value) penstock.Value {
	if ops.IsList(among) && !spend(f, weigh(among)) {
		return errCost
	}
	return ops.In(v, among)
}

// equal is ops.Equal within the budget; bad is its end.
func equal(f *penstock.Frame, v, w penstock.Value) (same bool, bad penstock.Value) {
	if (ops.IsList(v) || ops.IsMap(v)) && !spend(f, weigh(v)) {
		return false, errCost
	}
	return ops.Equal(v, w), penstock.Absent
}
