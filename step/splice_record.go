package step

import "penstock.dev/penstock/jsonview"

// record makes the changes in a row of cells. The new body is JSON.
func (s *splicer) record(root *editNode) error {
	missing := false
	for i := range root.kids {
		kid := &root.kids[i]
		if kid.step.Name == "" {
			if s.creates(kid) {
				return s.wrong(jsonview.Object)
			}
			continue
		}
		if v := s.d.Field(0, kid.step.Name, &kid.hint); v != jsonview.None {
			s.find(0, v, kid)
		} else {
			missing = missing || s.creates(kid)
		}
	}
	if !missing && len(s.found) == 0 && root.each == nil {
		return nil
	}
	s.dst = append(s.dst, '{')
	next, comma := 0, false
	for k := s.d.First(0); k != jsonview.None; k = s.d.Next(k) {
		kid := root.each
		if next < len(s.found) && s.found[next].node == s.d.Value(k) {
			kid = s.found[next].kid
			next++
		}
		if kid != nil && s.dropped(kid) {
			s.touched = true
			continue
		}
		if comma {
			s.dst = append(s.dst, ',')
		}
		comma = true
		s.dst = s.d.AppendJSON(s.dst, k)
		s.dst = append(s.dst, ':')
		if err := s.cell(s.d.Value(k), kid); err != nil {
			return err
		}
	}
	if missing {
		if err := s.insert(root, comma); err != nil {
			return err
		}
	}
	s.dst = append(s.dst, '}')
	return nil
}

// cell writes one cell; kid is what changes it, or nil.
func (s *splicer) cell(v jsonview.Node, kid *editNode) error {
	if kid == nil {
		s.dst = s.d.AppendJSON(s.dst, v)
		return nil
	}
	s.enter(kid.step)
	defer s.leave()
	if kid.leaf < 0 {
		if !s.creates(kid) {
			s.dst = s.d.AppendJSON(s.dst, v)
			return nil
		}
		if k := s.d.Kind(v); k != jsonview.Null {
			return s.wrong(k)
		}
		s.touched = true
		return s.create(kid)
	}
	s.touched = true
	if c := &s.changes[kid.leaf]; c.kind == put {
		return s.append(c)
	}
	s.dst = appendMasked(s.dst, s.d, v)
	return nil
}
