package run

import (
	"errors"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// eachOf walks a list value.
func eachOf(list penstock.Value, op string, f func(i int, v penstock.Value) error) error {
	switch list.Kind() {
	case penstock.KindList:
		for i, v := range list.List().Elems {
			if err := f(i, v); err != nil {
				return err
			}
		}
		return nil
	case penstock.KindNode:
		d, n := list.Node()
		if d.Kind(n) != jsonview.Array {
			break
		}
		i := 0
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			if err := f(i, penstock.NodeValue(d, e)); err != nil {
				return err
			}
			i++
		}
		return nil
	case penstock.KindError:
		return list.Err()
	}
	return &penstock.Error{Code: penstock.Invalid, Op: op, Path: "each", Err: errors.New("not a list")}
}

// bind gives an element to a message: under its name, or as the body.
func bind(b *penstock.Batch, c *penstock.Message, as, index, i int, v penstock.Value) error {
	if index >= 0 {
		c.Vars[index] = penstock.IntValue(int64(i))
	}
	if as >= 0 {
		c.Vars[as] = v
		return nil
	}
	d, err := document(b, v)
	c.Body = d
	return err
}

// document makes a body of a value.
func document(b *penstock.Batch, v penstock.Value) (*jsonview.Doc, error) {
	out := b.NewDoc()
	if v.Kind() == penstock.KindNode {
		if d, n := v.Node(); d.Format() == jsonview.JSON {
			out.Reset(jsonview.JSON, d.Raw(n))
			return out, nil
		}
	}
	dst, err := v.AppendJSON(b.Arena().Tail(256))
	if err != nil {
		return nil, err
	}
	out.Reset(jsonview.JSON, b.Arena().Keep(dst))
	return out, nil
}

// splitChunk is how many parts of one message go through the rest of the flow at a time.
const splitChunk = 1024

// split makes messages of the elements of a list. They hang on their message's lineage and
// keep its place in the order.
func (x *exec) split(w *work, pc int, n *node, op *plan.Split, ms []*penstock.Message) {
	out := x.take()
	var empty []*penstock.Message
	var fails []failure // kept apart: the nodes behind run before this one returns
	for _, m := range ms {
		start := len(out)
		err := eachOf(op.Each.Eval(w.batch.Frame(m)), n.Name, func(i int, v penstock.Value) error {
			c := child(w.batch, m, 0)
			c.Descent = m.Descent.Part(i)
			if err := bind(w.batch, c, op.As, op.Index, i, v); err != nil {
				return err
			}
			out = append(out, c)
			return nil
		})
		if err != nil {
			out = out[:start]
			fails = append(fails, failure{m: m, err: err})
			continue
		}
		parts := len(out) - start
		for j, c := range out[start:] {
			c.Seq = within(m.Seq, j, parts)
		}
		if parts == 0 {
			empty = append(empty, m)
			continue
		}
		retain(m.Lineage, int32(parts)-1)
		w.mem += parts - 1
	}
	x.give(ms)
	x.f.stats.Split.Add(int64(len(out)))
	if empty != nil {
		n.stats.Dropped.Add(int64(len(empty)))
		x.end(w, empty, fateFiltered)
	}
	for len(out) > splitChunk && !x.pendingAfter(pc) {
		chunk := append(x.take(), out[:splitChunk]...)
		out = slices.Delete(out, 0, splitChunk)
		x.run(w, n.Next, chunk)
	}
	x.put(w, n.Next, out)
	x.fails = append(x.fails[:0], fails...)
}

// pendingAfter says whether messages wait at a later node to be joined: those behind a
// split may then not overtake.
func (x *exec) pendingAfter(pc int) bool {
	for _, b := range x.buckets[pc+1:] {
		if len(b) > 0 {
			return true
		}
	}
	return false
}
