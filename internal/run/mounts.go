package run

import (
	"errors"
	"slices"
	"sync"

	"penstock.dev/penstock"
)

// mounts is the listener as one server sees it. It remembers what the server has mounted, so that a reload that is refused can bring
// that back.
type mounts struct {
	on     penstock.Listener
	yields []string // owners of servers that are to be replaced: their routes may be taken

	mu   sync.Mutex
	left int           // routes that the server is yet to mount, where that is known
	done chan struct{} // closed when it has mounted them
	all  []*mounted
}

// mounted is a route, and how it is taken away.
type mounted struct {
	route   penstock.HTTPRoute
	unmount func()
}

// newMounts makes the listener of a server that has so many routes; below 1 where nobody knows.
func newMounts(on penstock.Listener, routes int) *mounts {
	m := &mounts{on: on, left: routes, done: make(chan struct{})}
	if routes <= 0 {
		close(m.done)
	}
	return m
}

// Mount implements penstock.Listener.
func (m *mounts) Mount(r penstock.HTTPRoute) (func(), error) {
	unmount, err := m.take(r, m.yields)
	if err != nil {
		return nil, err
	}
	at := &mounted{r, unmount}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, at)
	if m.left--; m.left == 0 {
		close(m.done)
	}
	return func() {
		m.mu.Lock()
		away := at.unmount
		m.mu.Unlock()
		away()
	}, nil
}

// take mounts a route, where it can in the place of those that yield.
func (m *mounts) take(r penstock.HTTPRoute, yields []string) (func(), error) {
	if over, ok := m.on.(penstock.Replacer); ok && len(yields) > 0 {
		return over.Replace(r, yields...)
	}
	return m.on.Mount(r)
}

// owners are under which names routes are mounted.
func (m *mounts) owners() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, at := range m.all {
		if !slices.Contains(out, at.route.Owner) {
			out = append(out, at.route.Owner)
		}
	}
	return out
}

// restore mounts all routes again, in the place of those that others have mounted meanwhile.
func (m *mounts) restore(others []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, at := range m.all {
		unmount, err := m.take(at.route, others)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		at.unmount = unmount
	}
	return errors.Join(errs...)
}
