package jsonview

import "sync/atomic"

// Hint remembers where Field last found a name, as the distance from the object to the key on the tape. It holds two such
// places, so that documents of two shapes that alternate cost one or two comparisons each. The zero value is ready.
//
// A Hint belongs to one place in a program that looks up one name. It may be used by many goroutines at once; it is only
// advice, so a wrong one costs time and never gives a wrong answer.
type Hint struct {
	places uint32 // two distances of 16 bits, the later found in the low half; 0: none
}

// keyMask selects what Field needs to know of a candidate; an escaped key is left to the slow way.
const (
	keyMask = kindMask | flagKey | flagEscaped
	keyWant = uint32(String) | flagKey
)

// Field gives the value of the field called name in obj: None if there is no such field, or obj is no object.
// Keys are compared unescaped. h may be nil; with a hint that fits, the look-up takes one comparison.
func (d *Doc) Field(obj Node, name string, h *Hint) Node {
	if h != nil && d.format == JSON {
		places := atomic.LoadUint32(&h.places)
		if k := int(obj) + int(places&0xffff); uint(k) < uint(len(d.nodes)) {
			nd := &d.nodes[k]
			if nd.meta&keyMask == keyWant && nd.next == uint32(obj) && string(d.src[nd.start+1:nd.end-1]) == name {
				return Node(k) + 1
			}
		}
	}
	return d.find(obj, name, h)
}

// find is Field without luck.
func (d *Doc) find(obj Node, name string, h *Hint) Node {
	if uint(obj) >= uint(len(d.nodes)) || Kind(d.nodes[obj].meta&kindMask) != Object {
		return None
	}
	if d.format == Record {
		return d.findCell(name, h)
	}
	if h != nil {
		if k := int(obj) + int(atomic.LoadUint32(&h.places)>>16); k < len(d.nodes) {
			nd := &d.nodes[k]
			if nd.meta&keyMask == keyWant && nd.next == uint32(obj) && string(d.src[nd.start+1:nd.end-1]) == name {
				return Node(k) + 1
			}
		}
	}
	// Hashes first: they lie in the tape, so that keys that differ are not even looked at. Where all values are single
	// nodes the keys are known to be two apart, and the loop need not wait for each link to be loaded.
	hash := hashName(name)
	m := d.nodes[obj].meta
	if m&flagPlain != 0 && m>>countShift != countMax {
		fields := d.nodes[obj+1:][:2*(m>>countShift)]
		for k := 0; k < len(fields); k += 2 {
			if fields[k].meta>>countShift == hash && d.hasName(&fields[k], name) {
				return h.found(obj, obj+1+Node(k))
			}
		}
		return None
	}
	for k := d.First(obj); k != None; k = d.Next(k) {
		if d.nodes[k].meta>>countShift == hash && d.hasName(&d.nodes[k], name) {
			return h.found(obj, k)
		}
	}
	return None
}

// found remembers that the key of obj was at key, and gives the value.
func (h *Hint) found(obj, key Node) Node {
	if dist := uint32(key - obj); h != nil && dist <= 0xffff {
		atomic.StoreUint32(&h.places, atomic.LoadUint32(&h.places)<<16|dist)
	}
	return key + 1
}

// hasName compares the key nd with name.
func (d *Doc) hasName(nd *node, name string) bool {
	text := d.src[nd.start+1 : nd.end-1]
	if nd.meta&flagEscaped != 0 {
		return equalEscaped(text, name)
	}
	return string(text) == name
}

// equalEscaped compares a name with the text of a key that has escapes.
func equalEscaped(text []byte, name string) bool {
	if len(text) <= len(name) { // every escape is longer than what it stands for
		return false
	}
	var room [64]byte
	return string(appendUnescaped(room[:0], text)) == name
}
