package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// Options are what queues need beside their plan.
type Options struct {
	// Store opens the store; it is called when it is needed first.
	Store  func() (store.Store, error)
	Clock  penstock.Clock
	Logger *slog.Logger   // nil: none
	Random func() float64 // nil: none
	// Host is who takes jobs in this process, for people.
	Host string
}

// Service is the queues of a process. It is safe for concurrent use.
type Service struct {
	o Options

	mu     sync.Mutex
	plans  map[string]*plan.JobQueue
	queues map[string]*Queue
	desks  map[string]*Desk
	meters map[string]*Meter
	st     store.Store
	closed bool
	become chan struct{} // closed when there are other plans
}

// NewService makes the queues of a plan.
func NewService(queues []*plan.JobQueue, o Options) *Service {
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	s := &Service{o: o, desks: map[string]*Desk{}, meters: map[string]*Meter{}, become: make(chan struct{})}
	s.Become(queues)
	return s
}

// Become goes on with other queues, or with the same ones under other rules. What is stored stays, also of a queue that is no longer there: who waits for jobs of it, or
// speaks of one, is told so, and the log says how many are left.
func (s *Service) Become(queues []*plan.JobQueue) {
	s.mu.Lock()
	s.plans, s.queues = map[string]*plan.JobQueue{}, map[string]*Queue{}
	close(s.become)
	s.become = make(chan struct{})
	for _, q := range queues {
		s.plans[q.Name] = q
	}
	old := map[string]*Desk{}
	for name, d := range s.desks {
		if q, err := s.open(name); err == nil {
			d.become(q)
			continue
		}
		old[name] = d
		delete(s.desks, name)
	}
	s.mu.Unlock()
	for name, d := range old {
		d.close(gone(name))
		if c := d.Counts(); s.o.Logger != nil && c.Unfinished() > 0 {
			s.o.Logger.Warn("a queue was taken out with jobs that are not done: they stay in the store, and go on when it is put back", "queue", name, "jobs", c.Unfinished(), "leased", c.Leased)
		}
	}
}

// Close ends the desks.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	all := s.desks
	s.desks = map[string]*Desk{}
	s.mu.Unlock()
	for _, d := range all {
		d.Close()
	}
}

// Forget lets go of a store that was lost: who waits for jobs of it is sent away, and the next who asks opens the store anew.
func (s *Service) Forget() {
	s.mu.Lock()
	all := s.desks
	s.desks, s.queues, s.st = map[string]*Desk{}, map[string]*Queue{}, nil
	s.mu.Unlock()
	for _, d := range all {
		d.Close()
	}
}

// ConfigOf is how a queue of a plan works.
func ConfigOf(p *plan.JobQueue) Config {
	return Config{Name: p.Name, Retry: p.Retry, Lease: p.Lease, Keyed: p.Keyed, Concurrency: p.Concurrency, Rate: p.Rate, Burst: p.Burst,
		KeyConcurrency: p.KeyConcurrency, KeyRate: p.KeyRate, KeyBurst: p.Burst, Within: p.Within, Keep: p.Keep}
}

// Plan is what is known of a queue; nil: there is none of this name.
func (s *Service) Plan(name string) *plan.JobQueue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans[name]
}

// planned is what is known of a queue, as Plan says it, until changed is closed.
func (s *Service) planned(name string) (q *plan.JobQueue, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans[name], s.become
}

// open is the queue of a name, in the open store.
func (s *Service) open(name string) (*Queue, error) {
	p := s.plans[name]
	if p == nil {
		return nil, gone(name)
	}
	if s.st == nil {
		st, err := s.o.Store()
		if err != nil {
			return nil, err
		}
		s.st = st
	}
	q := s.queues[name]
	if q == nil {
		c := ConfigOf(p)
		c.Random = s.o.Random
		q = New(c, s.st.Parts())
		s.queues[name] = q
	}
	return q, nil
}

// Queue is the queue of a name, and its store.
func (s *Service) Queue(name string) (*Queue, store.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.open(name)
	return q, s.st, err
}

// Desk is the desk of a queue.
func (s *Service) Desk(name string) (*Desk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if d := s.desks[name]; d != nil {
		return d, nil
	}
	q, err := s.open(name)
	if err != nil {
		return nil, err
	}
	d := newDesk(q, s.st, s.o.Clock, s.o.Logger, s.meter(name))
	s.desks[name] = d
	return d, nil
}

// Enqueue adds jobs in a transaction. Each record has the header job, which says what of it is not in the message: id, priority, at, unique.
func (s *Service) Enqueue(tx store.Tx, queue string, now int64, records [][]byte) error {
	q, _, err := s.Queue(queue)
	if err != nil {
		return err
	}
	drafts := make([]Draft, 0, len(records))
	for _, r := range records {
		d, err := draftOf(r)
		if err != nil {
			return err
		}
		drafts = append(drafts, d)
	}
	return q.Enqueue(tx, now, drafts)
}

// draftOf reads what a record says of its job.
func draftOf(rec []byte) (Draft, error) {
	v, err := record.Parse(rec)
	if err != nil {
		return Draft{}, err
	}
	d := Draft{Key: v.Key(), Record: rec}
	for name, value := range v.Meta() {
		if name != MetaJob || value.Kind() != penstock.KindMap {
			continue
		}
		for _, e := range value.Map().Entries {
			if e.Key.Kind() != penstock.KindString {
				continue
			}
			switch k := e.Key.Str(); {
			case e.Value.Kind() == penstock.KindString && k == "id":
				d.ID = e.Value.Str()
			case e.Value.Kind() == penstock.KindString && k == "unique":
				d.Unique = e.Value.Str()
			case e.Value.Kind() == penstock.KindInt && k == "priority":
				d.Priority = int(min(max(e.Value.Int(), -MaxPriority), MaxPriority))
			case e.Value.Kind() == penstock.KindInt && k == "at":
				d.At = e.Value.Int()
			}
		}
	}
	if d.ID == "" {
		return Draft{}, &penstock.Error{Code: penstock.Internal, Op: "enqueue", Err: fmt.Errorf("the job has no id")}
	}
	return d, nil
}

// Enqueued says that jobs were committed.
func (s *Service) Enqueued(queue string) {
	if d, err := s.Desk(queue); err == nil {
		d.Poke()
	}
}

// Body is a job's data as JSON.
func (j *Job) Body() (json.RawMessage, error) {
	v, err := record.Parse(j.Record)
	if err != nil {
		return nil, err
	}
	return v.AppendBody(nil), nil
}

// QueueLook is what a queue shows.
type QueueLook struct {
	Queue string `json:"queue"`
	Look
	OldestSeconds float64 `json:"oldestSeconds"` // for how long the job has been ready that is claimed next
}

// Look counts the jobs of a queue.
func (s *Service) Look(ctx context.Context, queue string) (QueueLook, error) {
	q, st, err := s.Queue(queue)
	if err != nil {
		return QueueLook{}, err
	}
	var l Look
	err = st.View(ctx, func(v store.View) error {
		l, err = q.Look(v.State())
		return err
	})
	return lookOf(queue, l, s.o.Clock.Now().UnixNano()), err
}

// Names lists the queues, by name.
func (s *Service) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.plans))
}
