package entity

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Inline is told of events in the transaction in which they are appended: what it writes is durable with them, or not at all. It is called on the
// goroutine of the store's writer, perhaps more than once for the same events, so it writes to its Tx and to nothing else, and does not wait.
type Inline interface {
	// Begin begins a transaction that appends events to a part; the first gets the position next. A Beside of nil wants to know of none of them.
	Begin(tx store.Tx, part int, next int64) (Beside, error)
}

// Beside is what an [Inline] does in one transaction.
type Beside interface {
	// Fold takes the events of one command, which are not appended yet. refused says why they must not happen: then the command fails with it and
	// has done nothing, and others in the transaction are not concerned. err ends the transaction.
	Fold(events []Event) (refused, err error)
	// Keep says whether the events of the last Fold were appended. If not, it is as if they had not been folded.
	Keep(appended bool)
	// End writes what all that was kept has come to.
	End() error
}

// Options are what a Runtime is made with.
type Options struct {
	// Store opens the store. It is asked when an entity is used first, and again where what it gave is not open any more.
	Store func() (store.Store, error)
	Clock penstock.Clock // nil: the system's
	UUID  func() string  // for uuid() in commands
	// Params are the parameters of the configuration, by their slots.
	Params []penstock.Value
	// Cache is how many bytes of states are kept in memory; 0 is 64 MiB.
	Cache int64
}

const defaultCache = 64 << 20

// Runtime does what is asked of entities. It is safe for concurrent use.
type Runtime struct {
	o      Options
	rt     atomic.Pointer[penstock.Runtime]
	tokens atomic.Uint64
	seed   uint64

	mu  sync.Mutex
	all map[string]*Entity
}

// New makes the runtime of the entities of a plan. Nothing is opened yet.
func New(entities []*plan.Entity, o Options) *Runtime {
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	if o.Cache <= 0 {
		o.Cache = defaultCache
	}
	r := &Runtime{o: o, all: map[string]*Entity{}}
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // it never fails (crypto/rand)
	r.seed = binary.LittleEndian.Uint64(seed[:])
	r.Become(entities, o.Params)
	return r
}

// Become goes on with the entities of another plan. Commands that are under way end as they began.
func (r *Runtime) Become(entities []*plan.Entity, params []penstock.Value) {
	r.rt.Store(&penstock.Runtime{Params: params, Clock: r.o.Clock, UUID: r.o.UUID})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range entities {
		if e := r.all[p.Name]; e != nil {
			e.plan.Store(p) // states in memory that another plan has folded are not used any more: see stream.holds
			continue
		}
		e := &Entity{r: r, name: p.Name}
		e.plan.Store(p)
		r.all[p.Name] = e
	}
}

// Entity finds an entity by its name; nil: there is none.
func (r *Runtime) Entity(name string) *Entity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[name]
}

// token makes a number that no other command has.
func (r *Runtime) token() uint64 {
	return r.seed ^ (r.tokens.Add(1) * 0x9e3779b97f4a7c15)
}

// Entity is one entity of a Runtime.
type Entity struct {
	r      *Runtime
	name   string
	plan   atomic.Pointer[plan.Entity]
	inline atomic.Pointer[[]Inline]

	mu    sync.Mutex
	open  atomic.Pointer[opened]
	bytes atomic.Int64 // of states in memory
}

// opened is an entity on an open store.
type opened struct {
	st    store.Store
	lanes []*lane // by part
	forms forms
}

// Inline has views told of events in the transaction in which they happen, in place of those before. It holds for transactions that begin
// afterwards.
func (e *Entity) Inline(views []Inline) { e.inline.Store(&views) }

// Plan is what the entity is.
func (e *Entity) Plan() *plan.Entity { return e.plan.Load() }

// store gives the entity on the open store.
func (e *Entity) store() (*opened, error) {
	st, err := e.r.o.Store()
	if err != nil {
		return nil, err
	}
	if o := e.open.Load(); o != nil && o.st == st {
		return o, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if o := e.open.Load(); o != nil && o.st == st {
		return o, nil
	}
	o := &opened{st: st}
	for p := range st.Parts() {
		o.lanes = append(o.lanes, &lane{e: e, st: st, n: namesOf(e.name, p), forms: &o.forms, streams: map[string]*stream{}, secrets: map[string]*secret{}})
	}
	e.bytes.Store(0)
	e.open.Store(o)
	return o, nil
}

// lane is the one that a key belongs to.
func (o *opened) lane(key string) *lane { return o.lanes[store.PartOf(key, len(o.lanes))] }

// lane is one part of an entity: what is held in memory of it, and what is about to be appended.
type lane struct {
	e     *Entity
	st    store.Store
	n     names
	forms *forms // nil: nothing is appended

	mu      sync.Mutex
	joining *batch // those that come go with it; nil: there is none that has not begun to be written
	streams map[string]*stream

	secretsM sync.Mutex
	secrets  map[string]*secret // by subject
}

// stream is one entity of a key as it is in memory. What is pending counts as there: it is durable once `last` is.
type stream struct {
	mu      sync.Mutex
	known   bool
	version int64
	token   uint64 // of the command that made the version
	fold    string // of the plan that made the state
	state   []byte // not changed, but replaced
	last    *batch // in which the newest is; nil: it is durable
	size    int64
}

// stream finds what is held of a key.
func (l *lane) stream(key string) *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams[key]
	if s == nil {
		s = &stream{}
		l.streams[key] = s
	}
	return s
}

// keep counts what a stream holds, and drops others where it is too much. The stream is locked by the caller.
func (l *lane) keep(key string, s *stream) {
	size := int64(len(key) + len(s.state) + 160)
	more := size - s.size
	s.size = size
	if more == 0 || l.e.bytes.Add(more) <= l.e.r.o.Cache {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, o := range l.streams { // any will do: what is used is soon there again
		if o == s || !o.mu.TryLock() {
			continue
		}
		if o.durable() {
			delete(l.streams, k)
			l.e.bytes.Add(-o.size)
			o.known, o.size = false, 0
		}
		o.mu.Unlock()
		if l.e.bytes.Load() <= l.e.r.o.Cache {
			return
		}
	}
}

// holds says that the state is known as a plan folds it. A command that was under way when the plan changed may have left one of the plan before.
func (s *stream) holds(x *plan.Entity) bool {
	return s.known && (s.fold == x.Fold || mutation.On("reload-keeps-states"))
}

// durable says that nothing of the stream is pending.
func (s *stream) durable() bool {
	if s.last == nil {
		return true
	}
	select {
	case <-s.last.commit.Done():
		s.last = nil
		return true
	default:
		return false
	}
}

// wait waits for a commit.
func wait(ctx context.Context, c *store.Commit) error {
	select {
	case <-c.Done():
		return c.Err()
	default:
		return c.Wait(ctx)
	}
}
