package step

import (
	"errors"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// change is what happens at one path of one message.
type change struct {
	kind  changeKind
	value penstock.Value // of put, unless raw is set
	raw   []byte         // of put: JSON text
}

// splicer makes a new body of an old one in one pass: what lies between the changes is copied as it stands. It is
// scratch, used again for message after message.
type splicer struct {
	d       *jsonview.Doc
	src     []byte
	dst     []byte
	cur     int // src[:cur] is dealt with
	changes []change
	found   []foundKid // a stack: each level works above the one that holds it
	trail   []PathStep // the way to the place in hand, for errors
	touched bool
}

// foundKid is a place of the tree that the document has too.
type foundKid struct {
	node jsonview.Node
	kid  *editNode
}

// edit gives m a new body with the changes at the leaves of root. Where nothing changes the body stays.
func (s *splicer) edit(b *penstock.Batch, m *penstock.Message, root *editNode, changes []change) error {
	d := m.Body
	if err := read(d); err != nil {
		return at("body", err)
	}
	if root.leaf >= 0 {
		return s.whole(b, m, changes[root.leaf])
	}
	size := len(d.Bytes()) + 64
	if d.Format() == jsonview.Record {
		size += 24*d.Len(0) + 256
	}
	for i := range changes {
		if c := &changes[i]; c.raw != nil {
			size += len(c.raw) + 32
		} else {
			size += sizeOf(c.value) + 32
		}
	}
	arena := b.Arena()
	s.d, s.src, s.cur, s.changes, s.touched = d, d.Bytes(), 0, changes, false
	s.found, s.trail = s.found[:0], s.trail[:0]
	s.dst = arena.Tail(size)
	err := s.document(root)
	text := s.dst
	s.d, s.src, s.dst, s.changes = nil, nil, nil, nil
	if err != nil || !s.touched {
		return err
	}
	setBody(b, m, arena.Keep(text))
	return nil
}

// whole changes the body as a whole.
func (s *splicer) whole(b *penstock.Batch, m *penstock.Message, c change) error {
	arena := b.Arena()
	switch {
	case c.kind == mask:
		if d := m.Body; d.Kind(0) != jsonview.Invalid {
			setBody(b, m, arena.Keep(appendMasked(arena.Tail(2*len(d.Bytes())+256), d, 0)))
		}
		return nil
	case c.kind == put && c.raw != nil:
		setBody(b, m, arena.Copy(c.raw))
		return nil
	}
	return assignBody(b, m, c.value)
}

func (s *splicer) document(root *editNode) error {
	if s.d.Format() == jsonview.Record {
		return s.record(root)
	}
	if err := s.inner(0, root); err != nil {
		return err
	}
	if s.touched && s.d.Format() == jsonview.JSON {
		s.flush(len(s.src))
	}
	return nil
}

// flush copies what is not copied yet, up to offset to.
func (s *splicer) flush(to int) {
	if to > s.cur {
		s.dst = append(s.dst, s.src[s.cur:to]...)
		s.cur = to
	}
}

// span is where node n stands; a body without a text is all of nothing.
func (s *splicer) span(n jsonview.Node) (start, end int) {
	if len(s.src) == 0 {
		return 0, 0
	}
	return span(s.d, n)
}

// value changes what is there: node n, which en names. Its container deals with drop.
func (s *splicer) value(n jsonview.Node, en *editNode) error {
	if en.leaf < 0 {
		return s.inner(n, en)
	}
	start, end := s.span(n)
	s.flush(start)
	s.cur, s.touched = end, true
	if c := &s.changes[en.leaf]; c.kind == put {
		return s.append(c)
	}
	s.dst = appendMasked(s.dst, s.d, n)
	return nil
}

// append writes a new value.
func (s *splicer) append(c *change) (err error) {
	if c.raw != nil {
		s.dst = append(s.dst, c.raw...)
		return nil
	}
	if s.dst, err = appendValue(s.dst, c.value); err != nil {
		return at(s.here(), err)
	}
	return nil
}

// inner makes the changes below node n.
func (s *splicer) inner(n jsonview.Node, en *editNode) error {
	switch k := s.d.Kind(n); k {
	case jsonview.Object:
		return s.object(n, en)
	case jsonview.Array:
		return s.array(n, en)
	case jsonview.Null, jsonview.Invalid: // Invalid: a body without a text
		if !s.creates(en) {
			return nil
		}
		start, end := s.span(n)
		s.flush(start)
		s.cur, s.touched = end, true
		return s.create(en)
	default:
		if !s.creates(en) {
			return nil // nothing is there that could be taken away or masked
		}
		return s.wrong(k)
	}
}

// wrong is the error for changes below a value of kind k, which is not the right container.
func (s *splicer) wrong(k jsonview.Kind) error {
	want := "an object"
	if k == jsonview.Object {
		want = "a list"
	}
	e := &penstock.Error{Code: penstock.Unprocessable, Path: s.here(), Err: errors.New("is " + article(k.String()) + ", not " + want)}
	if len(s.trail) == 0 && s.d.Format() != jsonview.JSON {
		e.Hint = "decode the body first"
	}
	return e
}

// here is the path in hand.
func (s *splicer) here() string { return string(appendPath([]byte("body"), s.trail)) }

func (s *splicer) enter(p PathStep) { s.trail = append(s.trail, p) }
func (s *splicer) leave()           { s.trail = s.trail[:len(s.trail)-1] }

func (s *splicer) dropped(en *editNode) bool { return en.leaf >= 0 && s.changes[en.leaf].kind == drop }

// creates reports whether a place that is not there comes into being.
func (s *splicer) creates(en *editNode) bool {
	if en.leaf >= 0 {
		return s.changes[en.leaf].kind == put
	}
	for i := range en.kids {
		if s.creates(&en.kids[i]) {
			return true
		}
	}
	return false
}

// object makes the changes below the object obj.
func (s *splicer) object(obj jsonview.Node, en *editNode) error {
	base := len(s.found)
	defer func() { s.found = s.found[:base] }()
	missing := false
	for i := range en.kids {
		kid := &en.kids[i]
		if kid.step.Name == "" {
			if s.creates(kid) {
				return s.wrong(jsonview.Object)
			}
			continue
		}
		if v := s.d.Field(obj, kid.step.Name, &kid.hint); v != jsonview.None {
			s.find(base, v, kid)
		} else {
			missing = missing || s.creates(kid)
		}
	}
	if en.each != nil {
		named := len(s.found)
		for k := s.d.First(obj); k != jsonview.None; k = s.d.Next(k) {
			s.findRest(base, named, s.d.Value(k), en.each)
		}
		s.sort(base)
	}
	first := s.d.First(obj) // the first that stays
	for i := base; i < len(s.found); i++ {
		f := s.found[i]
		if s.dropped(f.kid) {
			start, _ := s.span(f.node - 1)
			_, end := s.span(f.node)
			if s.cut(start, end, first == f.node-1) {
				first = s.d.Next(first)
			}
			continue
		}
		s.enter(f.kid.step)
		if err := s.value(f.node, f.kid); err != nil {
			return err
		}
		s.leave()
	}
	if !missing {
		return nil
	}
	s.toEnd(obj)
	return s.insert(en, first != jsonview.None)
}

// insert writes the fields that are not there yet. Those that are were found.
func (s *splicer) insert(en *editNode, comma bool) error {
	for i := range en.kids {
		kid := &en.kids[i]
		if kid.step.Name == "" || !s.creates(kid) || s.has(kid) {
			continue
		}
		if comma {
			s.dst = append(s.dst, ',')
		}
		comma = true
		if err := s.field(kid); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether kid was found in the document; only the kids of the object in hand are asked for.
func (s *splicer) has(kid *editNode) bool {
	for i := len(s.found) - 1; i >= 0; i-- {
		if s.found[i].kid == kid {
			return true
		}
	}
	return false
}

// field writes one new field.
func (s *splicer) field(kid *editNode) error {
	s.touched = true
	s.enter(kid.step)
	s.dst = jsonview.AppendString(s.dst, kid.step.Name)
	s.dst = append(s.dst, ':')
	if err := s.create(kid); err != nil {
		return err
	}
	s.leave()
	return nil
}

// create writes the value of a place that was not there, and what lies below it.
func (s *splicer) create(en *editNode) error {
	if en.leaf >= 0 {
		return s.append(&s.changes[en.leaf])
	}
	if s.namesOnly(en) {
		s.dst = append(s.dst, '{')
		comma := false
		for i := range en.kids {
			kid := &en.kids[i]
			if !s.creates(kid) {
				continue
			}
			if kid.step.Name == "" {
				return s.wrong(jsonview.Object)
			}
			if comma {
				s.dst = append(s.dst, ',')
			}
			comma = true
			if err := s.field(kid); err != nil {
				return err
			}
		}
		s.dst = append(s.dst, '}')
		return nil
	}
	s.dst = append(s.dst, '[')
	if err := s.extend(en, 0, false); err != nil {
		return err
	}
	s.dst = append(s.dst, ']')
	return nil
}

// namesOnly reports whether a new container is an object. Where names and indexes are mixed the names win, and
// the indexes are refused.
func (s *splicer) namesOnly(en *editNode) bool {
	for i := range en.kids {
		if s.creates(&en.kids[i]) {
			return en.kids[i].step.Name != ""
		}
	}
	return true
}

// find remembers a kid, in the order of the document.
func (s *splicer) find(base int, n jsonview.Node, kid *editNode) {
	s.found = append(s.found, foundKid{n, kid})
	for i := len(s.found) - 1; i > base && s.found[i-1].node > n; i-- {
		s.found[i], s.found[i-1] = s.found[i-1], s.found[i]
	}
}

// sort brings found[base:] into the order of the document.
func (s *splicer) sort(base int) {
	slices.SortFunc(s.found[base:], func(a, b foundKid) int { return int(a.node) - int(b.node) })
}

// findRest remembers a node that no kid among found[base:named] has. They are sorted.
func (s *splicer) findRest(base, named int, n jsonview.Node, each *editNode) {
	lo, hi := base, named
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.found[mid].node < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < named && s.found[lo].node == n {
		return
	}
	s.found = append(s.found, foundKid{n, each})
}

// cut takes away the member or element at src[start:end] with one of the commas beside it. leading says that nothing
// before it stays; cut then reports true.
func (s *splicer) cut(start, end int, leading bool) bool {
	s.touched = true
	before := start
	for before > 0 && isSpace(s.src[before-1]) {
		before--
	}
	if !leading {
		s.flush(before - 1) // src[before-1] is the comma
		s.cur = end
		return false
	}
	s.flush(before)
	for end < len(s.src) && isSpace(s.src[end]) {
		end++
	}
	if s.src[end] == ',' {
		end++
	}
	s.cur = end
	return true
}

// toEnd copies a container up to where its last member ends.
func (s *splicer) toEnd(n jsonview.Node) {
	_, end := s.span(n)
	for end--; isSpace(s.src[end-1]); end-- {
	}
	s.flush(end)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
