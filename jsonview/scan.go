package jsonview

import (
	"math"
	"math/bits"
)

// work is the scratch memory of the scan, kept for the next document.
type work struct {
	open []frame  // the containers around the current one
	seen []uint32 // hash set of key nodes, for large objects
	a, b []byte   // unescaped keys
}

// scratch gives d.work, made if need be. A flat document without surprises never needs it.
func (d *Doc) scratch() *work {
	if d.work == nil {
		d.work = &work{}
	}
	return d.work
}

// large says that the scratch holds more than is worth keeping.
func (w *work) large() bool {
	return cap(w.open)+cap(w.seen)+cap(w.a)+cap(w.b) > keepNodes
}

// frame is what the scan must remember of a container while it is inside a nested one.
type frame struct {
	bloom uint64 // which key hashes occurred
	at    uint32 // its node
	count uint32 // members so far
}

// scan checks d.src and fills d.nodes. It is one loop without recursion; the labels are the states of the grammar.
// The short paths (a string without escapes, no white space between tokens) are written out in line, everything
// else is a call.
func (d *Doc) scan(lim Limits) *SyntaxError {
	src := d.src
	maxDepth, err := lim.admit(src)
	if err != nil {
		return err
	}
	var (
		nodes = d.nodes[:cap(d.nodes)]
		open  []frame
		n     int    // nodes in use
		i     int    // the next byte
		cur   = -1   // node of the innermost open container; −1 outside of all
		isObj bool   // it is an object
		count uint32 // its members so far
		bloom uint64 // its keys' hashes so far
		last  int    // the value just completed
		c     byte
	)
	if len(nodes) == 0 {
		nodes = make([]node, min(len(src)/8+8, 1024))
	}
	if d.work != nil {
		open = d.work.open[:0]
	}

value:
	if i >= len(src) {
		return failWant(src, i, "a value")
	}
	c = src[i]
	if c <= ' ' {
		if i = skipSpace(src, i); i >= len(src) {
			return failWant(src, i, "a value")
		}
		c = src[i]
	}
	if n >= len(nodes) {
		if nodes, err = growTape(src, i, nodes); err != nil {
			return err
		}
	}
	switch {
	case c == '"':
		j := i + 1
		for len(src)-j >= 8 {
			if m := special(load8(src, j)); m != 0 {
				j += bits.TrailingZeros64(m) >> 3
				if src[j] == '"' {
					j++
					nodes[n] = node{start: uint32(i), end: uint32(j), meta: uint32(String) | flagQuoted}
					i = j
					last = n
					n++
					goto after
				}
				break
			}
			j += 8
		}
		end, flags, err := scanString(src, i, j)
		if err != nil {
			return err
		}
		nodes[n] = node{start: uint32(i), end: uint32(end), meta: uint32(String) | flagQuoted | flags}
		i = end
	case c-'0' < 10 || c == '-':
		end, flags := scanNumber(src, i)
		if end < 0 {
			return failNumber(src, i)
		}
		nodes[n] = node{start: uint32(i), end: uint32(end), meta: uint32(Number) | flags}
		i = end
	case c == '{' || c == '[':
		if len(open) >= maxDepth-1 && cur >= 0 {
			e := fail(src, i, "nested more than %d deep", maxDepth)
			e.limit = true
			return e
		}
		if cur >= 0 {
			nodes[cur].meta = metaOf(isObj, 0)
			open = append(open, frame{bloom: bloom, at: uint32(cur), count: count})
		}
		nodes[n] = node{start: uint32(i)}
		cur, count, bloom = n, 0, 0
		isObj = c == '{'
		n++
		i++
		if i < len(src) && src[i] <= ' ' {
			i = skipSpace(src, i)
		}
		if isObj {
			if i < len(src) && src[i] == '}' {
				i++
				goto closed
			}
			goto key
		}
		if i < len(src) && src[i] == ']' {
			i++
			goto closed
		}
		goto value
	case c == 't' && len(src)-i >= 4 && string(src[i:i+4]) == "true":
		nodes[n] = node{start: uint32(i), end: uint32(i + 4), meta: uint32(True)}
		i += 4
	case c == 'n' && len(src)-i >= 4 && string(src[i:i+4]) == "null":
		nodes[n] = node{start: uint32(i), end: uint32(i + 4), meta: uint32(Null)}
		i += 4
	case c == 'f' && len(src)-i >= 5 && string(src[i:i+5]) == "false":
		nodes[n] = node{start: uint32(i), end: uint32(i + 5), meta: uint32(False)}
		i += 5
	default:
		return failValue(src, i)
	}
	last = n
	n++

after:
	if cur < 0 {
		goto done
	}
	count++
	if i >= len(src) {
		return failUnclosed(src, isObj, nodes[cur].start)
	}
	c = src[i]
	if c <= ' ' {
		if i = skipSpace(src, i); i >= len(src) {
			return failUnclosed(src, isObj, nodes[cur].start)
		}
		c = src[i]
	}
	if c == ',' {
		i++
		nodes[last].next = uint32(n)
		if isObj {
			goto key
		}
		goto value
	}
	if isObj {
		if c != '}' {
			return failWant(src, i, "',' or '}'")
		}
	} else if c != ']' {
		return failWant(src, i, "',' or ']'")
	}
	i++

closed:
	{
		m := metaOf(isObj, count)
		if isObj {
			if count > smallObject {
				if err := d.duplicateInLarge(nodes, cur, int(count)); err != nil {
					return err
				}
			}
			if n-cur-1 == 2*int(count) {
				m |= flagPlain
			}
		} else if n-cur-1 == int(count) {
			m |= flagPlain
		}
		nodes[cur].end = uint32(i)
		nodes[cur].meta = m
		last = cur
		if len(open) == 0 {
			goto done
		}
		f := &open[len(open)-1]
		cur, count, bloom = int(f.at), f.count, f.bloom
		isObj = nodes[cur].meta == uint32(Object)
		open = open[:len(open)-1]
		goto after
	}

key:
	{
		if i < len(src) && src[i] <= ' ' {
			i = skipSpace(src, i)
		}
		if i >= len(src) || src[i] != '"' {
			return failKey(src, i, count > 0)
		}
		if n >= len(nodes) {
			if nodes, err = growTape(src, i, nodes); err != nil {
				return err
			}
		}
		var (
			h     uint64
			flags uint32
			j     = i + 1
		)
		for len(src)-j >= 8 {
			w := load8(src, j)
			m := special(w)
			if m == 0 {
				h = mix(h ^ w)
				j += 8
				continue
			}
			j += bits.TrailingZeros64(m) >> 3
			if src[j] != '"' {
				break
			}
			h = mix(h ^ w&below(m))
			j++
			goto named
		}
		if j, flags, err = scanString(src, i, j); err != nil {
			return err
		}
		h = d.hashKey(src[i+1:j-1], flags)
	named:
		nodes[n] = node{start: uint32(i), end: uint32(j), next: uint32(cur), meta: uint32(String) | flagKey | flagQuoted | flags | uint32(h>>hashShift)<<countShift}
		bit := uint64(1) << (h >> 58)
		if bloom&bit != 0 && count < smallObject {
			if err := d.duplicateInSmall(nodes, cur, n); err != nil {
				return err
			}
		}
		bloom |= bit
		n++
		i = j
		if i < len(src) && src[i] <= ' ' {
			i = skipSpace(src, i)
		}
		if i >= len(src) || src[i] != ':' {
			return failWant(src, i, "':' after a key")
		}
		i++
		goto value
	}

done:
	if i < len(src) {
		if i = skipSpace(src, i); i < len(src) {
			return fail(src, i, "found %s after the end of the document", show(src[i:]))
		}
	}
	d.nodes = nodes[:n]
	if cap(open) > 0 {
		d.scratch().open = open
	}
	return nil
}

// metaOf is the meta of a container with count members.
func metaOf(isObj bool, count uint32) uint32 {
	m := min(count, countMax) << countShift
	if isObj {
		return m | uint32(Object)
	}
	return m | uint32(Array)
}

// admit applies the defaults, refuses a document that is too large, and gives the depth.
func (l Limits) admit(src []byte) (maxDepth int, err *SyntaxError) {
	maxDepth, maxBytes := l.MaxDepth, l.MaxBytes
	if maxDepth <= 0 {
		maxDepth = DefaultMaxDepth
	}
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	if top := uint64(math.MaxUint32); uint64(maxBytes) > top {
		maxBytes = int(top)
	}
	if len(src) > maxBytes {
		e := fail(src, maxBytes, "the document has %d bytes, more than the %d allowed", len(src), maxBytes)
		e.limit = true
		return 0, e
	}
	return maxDepth, nil
}

// growTape doubles the tape.
func growTape(src []byte, i int, nodes []node) ([]node, *SyntaxError) {
	size := 2 * len(nodes)
	if size > math.MaxInt32 {
		if size = math.MaxInt32; len(nodes) >= size {
			e := fail(src, i, "the document has more than %d values", size)
			e.limit = true
			return nil, e
		}
	}
	bigger := make([]node, size)
	copy(bigger, nodes)
	return bigger, nil
}

// skipSpace gives the first offset from i on that holds no white space (RFC 8259 §2).
func skipSpace(src []byte, i int) int {
	for i < len(src) {
		switch src[i] {
		case ' ', '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

// failValue explains what stands at i in the place of a value.
func failValue(src []byte, i int) *SyntaxError {
	rest := src[i:]
	switch rest[0] {
	case ']', '}':
		return fail(src, i, "found %s where a value is needed (no comma may stand before it)", show(rest))
	case '\'':
		return fail(src, i, "found a single quote where a value is needed; strings take double quotes")
	}
	word := 0
	for word < len(rest) && word < 16 && (rest[word]|0x20-'a' < 26 || rest[word]-'0' < 10 || rest[word] == '_') {
		word++
	}
	if word > 1 {
		return fail(src, i, "found %q where a value is needed; the only words are true, false and null", rest[:word])
	}
	return failWant(src, i, "a value")
}

// failKey explains what stands at i in the place of a key; comma says that one stands before it.
func failKey(src []byte, i int, comma bool) *SyntaxError {
	if i < len(src) && src[i] == '}' && comma {
		return fail(src, i, "found '}' after a comma; the last field takes none")
	}
	return failWant(src, i, "a key in double quotes")
}

// failUnclosed explains the end of the document within a container that began at start.
func failUnclosed(src []byte, isObj bool, start uint32) *SyntaxError {
	what := "array"
	if isObj {
		what = "object"
	}
	return fail(src, len(src), "the document ends within the %s that began at byte %d", what, start)
}
