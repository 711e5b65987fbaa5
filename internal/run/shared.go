package run

import (
	"errors"
	"io"
)

// shared is a value that instances share, by a key of theirs.
type shared struct {
	v     any
	users int  // instances
	fixed bool // somebody uses it who is no instance: it stays until the end of the run
}

// Close closes the value, if it can be.
func (s *shared) Close() error {
	if c, ok := s.v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// share gives the value of a key, and notes who uses it (nil: the run).
func (r *Runner) share(by *instance, key string, build func() (any, error)) (any, error) {
	r.sharedM.Lock()
	defer r.sharedM.Unlock()
	s := r.shared[key]
	if s == nil {
		v, err := build()
		if err != nil {
			return nil, err
		}
		s = &shared{v: v}
		r.shared[key] = s
	}
	switch {
	case by == nil:
		s.fixed = true
	case !by.shared[key]:
		by.shared[key] = true
		s.users++
	}
	return s.v, nil
}

// unshare closes the values that only this instance used.
func (r *Runner) unshare(in *instance) error {
	r.sharedM.Lock()
	var over []*shared
	for key := range in.shared {
		s := r.shared[key]
		if s.users--; s.users == 0 && !s.fixed {
			over = append(over, s)
			delete(r.shared, key)
		}
	}
	clear(in.shared)
	r.sharedM.Unlock()
	var errs []error
	for _, s := range over {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
