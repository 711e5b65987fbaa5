package jobs

import (
	"context"
	"strconv"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
)

// Source is how a flow takes jobs: at most window are under way at once.
func (s *Service) Source(queue string, window int, env penstock.Env) penstock.Source {
	if window <= 0 {
		window = max(64, 4*env.Concurrency)
	}
	worker := s.o.Host
	if worker == "" {
		worker = "in process"
	}
	return &source{s: s, queue: queue, window: window, once: env.Once, worker: worker + " " + env.Name, held: map[int64]*Job{}, room: make(chan struct{}, 1)}
}

// source takes jobs for a flow.
type source struct {
	s          *Service
	queue      string
	window     int
	once       bool
	worker     string
	idle, busy func()

	mu    sync.Mutex
	held  map[int64]*Job // by number
	ended bool
	room  chan struct{}
}

// Waits says whom to tell when it begins to wait, and when that is over.
func (s *source) Waits(idle, busy func()) { s.idle, s.busy = idle, busy }

// End says that those who enqueue jobs have ended.
func (s *source) End() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.s.Enqueued(s.queue)
}

func (s *source) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended || s.once
}

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	_, err := s.s.Desk(s.queue)
	return err
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		free := s.window - len(s.held)
		s.mu.Unlock()
		if free > 0 {
			d, err := s.s.Desk(s.queue)
			if err != nil {
				return err
			}
			js, err := d.Take(ctx, Taker{Worker: s.worker, Max: free, Keeps: true, Idle: s.idle, Busy: s.busy, Over: s.over, Once: s.once})
			if err == ErrClosed && ctx.Err() == nil { //nolint:errorlint // it is returned as it is
				if s.s.isClosed() {
					<-ctx.Done()
					return ctx.Err()
				}
				continue // the queue has other rules now
			}
			if err != nil {
				return err
			}
			return s.messages(js, into)
		}
		if s.idle != nil {
			s.idle()
		}
		select {
		case <-s.room:
		case <-ctx.Done():
		}
		if s.busy != nil {
			s.busy()
		}
	}
}

func (s *Service) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// messages makes messages of jobs.
func (s *source) messages(js []*Job, into *penstock.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range js {
		v, err := record.Parse(j.Record)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "queue " + s.queue, Path: j.ID, Err: err, Hint: "`penstock store check` says what else is damaged"}
		}
		m, err := v.Message(into, nil)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "queue " + s.queue, Path: j.ID, Err: err}
		}
		m.Key = j.Key
		m.Meta.Set(MetaJob, metaOf(s.queue, j))
		m.Pos = penstock.Position{Stream: "job/" + s.queue, Offset: int64(j.Number), Next: int64(j.Number) + 1, Tag: j.Epoch} //nolint:gosec // a count
		s.held[int64(j.Number)] = j                                                                                           //nolint:gosec // a count
	}
	return nil
}

// Once is what makes this job, and no other of its id, the one that it is: what those who may get it twice know it by.
func (j *Job) Once(queue string) string {
	return queue + "/" + j.ID + "/" + strconv.FormatUint(j.Number, 10)
}

// metaOf is the header job of a message.
func metaOf(queue string, j *Job) penstock.Value {
	str := penstock.StringValue
	return penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
		{Key: str("id"), Value: str(j.ID)},
		{Key: str("queue"), Value: str(queue)},
		{Key: str("attempt"), Value: penstock.IntValue(int64(j.Attempts))},
		{Key: str("priority"), Value: penstock.IntValue(int64(j.Priority))},
		{Key: str("once"), Value: str(j.Once(queue))},
	}})
}

// Settle implements penstock.Source: a job that went well is completed, and one that failed goes back to its queue. Who no longer holds it is refused.
func (s *source) Settle(ctx context.Context, outcomes []penstock.Outcome) error {
	all := make([]*Finish, 0, len(outcomes))
	s.mu.Lock()
	for _, o := range outcomes {
		j := s.held[o.Pos.Offset]
		if j == nil {
			continue
		}
		delete(s.held, o.Pos.Offset)
		f := &Finish{ID: j.ID, Epoch: o.Pos.Tag}
		if o.Err != nil {
			f.Fail(o.Err)
		}
		all = append(all, f)
	}
	s.mu.Unlock()
	d, err := s.s.Desk(s.queue)
	if err != nil {
		return err
	}
	if err := d.Finish(ctx, all...); err != nil {
		return err
	}
	for _, f := range all {
		if f.Err != nil && s.s.o.Logger != nil {
			s.s.o.Logger.Warn("a job was done by somebody who held it no longer; it is done again", "queue", s.queue, "job", f.ID)
		}
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
	return nil
}

// Fail makes f a failure with err: transient ones, and faults, are tried again; those that would fail in the same way are final.
func (f *Finish) Fail(err error) {
	f.Failed, f.Code, f.Error, f.After = true, penstock.CodeOf(err), err.Error(), penstock.RetryAfterOf(err)
	f.Final = !f.Code.Transient() && f.Code != penstock.Internal && f.Code != penstock.Cancelled
}

// Close implements penstock.Source: what was read and not settled goes back at once.
func (s *source) Close(ctx context.Context) error {
	s.mu.Lock()
	var all []*Finish
	for n, j := range s.held {
		all = append(all, &Finish{ID: j.ID, Epoch: j.Epoch, Release: true})
		delete(s.held, n)
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	d, err := s.s.Desk(s.queue)
	if err != nil {
		return nil // their leases run out
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = d.Finish(ctx, all...) // else their leases run out
	return nil
}
