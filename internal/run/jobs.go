package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// Jobs are the queues of jobs, as a run uses them.
type Jobs interface {
	// Enqueue adds jobs to a queue in a transaction. Each is the record of a message whose header `job` says what is not in the message: id, priority, unique, at
	// (Unix nanoseconds).
	Enqueue(tx store.Tx, queue string, now int64, records [][]byte) error
	// Enqueued says that such a transaction is durable.
	Enqueued(queue string)
	// Source reads jobs. At most window are under way at once; 0: as the queue sees fit.
	Source(queue string, window int, env penstock.Env) penstock.Source
}

// jobEnder is a source of jobs that is told when nobody enqueues any more.
type jobEnder interface{ End() }

// enders are the sources of jobs that a queue has in this run.
type enders struct {
	mu  sync.Mutex
	all []jobEnder
}

func (e *enders) add(s jobEnder) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
}

func (e *enders) end() {
	e.mu.Lock()
	all := e.all
	e.mu.Unlock()
	for _, s := range all {
		s.End()
	}
}

// jobSource makes the source of a queue.
func (f *flow) jobSource(in *instance) error {
	ep := in.ep
	if f.r.opts.Jobs == nil {
		return &penstock.Error{Code: penstock.Config, Op: ep.Name, Path: ep.Pos.String(), Err: errors.New("this run has no queues of jobs")}
	}
	v := f.r.opts.Jobs.Source(ep.Queue, ep.Window, f.env(ep.Name, in))
	in.v = v
	if e, ok := v.(jobEnder); ok {
		if d := f.net.durables[jobChannel(ep.Queue)]; d != nil {
			d.takers.add(e)
			if d.ended.Load() {
				e.End()
			}
		}
	}
	return nil
}

// jobChannel is what jobs of a queue are sent to.
func jobChannel(queue string) string { return "job/" + queue }

// takesJobs says that what p reads are jobs: what fails goes back to their queue.
func (p *pump) takesJobs() bool { return p.ep != nil && p.ep.Queue != "" }

// failJob ends a message of a job that failed: the job goes back to its queue, and nothing of what it recorded is written.
func (x *exec) failJob(w *work, m *penstock.Message, cause error, stepName string) {
	t := m.Lineage.(*track)
	t.recorded.mu.Lock()
	if t.err == nil {
		t.err = &penstock.Error{Code: penstock.CodeOf(cause), Op: stepName, Err: cause, RetryAfter: penstock.RetryAfterOf(cause)}
	}
	t.recorded.mu.Unlock()
	x.f.stats.refuse(cause, stepName)
	x.f.log.Debug("a job failed; it goes back to its queue", "step", stepName, "error", cause)
	x.end(w, []*penstock.Message{m}, fateFailed)
}

// enqueue records jobs. They are stored in the transaction that settles the message.
func (x *exec) enqueue(w *work, n *node, op *plan.Send, ms []*penstock.Message) {
	o, now := n.sink.outlet, x.f.now()
	kept := ms[:0]
	for _, m := range ms {
		c, id, err := x.job(w, o, op, m, now)
		if err != nil {
			x.fail(m, err)
			continue
		}
		if op.Job.Into != nil {
			text := append(jsonview.AppendString([]byte(`{"id":`), id), '}')
			d := w.batch.NewDoc()
			d.Reset(jsonview.JSON, w.batch.Arena().Copy(text))
			if err = d.Parse(jsonview.Limits{}); err == nil {
				err = step.Assign(w.batch, m, *op.Job.Into, penstock.NodeValue(d, 0))
			}
			if err != nil {
				x.fail(m, err)
				continue
			}
		}
		m.Lineage.(*track).append(x.author(m), o, c, x.f.header(m, now), nil)
		kept = append(kept, m)
	}
	n.sink.sent.Add(int64(len(kept)))
	x.put(w, n.Next, kept)
}

// job makes the message that is a job.
func (x *exec) job(w *work, o *outlet, op *plan.Send, m *penstock.Message, now int64) (c *penstock.Message, id string, err error) {
	c = child(w.batch, m, 0)
	if op.Body != nil {
		dst, err := op.Body.Append(x.scratch[:0], w.batch.Frame(m))
		if err != nil {
			return nil, "", err
		}
		x.scratch = dst
		d := w.batch.NewDoc()
		d.Reset(jsonview.JSON, w.batch.Arena().Copy(dst))
		c.Body = d
	}
	q, name := o.jobs, op.Endpoint.Name
	key := op.Key
	of := m
	if key == nil && o.key != nil {
		key, of = o.key, c
	}
	if key != nil {
		if c.Key, err = text(key, w.batch.Frame(of), name+" key"); err != nil {
			return nil, "", err
		}
	}
	if len(c.Key) > maxJobKey {
		return nil, "", &penstock.Error{Code: penstock.Unprocessable, Op: name + " key", Err: fmt.Errorf("the key is longer than %d bytes", maxJobKey)}
	}
	str := penstock.StringValue
	var about []penstock.Entry
	unique := ""
	switch {
	case op.Job.Unique != nil:
		unique, err = text(op.Job.Unique, w.batch.Frame(m), name+" unique")
	case q.Unique != nil:
		unique, err = text(q.Unique, w.batch.Frame(c), name+" unique")
	}
	if err != nil {
		return nil, "", err
	}
	switch {
	case op.Job.Tick:
		id = fmt.Sprintf("tick-%s-%d", name, m.Pos.Offset)
		unique = id
	case unique != "":
		id = "u-" + digest(unique)
		unique = id
	default:
		id = x.f.r.opts.UUID()
	}
	about = append(about, penstock.Entry{Key: str("id"), Value: str(id)})
	if unique != "" {
		about = append(about, penstock.Entry{Key: str("unique"), Value: str(unique)})
	}
	priority, of := op.Job.Priority, m
	if priority == nil {
		priority, of = q.Priority, c
	}
	if priority != nil {
		v := priority.Eval(w.batch.Frame(of)).Load(w.batch.Arena())
		if v.Kind() != penstock.KindInt || v.Int() < -100 || v.Int() > 100 {
			return nil, "", &penstock.Error{Code: penstock.Unprocessable, Op: name + " priority", Err: errors.New("a priority is a whole number from -100 to 100")}
		}
		about = append(about, penstock.Entry{Key: str("priority"), Value: v})
	}
	at := int64(0)
	if op.Job.Delay > 0 {
		at = now + int64(op.Job.Delay)
	}
	if op.Job.At != nil {
		v := op.Job.At.Eval(w.batch.Frame(m)).Load(w.batch.Arena())
		if v.Kind() != penstock.KindTimestamp {
			return nil, "", &penstock.Error{Code: penstock.Unprocessable, Op: name + " at", Err: errors.New("`at` gives no timestamp")}
		}
		at = v.Timestamp().UnixNano()
	}
	if at != 0 {
		about = append(about, penstock.Entry{Key: str("at"), Value: penstock.IntValue(at)})
	}
	c.Meta.Set("job", penstock.MapValue(&penstock.Map{Entries: about}))
	c.Meta.Set("dead", penstock.Absent)
	return c, id, nil
}

// digest is a text of any length as one of 32 characters.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// maxJobKey bounds the keys of jobs: they are kept as keys of the store.
const maxJobKey = 1024

// enqueued writes jobs in the flow's transaction.
func (b *bundle) enqueue(tx store.Tx, j Jobs, queue string, now int64) error {
	records := make([][]byte, 0, b.n)
	for data := b.data; len(data) > 0; {
		rec, rest, err := store.NextFrame(data)
		if err != nil {
			return err
		}
		records, data = append(records, rec), rest
	}
	return j.Enqueue(tx, queue, now, records)
}

// wakeTakers says that jobs are there.
func (u *unit) wakeTakers(context.Context) {
	for _, o := range u.order {
		if o.jobs != nil {
			u.c.f.r.opts.Jobs.Enqueued(o.jobs.Name)
		}
	}
}
