package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// relation is <, <=, > or >=.
func relation(r ops.Relation, a, b code) code {
	x := code{typ: types.BoolType}
	switch {
	case a.raw != nil && b.con && isNumber(b.val):
		x.eval = numberAgainst(r, a, b.val)
	case b.raw != nil && a.con && isNumber(a.val):
		x.eval = numberAgainst(r.Mirror(), b, a.val)
	default:
		l, rt := a.eval, b.eval
		x.eval = func(f *penstock.Frame) penstock.Value {
			v := l(f)
			return ops.Relate(r, v, rt(f))
		}
	}
	return x
}

func isNumber(v penstock.Value) bool {
	k := v.Kind()
	return k == penstock.KindInt || k == penstock.KindDouble
}

// numberAgainst compares a path with a constant number in the text of the document.
func numberAgainst(r ops.Relation, a code, k penstock.Value) eval {
	full := a.eval
	slow := func(f *penstock.Frame) penstock.Value { return ops.Relate(r, full(f), k) }
	if a.typ.Kind == types.Optional || a.typ.Kind != types.Double && a.typ.Kind != types.Int && a.typ.Kind != types.Dyn {
		return slow
	}
	raw, asDouble := a.raw, a.typ.Kind == types.Double
	if k.Kind() == penstock.KindInt {
		i := k.Int()
		return func(f *penstock.Frame) penstock.Value {
			if v := raw(f); v.Kind() == penstock.KindNode {
				d, n := v.Node()
				if x, ok := d.Int(n); ok && (!asDouble || x > -1<<53 && x < 1<<53) {
					return penstock.BoolValue(r.Holds(compareInts(x, i)))
				}
			}
			return slow(f)
		}
	}
	c := k.Double()
	if c != c {
		return slow
	}
	return func(f *penstock.Frame) penstock.Value {
		if v := raw(f); v.Kind() == penstock.KindNode {
			d, n := v.Node()
			// 16 digits and more may be an integer that a double would round.
			if x, ok := d.Float(n); ok && (asDouble || x > -1<<53 && x < 1<<53) {
				return penstock.BoolValue(holds(r, x, c))
			}
		}
		return slow(f)
	}
}

func compareInts(x, y int64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func holds(r ops.Relation, x, y float64) bool {
	switch r {
	case ops.Less:
		return x < y
	case ops.LessEqual:
		return x <= y
	case ops.Greater:
		return x > y
	}
	return x >= y
}

// equals is == and, if negated, !=.
func equals(a, b code, negated bool) code {
	x := code{typ: types.BoolType}
	if a.con {
		a, b = b, a
	}
	switch {
	case a.raw != nil && a.inner == nil && b.con && b.val.Kind() == penstock.KindString &&
		(a.typ.Kind == types.String || a.typ.Kind == types.Dyn):
		x.eval = textIs(a, b.val, negated)
	case a.raw != nil && a.inner == nil && b.con && b.val.Kind() == penstock.KindNull && a.typ.Kind == types.Dyn:
		x.eval = isNull(a, negated)
	default:
		l, r := deep(a), deep(b)
		x.eval = func(f *penstock.Frame) penstock.Value {
			v := l(f)
			w := r(f)
			if v.IsError() {
				return v
			}
			if w.IsError() {
				return w
			}
			same, bad := equal(f, v, w)
			if bad.IsError() {
				return bad
			}
			return penstock.BoolValue(same != negated)
		}
	}
	return x
}

// textIs compares a path with a constant text.
func textIs(a code, k penstock.Value, negated bool) eval {
	raw, full, s := a.raw, a.eval, k.Str()
	return func(f *penstock.Frame) penstock.Value {
		if v := raw(f); v.Kind() == penstock.KindNode {
			if d, n := v.Node(); d.Kind(n) == jsonview.String {
				return penstock.BoolValue((text(f, d, n) == s) != negated)
			}
		}
		v := full(f)
		if v.IsError() {
			return v
		}
		return penstock.BoolValue(ops.Equal(v, k) != negated)
	}
}

// isNull compares a path of no known type with null; whatever is there need not be read.
func isNull(a code, negated bool) eval {
	raw, full := a.raw, a.eval
	return func(f *penstock.Frame) penstock.Value {
		if v := raw(f); v.Kind() == penstock.KindNode {
			d, n := v.Node()
			return penstock.BoolValue((d.Kind(n) == jsonview.Null) != negated)
		}
		v := full(f)
		if v.IsError() {
			return v
		}
		return penstock.BoolValue((v.Kind() == penstock.KindNull) != negated)
	}
}

// within is a in b.
func within(a, b code) code {
	x := code{typ: types.BoolType}
	if b.con && ops.IsList(b.val) {
		if set := newTextSet(b.val); set != nil {
			x.eval = set.eval(a)
			return x
		}
	}
	l, r := deep(a), deep(b)
	x.eval = func(f *penstock.Frame) penstock.Value {
		v := l(f)
		return in(f, v, r(f))
	}
	return x
}

// textSet is a constant list of texts.
type textSet struct {
	few  []string
	many map[string]struct{}
}

// newTextSet gives nil if list holds anything but texts.
func newTextSet(list penstock.Value) *textSet {
	elems := list.List().Elems
	s := &textSet{few: make([]string, 0, len(elems))}
	for _, e := range elems {
		if e.Kind() != penstock.KindString {
			return nil
		}
		s.few = append(s.few, e.Str())
	}
	if len(s.few) > 8 {
		s.many = make(map[string]struct{}, len(s.few))
		for _, t := range s.few {
			s.many[t] = struct{}{}
		}
	}
	return s
}

func (s *textSet) has(t string) bool {
	if s.many != nil {
		_, ok := s.many[t]
		return ok
	}
	for _, u := range s.few {
		if u == t {
			return true
		}
	}
	return false
}

func (s *textSet) eval(a code) eval {
	raw, full := a.raw, a.eval
	slow := func(f *penstock.Frame) penstock.Value {
		v := full(f)
		if v.IsError() {
			return v
		}
		v = ops.Resolve(v, f.Arena)
		return penstock.BoolValue(v.Kind() == penstock.KindString && s.has(v.Str()))
	}
	if raw == nil || a.inner != nil || a.typ.Kind != types.String && a.typ.Kind != types.Dyn {
		return slow
	}
	return func(f *penstock.Frame) penstock.Value {
		if v := raw(f); v.Kind() == penstock.KindNode {
			if d, n := v.Node(); d.Kind(n) == jsonview.String {
				return penstock.BoolValue(s.has(text(f, d, n)))
			}
		}
		return slow(f)
	}
}
