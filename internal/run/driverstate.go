package run

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// driverSpace is what the spaces begin with in which drivers keep entries of their own; the endpoint's name follows.
const driverSpace = "driver/"

// driverState is what a driver gets as Env.State: the run's store, or memory. Which it is, is known when the driver asks first.
type driverState struct {
	r       *Runner
	durable bool
	space   string
	memory  *driverMemory
}

var _ penstock.State = (*driverState)(nil)

func (f *flow) driverState(name string) *driverState {
	return &driverState{r: f.r, durable: f.durable, space: driverSpace + name, memory: f.r.memoryOf(name)}
}

// memoryOf is where a driver's entries are in a run that keeps no state. It outlives the instance that is replaced in a reload.
func (r *Runner) memoryOf(name string) *driverMemory {
	r.memoriesM.Lock()
	defer r.memoriesM.Unlock()
	m := r.memories[name]
	if m == nil {
		m = &driverMemory{entries: map[string]*list.Element{}}
		if r.memories == nil {
			r.memories = map[string]*driverMemory{}
		}
		r.memories[name] = m
	}
	return m
}

const maxDriverKey = 1 << 10

func (s *driverState) check(key string) error {
	if len(key) > maxDriverKey {
		return penstock.E(penstock.Internal, "state", s.space, "the key is too long")
	}
	return nil
}

// Get implements penstock.State.
func (s *driverState) Get(ctx context.Context, key string) ([]byte, error) {
	now := s.r.clock.Now().UnixNano()
	if !s.durable {
		return s.memory.get(key, now), s.check(key)
	}
	st, err := s.r.theStore()
	if err := errors.Join(err, s.check(key)); err != nil {
		return nil, err
	}
	var value []byte
	err = st.View(ctx, func(v store.View) error {
		e, ok, err := v.State().Get(s.space, []byte(key))
		if ok {
			value = live(e, now)
		}
		return err
	})
	return value, err
}

// CompareAndSet implements penstock.State.
func (s *driverState) CompareAndSet(ctx context.Context, key string, old, value []byte, keep time.Duration) (bool, error) {
	now := s.r.clock.Now().UnixNano()
	until := int64(0)
	if keep > 0 {
		until = now + int64(keep)
	}
	if !s.durable {
		return s.memory.swap(key, old, value, now, until), s.check(key)
	}
	st, err := s.r.theStore()
	if err := errors.Join(err, s.check(key)); err != nil {
		return false, err
	}
	swapped := false
	c := st.Submit(store.Small, func(tx store.Tx) error {
		swapped = false
		e, ok, err := tx.State().Get(s.space, []byte(key))
		if err != nil {
			return err
		}
		var there []byte
		if ok {
			there = live(e, now)
		}
		if (there == nil) != (old == nil) || !bytes.Equal(there, old) {
			return nil
		}
		swapped = true
		if value == nil {
			return tx.Delete(s.space, []byte(key))
		}
		return tx.Put(s.space, store.Entry{Key: []byte(key), Value: value, Due: until})
	})
	if err := c.Wait(ctx); err != nil {
		return false, err
	}
	return swapped, nil
}

// live is the value of an entry; nil where its time is over and nobody has tidied up yet.
func live(e store.Entry, now int64) []byte {
	switch {
	case e.Due != 0 && e.Due <= now:
		return nil
	case e.Value == nil:
		return []byte{}
	}
	return e.Value
}

// Bounds of what is kept in memory, for each endpoint.
const (
	memoryEntries = 100_000
	memoryBytes   = 64 << 20
	memoryCost    = 200 // of an entry beside its key and value
)

// driverMemory keeps entries in memory, of which the oldest give way.
type driverMemory struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	order   list.List // from the oldest
	bytes   int
}

type driverEntry struct {
	key   string
	value []byte
	until int64
}

func (e *driverEntry) cost() int { return len(e.key) + len(e.value) + memoryCost }

func (m *driverMemory) get(key string, now int64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(key, now)
}

func (m *driverMemory) find(key string, now int64) []byte {
	at := m.entries[key]
	if at == nil {
		return nil
	}
	e := at.Value.(*driverEntry)
	if e.until != 0 && e.until <= now {
		m.drop(at)
		return nil
	}
	return e.value
}

func (m *driverMemory) drop(at *list.Element) {
	e := at.Value.(*driverEntry)
	m.bytes -= e.cost()
	delete(m.entries, e.key)
	m.order.Remove(at)
}

func (m *driverMemory) swap(key string, old, value []byte, now, until int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if there := m.find(key, now); (there == nil) != (old == nil) || !bytes.Equal(there, old) {
		return false
	}
	if at := m.entries[key]; at != nil {
		m.drop(at)
	}
	if value == nil {
		return true
	}
	e := &driverEntry{key, append([]byte{}, value...), until}
	m.entries[key] = m.order.PushBack(e)
	m.bytes += e.cost()
	for len(m.entries) > memoryEntries || m.bytes > memoryBytes && len(m.entries) > 1 {
		m.drop(m.order.Front())
	}
	return true
}

// tidyDrivers deletes drivers' entries whose time is over.
func (r *Runner) tidyDrivers(ctx context.Context) error {
	return r.tidySpaces(ctx, driverSpace, func(string) bool { return true })
}
