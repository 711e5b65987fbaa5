package jsonview

// Kind gives the kind of n: Invalid for None and in a document that is not parsed or was refused. A key is a
// String.
func (d *Doc) Kind(n Node) Kind {
	if uint(n) >= uint(len(d.nodes)) {
		return Invalid
	}
	return Kind(d.nodes[n].meta & kindMask)
}

// Raw gives the text of n exactly as it stands in the source: strings of JSON with their quotes, cells of a Record and
// the root of Text and Binary without. A key of a Record gives the column name; the root of a Record gives nil. The slice is for
// reading only.
func (d *Doc) Raw(n Node) []byte {
	if uint(n) >= uint(len(d.nodes)) {
		return nil
	}
	nd := &d.nodes[n]
	if d.format == JSON {
		return d.src[nd.start:nd.end:nd.end]
	}
	switch {
	case d.format != Record:
		return d.src
	case n == 0:
		return nil
	case nd.meta&flagKey != 0:
		return stringBytes(d.shape.column(n))
	}
	return d.src[nd.start:nd.end:nd.end]
}

// Len gives the number of elements of an array or of fields of an object, 0 for every other node.
func (d *Doc) Len(n Node) int {
	if uint(n) >= uint(len(d.nodes)) {
		return 0
	}
	m := d.nodes[n].meta
	if k := Kind(m & kindMask); k != Array && k != Object {
		return 0
	}
	if m>>countShift != countMax {
		return int(m >> countShift)
	}
	count := 0
	for e := d.First(n); e != None; e = d.Next(e) {
		count++
	}
	return count
}

// Index gives element i of an array, counted from 0; None out of range and for every other node. It takes one step where all
// elements are scalars, else i steps: to read all elements use First and Next.
func (d *Doc) Index(arr Node, i int) Node {
	if uint(arr) >= uint(len(d.nodes)) || i < 0 {
		return None
	}
	m := d.nodes[arr].meta
	if Kind(m&kindMask) != Array {
		return None
	}
	if m>>countShift != countMax {
		if i >= int(m>>countShift) {
			return None
		}
		if m&flagPlain != 0 {
			return arr + 1 + Node(i)
		}
	}
	e := d.First(arr)
	for ; i > 0 && e != None; i-- {
		e = d.Next(e)
	}
	return e
}

// First gives the first element of an array or the first key of an object; None if it is empty, and for every other
// node.
func (d *Doc) First(n Node) Node {
	if uint(n) >= uint(len(d.nodes)) {
		return None
	}
	m := d.nodes[n].meta
	if k := Kind(m & kindMask); k != Array && k != Object || m>>countShift == 0 {
		return None
	}
	if d.format == Record {
		return d.firstCell()
	}
	return n + 1
}

// Next gives what follows n among its siblings: after an element the next element, after a value in an object the
// next key, after a key the next key as well. None at the end.
func (d *Doc) Next(n Node) Node {
	if uint(n) >= uint(len(d.nodes)) {
		return None
	}
	if d.nodes[n].meta&flagKey != 0 {
		n++
	}
	if next := d.nodes[n].next; next != 0 {
		return Node(next)
	}
	return None
}

// Value gives the value of a key; None if key is no key.
func (d *Doc) Value(key Node) Node {
	if uint(key) >= uint(len(d.nodes)) || d.nodes[key].meta&flagKey == 0 {
		return None
	}
	return key + 1
}

// Key gives the name of a key, unescaped. It aliases the source where the text has no escapes, else it is written to
// buf[:0], which grows as needed. nil if key is no key.
func (d *Doc) Key(key Node, buf []byte) []byte {
	if uint(key) >= uint(len(d.nodes)) {
		return nil
	}
	nd := &d.nodes[key]
	if nd.meta&flagKey == 0 {
		return nil
	}
	if d.format == Record {
		return stringBytes(d.shape.column(key))
	}
	text := d.src[nd.start+1 : nd.end-1 : nd.end-1]
	if nd.meta&flagEscaped != 0 {
		return appendUnescaped(buf[:0], text)
	}
	return text
}

// CloneInto makes dst a copy of d that shares no memory with it but the Shape: the source is copied to memory from
// alloc (a nil alloc means the heap), the tape to dst's own. It may run beside other readers of d. dst must be
// neither d nor in use.
func (d *Doc) CloneInto(dst *Doc, alloc func(int) []byte) {
	dst.Reset(d.format, nil)
	var src []byte
	if alloc != nil {
		src = alloc(len(d.src))[:len(d.src)]
	} else {
		src = make([]byte, len(d.src))
	}
	copy(src, d.src)
	dst.src = src
	dst.nodes = append(dst.nodes[:0], d.nodes...)
	dst.shape, dst.err, dst.cells, dst.parsed = d.shape, d.err, d.cells, d.parsed
	d.cloneLazy(dst, alloc)
}
