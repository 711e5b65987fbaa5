package fast

import (
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
)

// loop is what all comprehensions share: a range, variables for its elements, a filter and
// what is computed for each element.
type loop struct {
	over   eval
	one    int // slot of the element, or of the index or key where there are two variables
	two    int // slot of the element or value, −1 if there is one variable
	filter eval
	each   eval
}

// producer is a loop that makes a list; who only sums it up needs no list.
type producer struct {
	loop
	part emitter // writes one element as JSON
}

// write appends the list as JSON, element by element.
func (p *producer) write(dst []byte, f *penstock.Frame) ([]byte, error) {
	var cur cursor
	if bad := p.start(f, &cur); bad.IsError() {
		return dst, bad.Err()
	}
	out := append(dst, '[')
	for {
		v, more := p.advance(f, &cur)
		if !more {
			if v.IsError() {
				return dst, v.Err()
			}
			return closeWith(out, ']'), nil
		}
		var err error
		if out, err = p.part(out, f); errors.Is(err, errOmit) {
			continue
		} else if err != nil {
			return dst, err
		}
		out = append(out, ',')
	}
}

// cursor runs a loop; it stays on the stack.
type cursor struct {
	elems   ops.ElemIter
	entries ops.EntryIter
	isMap   bool
	index   int64
}

var errCost = penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable,
	Err:  errors.New("expression cost limit: its loops went round too often"),
	Hint: "make the lists smaller before, or divide the work with split"})

// start begins a loop; bad is an error where the range is no list or map.
func (l *loop) start(f *penstock.Frame, cur *cursor) (bad penstock.Value) {
	v := l.over(f)
	switch {
	case ops.IsList(v):
		cur.elems = ops.Elems(v)
	case ops.IsMap(v):
		cur.entries, cur.isMap = ops.Entries(v), true
	default:
		return ops.NoOverload("comprehension", v)
	}
	return penstock.Absent
}

// step sets the variables for the next round; more is false at the end. bad is the error of
// the cost limit.
func (l *loop) step(f *penstock.Frame, cur *cursor) (more bool, bad penstock.Value) {
	var a, b penstock.Value
	if cur.isMap {
		if a, b, more = cur.entries.Next(); !more {
			return false, penstock.Absent
		}
	} else {
		if b, more = cur.elems.Next(); !more {
			return false, penstock.Absent
		}
		if a = b; l.two >= 0 {
			a = penstock.IntValue(cur.index)
			cur.index++
		}
	}
	f.Cost--
	if f.Cost < 0 {
		return false, errCost
	}
	f.Locals[l.one] = a
	if l.two >= 0 {
		f.Locals[l.two] = b
	}
	return true, penstock.Absent
}

// advance goes to the next element that passes the filter. With more false, v is an error or Absent at the
// end.
func (l *loop) advance(f *penstock.Frame, cur *cursor) (v penstock.Value, more bool) {
	for {
		more, bad := l.step(f, cur)
		if !more {
			return bad, false
		}
		if l.filter == nil {
			return penstock.Absent, true
		}
		c := l.filter(f)
		if c.Kind() != penstock.KindBool {
			return notBool("filter", c), false
		}
		if c.Bool() {
			return penstock.Absent, true
		}
	}
}

// next gives what is computed for the next element that passes the filter: Absent with more false at
// the end. An error ends the loop.
func (l *loop) next(f *penstock.Frame, cur *cursor) (v penstock.Value, more bool) {
	if v, more = l.advance(f, cur); !more {
		return v, false
	}
	v = l.each(f)
	return v, !v.IsError()
}

// collect makes the list.
func (l *loop) collect(f *penstock.Frame) penstock.Value {
	var cur cursor
	if bad := l.start(f, &cur); bad.IsError() {
		return bad
	}
	out := &penstock.List{}
	for {
		v, more := l.next(f, &cur)
		if !more {
			if v.IsError() {
				return v
			}
			return penstock.ListValue(out)
		}
		out.Elems = append(out.Elems, v)
	}
}

// count is the size of the list.
func (l *loop) count(f *penstock.Frame) penstock.Value {
	var cur cursor
	if bad := l.start(f, &cur); bad.IsError() {
		return bad
	}
	n := int64(0)
	for {
		v, more := l.next(f, &cur)
		if !more {
			if v.IsError() {
				return v
			}
			return penstock.IntValue(n)
		}
		n++
	}
}

// quantify is all (stop at false) and exists (stop at true): the stop value wins over errors.
func (l *loop) quantify(f *penstock.Frame, stop bool) penstock.Value {
	var cur cursor
	if bad := l.start(f, &cur); bad.IsError() {
		return bad
	}
	bad := penstock.Absent
	for {
		more, over := l.step(f, &cur)
		if !more {
			switch {
			case over.IsError():
				return over
			case bad.IsError():
				return bad
			}
			return penstock.BoolValue(!stop)
		}
		switch v := l.each(f); {
		case v.Kind() != penstock.KindBool:
			if !bad.IsError() {
				bad = notBool("&&", v)
			}
		case v.Bool() == stop:
			return v
		}
	}
}

// exactlyOne is exists_one; it absorbs no errors.
func (l *loop) exactlyOne(f *penstock.Frame) penstock.Value {
	var cur cursor
	if bad := l.start(f, &cur); bad.IsError() {
		return bad
	}
	n := 0
	for {
		more, bad := l.step(f, &cur)
		if !more {
			if bad.IsError() {
				return bad
			}
			return penstock.BoolValue(n == 1)
		}
		v := l.each(f)
		if v.Kind() != penstock.KindBool {
			return notBool("existsOne", v)
		}
		if v.Bool() {
			n++
		}
	}
}
