package step

import (
	"slices"
	"strconv"

	"penstock.dev/penstock/jsonview"
)

// changeKind is what happens at a path.
type changeKind uint8

const (
	put changeKind = iota
	drop
	mask
)

// editNode is one place in the tree of the paths that a step edits together. A tree is compiled once and shared;
// only its hints change, and they may.
type editNode struct {
	step PathStep
	hint jsonview.Hint
	leaf int        // the index of the change at this place; −1: the changes are further down
	kids []editNode // names in the order of the paths, then indexes in ascending order
	each *editNode  // for what no kid names
}

// editPass is a tree, and where its changes lie in the list of the step's edits.
type editPass struct {
	root  editNode
	edits []int // edits[leaf] is the index of the edit
}

// compilePasses sorts the paths of a step into as few trees as possible. Edits are written in their order: one that
// overlaps an earlier one (the same path, or one inside the other) goes into a later pass.
func compilePasses(paths [][]PathStep) []editPass {
	var passes []editPass
	var inPass [][][]PathStep
	for i, p := range paths {
		last := len(passes) - 1
		if last < 0 || slices.ContainsFunc(inPass[last], func(q []PathStep) bool { return overlap(p, q) }) {
			passes = append(passes, editPass{root: editNode{leaf: -1}})
			inPass = append(inPass, nil)
			last++
		}
		pass := &passes[last]
		inPass[last] = append(inPass[last], p)
		pass.root.insert(p, len(pass.edits))
		pass.edits = append(pass.edits, i)
	}
	for i := range passes {
		passes[i].root.order()
	}
	return passes
}

// overlap reports whether one path is the other, or leads to it.
func overlap(p, q []PathStep) bool {
	n := min(len(p), len(q))
	return slices.Equal(p[:n], q[:n])
}

func isEach(s PathStep) bool { return s.Name == "" && s.Index == Each }

func (n *editNode) insert(path []PathStep, leaf int) {
	for _, s := range path {
		n = n.kid(s)
	}
	n.leaf = leaf
}

func (n *editNode) kid(s PathStep) *editNode {
	if isEach(s) {
		if n.each == nil {
			n.each = &editNode{step: s, leaf: -1}
		}
		return n.each
	}
	for i := range n.kids {
		if n.kids[i].step == s {
			return &n.kids[i]
		}
	}
	n.kids = append(n.kids, editNode{step: s, leaf: -1})
	return &n.kids[len(n.kids)-1]
}

// order puts the kids into the order that editNode promises.
func (n *editNode) order() {
	slices.SortStableFunc(n.kids, func(a, b editNode) int {
		switch {
		case a.step.Name != "" && b.step.Name != "":
			return 0
		case a.step.Name != "":
			return -1
		case b.step.Name != "":
			return 1
		}
		return a.step.Index - b.step.Index
	})
	for i := range n.kids {
		n.kids[i].order()
	}
	if n.each != nil {
		n.each.order()
	}
}

// appendPath writes steps as they are written in the language.
func appendPath(dst []byte, steps []PathStep) []byte {
	for _, s := range steps {
		switch {
		case isEach(s):
			dst = append(dst, "[*]"...)
		case s.Name == "":
			dst = append(dst, '[')
			dst = strconv.AppendInt(dst, int64(s.Index), 10)
			dst = append(dst, ']')
		case plainName(s.Name):
			dst = append(dst, '.')
			dst = append(dst, s.Name...)
		default:
			dst = append(dst, '[')
			dst = strconv.AppendQuote(dst, s.Name)
			dst = append(dst, ']')
		}
	}
	return dst
}

// plainName reports whether a name can stand after a point.
func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
