package step

import (
	"errors"
	"fmt"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// putIn gives v with nv at the path steps below it; an absent nv takes away what is there. v itself doesn't change:
// the lists and maps on the way are copied, their other elements shared.
func putIn(v penstock.Value, steps []PathStep, nv penstock.Value) (penstock.Value, error) {
	if len(steps) == 0 {
		return nv, nil
	}
	v, err := opened(v)
	if err != nil {
		return v, err
	}
	st := steps[0]
	switch v.Kind() {
	case penstock.KindAbsent, penstock.KindNull:
		if nv.IsAbsent() {
			return v, nil
		}
		if st.Name != "" {
			v = penstock.MapValue(new(penstock.Map))
		} else {
			v = penstock.ListValue(new(penstock.List))
		}
		return putIn(v, steps, nv)
	case penstock.KindMap:
		if st.Name != "" {
			return putField(v, steps, nv)
		}
	case penstock.KindList:
		if st.Name == "" {
			return putElement(v, steps, nv)
		}
	}
	if nv.IsAbsent() {
		return v, nil // nothing is there that could be taken away
	}
	want := "an object"
	if st.Name == "" {
		want = "a list"
	}
	return v, &penstock.Error{Code: penstock.Unprocessable, Err: errors.New("is " + kindName(v) + ", not " + want)}
}

func putField(v penstock.Value, steps []PathStep, nv penstock.Value) (penstock.Value, error) {
	entries := v.Map().Entries
	i := slices.IndexFunc(entries, func(e penstock.Entry) bool {
		return e.Key.Kind() == penstock.KindString && e.Key.Str() == steps[0].Name
	})
	old := penstock.Absent
	if i >= 0 {
		old = entries[i].Value
	}
	inner, err := putIn(old, steps[1:], nv)
	if err != nil {
		return v, at(string(appendPath(nil, steps[:1])), err)
	}
	switch {
	case inner.IsAbsent() && i < 0:
		return v, nil
	case inner.IsAbsent():
		entries = slices.Delete(slices.Clone(entries), i, i+1)
	case i < 0:
		entries = append(slices.Clip(slices.Clone(entries)),
			penstock.Entry{Key: penstock.StringValue(steps[0].Name), Value: inner})
	default:
		entries = slices.Clone(entries)
		entries[i].Value = inner
	}
	return penstock.MapValue(&penstock.Map{Entries: entries}), nil
}

func putElement(v penstock.Value, steps []PathStep, nv penstock.Value) (penstock.Value, error) {
	elems := v.List().Elems
	i := steps[0].Index
	old := penstock.Absent
	switch {
	case i < len(elems):
		old = elems[i]
	case nv.IsAbsent():
		return v, nil
	case i > len(elems):
		return v, &penstock.Error{Code: penstock.Unprocessable, Path: string(appendPath(nil, steps[:1])),
			Err:  fmt.Errorf("is beyond the end of the list, which has %d elements", len(elems)),
			Hint: fmt.Sprintf("the next free index is %d", len(elems))}
	}
	inner, err := putIn(old, steps[1:], nv)
	if err != nil {
		return v, at(string(appendPath(nil, steps[:1])), err)
	}
	elems = slices.Clone(elems)
	switch {
	case inner.IsAbsent():
		elems = slices.Delete(elems, i, i+1)
	case i == len(elems):
		elems = append(elems, inner)
	default:
		elems[i] = inner
	}
	return penstock.ListValue(&penstock.List{Elems: elems}), nil
}

// getIn is what is at the path steps below v; Absent if nothing is there.
func getIn(v penstock.Value, steps []PathStep) penstock.Value {
	for _, st := range steps {
		v, _ = opened(v)
		switch {
		case v.Kind() == penstock.KindMap && st.Name != "":
			m := v.Map()
			v = penstock.Absent
			for _, e := range m.Entries {
				if e.Key.Kind() == penstock.KindString && e.Key.Str() == st.Name {
					v = e.Value
					break
				}
			}
		case v.Kind() == penstock.KindList && st.Name == "" && st.Index >= 0 && st.Index < len(v.List().Elems):
			v = v.List().Elems[st.Index]
		default:
			return penstock.Absent
		}
	}
	return unwrap(v)
}

// opened gives the list or map that v is, one level deep, where v is a node of a document; else v, out of its optionals.
func opened(v penstock.Value) (penstock.Value, error) {
	v = unwrap(v)
	if v.Kind() != penstock.KindNode {
		return v, nil
	}
	d, n := v.Node()
	if err := read(d); err != nil {
		return v, err
	}
	switch d.Kind(n) {
	case jsonview.Null, jsonview.Invalid:
		return penstock.Null, nil
	case jsonview.Object:
		m := &penstock.Map{Entries: make([]penstock.Entry, 0, d.Len(n))}
		for k := d.First(n); k != jsonview.None; k = d.Next(k) {
			m.Entries = append(m.Entries, penstock.Entry{Key: penstock.StringValue(string(d.Key(k, nil))), Value: penstock.NodeValue(d, d.Value(k))})
		}
		return penstock.MapValue(m), nil
	case jsonview.Array:
		l := &penstock.List{Elems: make([]penstock.Value, 0, d.Len(n))}
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			l.Elems = append(l.Elems, penstock.NodeValue(d, e))
		}
		return penstock.ListValue(l), nil
	}
	return v, nil
}
