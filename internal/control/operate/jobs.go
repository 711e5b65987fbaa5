package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// Jobs looks into the queues of jobs, and changes what is in them.
type Jobs interface {
	// Queues counts the jobs of a queue, or of all where none is named.
	Queues(ctx context.Context, q JobQuery) (*JobQueues, error)
	// Jobs lists jobs of a queue.
	Jobs(ctx context.Context, q JobQuery) (*JobList, error)
	// ActOnJobs does something with a job, or a queue, and writes down who did so in the channel #audit.
	ActOnJobs(ctx context.Context, a JobAction) (*JobActed, error)
}

// JobQuery names jobs.
type JobQuery struct {
	Queue string     `json:"queue,omitempty"`
	ID    string     `json:"id,omitempty"`    // one job, wherever it stands
	State jobs.State `json:"state,omitempty"` // "": ready, leased, blocked and delayed ones
	Limit int        `json:"limit,omitempty"` // of each state; 0: 100
}

// JobQueues are queues.
type JobQueues struct {
	Queues []jobs.QueueLook `json:"queues"`
}

// JobList is jobs.
type JobList struct {
	Jobs []ShownJob `json:"jobs"`
}

// ShownJob is a job, as it is shown.
type ShownJob struct {
	ID       string          `json:"id"`
	State    jobs.State      `json:"state"`
	Number   uint64          `json:"number"`
	Priority int             `json:"priority"`
	Key      string          `json:"key,omitempty"`
	Attempts int             `json:"attempts"`
	Enqueued time.Time       `json:"enqueued"`
	At       time.Time       `json:"at,omitzero"`         // since when it is ready, when it may run, or when it was over
	Lease    time.Time       `json:"leaseUntil,omitzero"` // of one that is leased
	Worker   string          `json:"worker,omitempty"`
	Error    string          `json:"error,omitempty"` // of the try before
	Data     json.RawMessage `json:"data,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
}

// The verbs of actions on jobs.
const (
	CancelJob  Verb = "cancel job"
	RetryJob   Verb = "retry job"
	PauseQueue Verb = "pause queue"
	LetQueueGo Verb = "resume queue"
)

// JobAction is what is done with a job, or with a queue.
type JobAction struct {
	Verb  Verb   `json:"verb"`
	Queue string `json:"queue"`
	ID    string `json:"id,omitempty"`
	Who   string `json:"who"` // see [Action]
}

// JobActed is what was done.
type JobActed struct {
	Queue jobs.QueueLook `json:"queue"`
}

func (d *direct) queues() (*jobs.Service, error) {
	if d.c.Queues == nil {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "jobs", Err: errors.New("no configuration with queues is known"), Hint: "name the folder of the configuration with -f"}
	}
	if _, err := d.store(); err != nil {
		return nil, err
	}
	return d.c.Queues, nil
}

// Queues implements Jobs.
func (d *direct) Queues(ctx context.Context, q JobQuery) (*JobQueues, error) {
	s, err := d.queues()
	if err != nil {
		return nil, err
	}
	names := s.Names()
	if q.Queue != "" {
		names = []string{q.Queue}
	}
	out := &JobQueues{Queues: []jobs.QueueLook{}}
	for _, n := range names {
		l, err := s.Look(ctx, n)
		if err != nil {
			return nil, err
		}
		out.Queues = append(out.Queues, l)
	}
	return out, nil
}

// Jobs implements Jobs.
func (d *direct) Jobs(ctx context.Context, q JobQuery) (*JobList, error) {
	s, err := d.queues()
	if err != nil {
		return nil, err
	}
	of, st, err := s.Queue(q.Queue)
	if err != nil {
		return nil, err
	}
	out := &JobList{Jobs: []ShownJob{}}
	err = st.View(ctx, func(v store.View) error {
		out.Jobs = out.Jobs[:0]
		if q.ID != "" {
			j, err := of.Find(v.State(), q.ID)
			if err != nil {
				return err
			}
			if j == nil {
				return &penstock.Error{Code: penstock.NotFound, Op: "jobs", Path: q.Queue + "/" + q.ID, Err: errors.New("there is no such job"), Hint: "one that is over can be seen for as long as `keep` of the queue says; dead ones are among its dead letters: penstock dlq ls " + q.Queue}
			}
			out.Jobs = append(out.Jobs, shown(j))
			return nil
		}
		states := []jobs.State{jobs.Ready, jobs.Leased, jobs.Blocked, jobs.Delayed}
		if q.State != "" {
			states = []jobs.State{q.State}
		}
		limit := q.Limit
		if limit <= 0 {
			limit = 100
		}
		for _, state := range states {
			js, err := of.List(v.State(), state, limit)
			if err != nil {
				return err
			}
			for _, j := range js {
				out.Jobs = append(out.Jobs, shown(j))
			}
		}
		return nil
	})
	return out, err
}

func shown(j *jobs.Job) ShownJob {
	at := func(n int64) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(0, n).UTC()
	}
	out := ShownJob{ID: j.ID, State: j.State(), Number: j.Number, Priority: j.Priority, Key: j.Key, Attempts: j.Attempts, Enqueued: at(j.Created), At: at(j.At), Worker: j.Worker, Error: j.Error, Result: slices.Clone(j.Result)}
	if j.State() == jobs.Leased {
		out.Lease, out.At = at(j.Lease), time.Time{}
	}
	if body, err := j.Body(); err == nil && json.Valid(body) {
		out.Data = slices.Clone(body)
	}
	return out
}

// ActOnJobs implements Jobs.
func (d *direct) ActOnJobs(ctx context.Context, a JobAction) (*JobActed, error) {
	s, err := d.queues()
	if err != nil {
		return nil, err
	}
	q, st, err := s.Queue(a.Queue)
	if err != nil {
		return nil, err
	}
	now := d.c.Clock.Now()
	entry := Audited{Time: now.UTC(), Verb: a.Verb, Who: a.Who, What: a.Queue, Count: 1}
	if a.ID != "" {
		entry.What += "/" + a.ID
	}
	c := st.Submit(store.Small, func(tx store.Tx) (err error) {
		at := now.UnixNano()
		switch a.Verb {
		case CancelJob:
			err = q.Cancel(tx, at, a.ID)
		case RetryJob:
			err = q.Again(tx, at, a.ID)
		case PauseQueue, LetQueueGo:
			err = q.Pause(tx, at, a.Verb == PauseQueue)
		default:
			err = &penstock.Error{Code: penstock.Invalid, Op: "jobs", Err: fmt.Errorf("%q is nothing that can be done with them", a.Verb)}
		}
		if err != nil {
			return err
		}
		return entry.write(tx)
	})
	<-c.Done() // a caller who goes away must not leave the outcome open: it takes milliseconds
	if err := c.Err(); err != nil {
		return nil, err
	}
	if d.c.Process != nil {
		s.Enqueued(a.Queue)
	}
	l, err := s.Look(ctx, a.Queue)
	return &JobActed{Queue: l}, err
}

// toQueue says that a flow is none, but a queue, whose dead letters are jobs.
func (d *direct) toQueue(name string) bool {
	return d.c.Queues != nil && d.c.Queues.Plan(name) != nil
}

// enqueueAgain gives dead letters to their queue again, as new jobs of the same identity.
func (d *direct) enqueueAgain(tx store.Tx, queue string, at int64, letters []stored) error {
	records := make([][]byte, 0, len(letters))
	for _, l := range letters {
		v, err := record.Parse(l.record)
		if err != nil {
			return damaged(l, err)
		}
		draft := v.Draft()
		draft.Meta = append(draft.Meta, penstock.MetaEntry{Name: "dead", Value: penstock.Absent})
		records = append(records, draft.Append(nil))
	}
	return d.c.Queues.Enqueue(tx, queue, at, records)
}
