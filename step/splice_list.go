package step

import (
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// array makes the changes below the list arr.
func (s *splicer) array(arr jsonview.Node, en *editNode) error {
	base := len(s.found)
	defer func() { s.found = s.found[:base] }()
	count := s.d.Len(arr)
	missing := false
	for i := range en.kids {
		kid := &en.kids[i]
		switch {
		case kid.step.Name != "":
			if s.creates(kid) {
				return s.wrong(jsonview.Array)
			}
		case kid.step.Index < count:
			s.find(base, s.d.Index(arr, kid.step.Index), kid)
		default:
			missing = missing || s.creates(kid)
		}
	}
	if en.each != nil {
		named := len(s.found)
		for e := s.d.First(arr); e != jsonview.None; e = s.d.Next(e) {
			s.findRest(base, named, e, en.each)
		}
		s.sort(base)
	}
	first := s.d.First(arr)
	for i := base; i < len(s.found); i++ {
		f := s.found[i]
		if s.dropped(f.kid) {
			start, end := s.span(f.node)
			if s.cut(start, end, first == f.node) {
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
	s.toEnd(arr)
	return s.extend(en, count, first != jsonview.None)
}

// extend writes the elements that follow the count that a list has. There may be no gap.
func (s *splicer) extend(en *editNode, count int, comma bool) error {
	next := count
	for i := range en.kids {
		kid := &en.kids[i]
		if kid.step.Name != "" || kid.step.Index < count || !s.creates(kid) {
			continue
		}
		s.enter(kid.step)
		if kid.step.Index != next {
			return &penstock.Error{Code: penstock.Unprocessable, Path: s.here(),
				Err:  fmt.Errorf("is beyond the end of the list, which has %d elements", next),
				Hint: fmt.Sprintf("the next free index is %d", next)}
		}
		next++
		if comma {
			s.dst = append(s.dst, ',')
		}
		comma, s.touched = true, true
		if err := s.create(kid); err != nil {
			return err
		}
		s.leave()
	}
	return nil
}
