package fast

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// visitor visits the elements of a list one by one, read by their type, or what a
// comprehension makes without making its list.
type visitor struct {
	over eval
	made *producer
	elem *reader
}

func visitorOf(x code) visitor {
	return visitor{over: x.eval, made: x.made, elem: newReader(elemType(x.typ), x.path+"[]", "")}
}

func (w *visitor) start(f *penstock.Frame, cur *cursor) (bad penstock.Value) {
	if w.made != nil {
		return w.made.start(f, cur)
	}
	v := w.over(f)
	if !ops.IsList(v) {
		return ops.NoOverload("a list function", v)
	}
	cur.elems = ops.Elems(v)
	return penstock.Absent
}

// next gives the next element; with more false, an error or Absent at the end.
func (w *visitor) next(f *penstock.Frame, cur *cursor) (v penstock.Value, more bool) {
	if w.made != nil {
		return w.made.next(f, cur)
	}
	if v, more = cur.elems.Next(); more {
		if v = w.elem.read(f, v); v.IsError() {
			return v, false
		}
	}
	return v, more
}

// aggregate compiles sum, avg, min, max and grouping.
func (c *compiler) aggregate(name string, xs []code) (code, bool, error) {
	switch {
	case name == "sum" && len(xs) == 1:
		over, zero := visitorOf(xs[0]), c.sumOfNothing()
		return code{typ: types.DynType, eval: func(f *penstock.Frame) penstock.Value {
			v, _ := over.sum(f, zero)
			return v
		}}, true, nil
	case name == "avg" && len(xs) == 1:
		over := visitorOf(xs[0])
		return code{typ: types.DynType, eval: over.average}, true, nil
	case (name == "min" || name == "max") && len(xs) == 1:
		over, want := visitorOf(xs[0]), -1
		if name == "max" {
			want = 1
		}
		return code{typ: elemType(xs[0].typ), eval: func(f *penstock.Frame) penstock.Value { return over.extreme(f, name, want) }}, true, nil
	case name == "@groupBy" && len(xs) == 2:
		list, elem, keys := xs[0].eval, newReader(elemType(xs[0].typ), xs[0].path+"[]", ""), visitorOf(xs[1])
		t := types.ListOf(&types.Type{Kind: types.Object, Fields: []types.Field{
			{Name: "key", Type: elemType(xs[1].typ), Required: true}, {Name: "items", Type: types.ListOf(elem.typ), Required: true}}})
		return code{typ: t, eval: func(f *penstock.Frame) penstock.Value { return group(f, list, elem, &keys) }}, true, nil
	}
	return code{}, false, nil
}

// sumOfNothing is the 0 of the element type that the checker found; an int where it found none.
func (c *compiler) sumOfNothing() penstock.Value {
	if len(c.overloads) == 1 {
		id := strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(c.overloads[0], "list_"), "_sum"), "sum_list_")
		switch id {
		case "uint":
			return penstock.UintValue(0)
		case "double":
			return penstock.DoubleValue(0)
		case "decimal":
			return penstock.DecimalValue(penstock.Decimal{})
		case "duration":
			return penstock.DurationValue(0)
		}
	}
	return penstock.IntValue(0)
}

// sum adds up numbers or durations.
func (w *visitor) sum(f *penstock.Frame, zero penstock.Value) (sum penstock.Value, n int64) {
	var cur cursor
	if bad := w.start(f, &cur); bad.IsError() {
		return bad, 0
	}
	sum = zero
	for {
		v, more := w.next(f, &cur)
		if !more {
			if v.IsError() {
				return v, 0
			}
			return sum, n
		}
		if n == 0 {
			switch v.Kind() {
			case penstock.KindInt, penstock.KindUint, penstock.KindDecimal, penstock.KindDuration:
				sum = v
			case penstock.KindDouble:
				sum = penstock.DoubleValue(v.Double())
			default:
				return ops.NoOverload("sum", v), 0
			}
		} else if sum = ops.Arith(ops.OpAdd, sum, v, f.Arena); sum.IsError() {
			return sum, 0
		}
		n++
	}
}

// average is a double, or a decimal of decimals.
func (w *visitor) average(f *penstock.Frame) penstock.Value {
	sum, n := w.sum(f, penstock.IntValue(0))
	switch {
	case sum.IsError():
		return sum
	case n == 0:
		return ops.Errorf("avg of an empty list")
	case sum.Kind() == penstock.KindDecimal:
		return ops.Arith(ops.OpDiv, sum, penstock.IntValue(n), f.Arena)
	case sum.Kind() == penstock.KindDuration:
		return ops.NoOverload("avg", sum)
	}
	d := ops.ToDouble(sum)
	return penstock.DoubleValue(d.Double() / float64(n))
}

// extreme finds the least (want −1) or greatest element, the first of equal ones.
func (w *visitor) extreme(f *penstock.Frame, name string, want int) penstock.Value {
	var cur cursor
	if bad := w.start(f, &cur); bad.IsError() {
		return bad
	}
	best := penstock.Absent
	for {
		v, more := w.next(f, &cur)
		if !more {
			switch {
			case v.IsError():
				return v
			case best.IsAbsent():
				return ops.Errorf("%s of an empty list", name)
			}
			return best
		}
		against := best
		if best.IsAbsent() {
			against = v // to see whether it has an order at all
		}
		c, bad := ops.Compare(v, against)
		switch {
		case bad.IsError():
			return ops.NoOverload(name, v, against)
		case best.IsAbsent(), c == want:
			best = v
		}
	}
}

// group gathers the elements of a list under their keys, in the order in which the keys first
// appear: a list of {key, items}.
func group(f *penstock.Frame, list eval, elem *reader, keys *visitor) penstock.Value {
	items := list(f)
	if items.IsError() {
		return items
	}
	var cur cursor
	if bad := keys.start(f, &cur); bad.IsError() {
		return bad
	}
	var found []*penstock.List
	var names []penstock.Value
	texts := map[string]int{} // most keys are texts
	it := ops.Elems(items)
	for {
		k, more := keys.next(f, &cur)
		item, also := it.Next()
		if !more || !also {
			if k.IsError() {
				return k
			}
			if more != also {
				return ops.Errorf("groupBy needs a list")
			}
			break
		}
		at := -1
		if k.Kind() == penstock.KindString {
			if i, ok := texts[k.Str()]; ok {
				at = i
			} else {
				texts[k.Str()] = len(names)
			}
		} else {
			if !spend(f, len(names)/compared+weigh(k)) {
				return errCost
			}
			for i := range names {
				if ops.Equal(names[i], k) {
					at = i
					break
				}
			}
		}
		if at < 0 {
			at = len(names)
			names, found = append(names, k), append(found, &penstock.List{})
		}
		found[at].Elems = append(found[at].Elems, elem.read(f, item))
	}
	out := &penstock.List{Elems: make([]penstock.Value, len(names))}
	for i, k := range names {
		out.Elems[i] = penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
			{Key: penstock.StringValue("key"), Value: k},
			{Key: penstock.StringValue("items"), Value: penstock.ListValue(found[i])},
		}})
	}
	return penstock.ListValue(out)
}
