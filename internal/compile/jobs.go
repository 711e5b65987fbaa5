package compile

import (
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// jobRetry is a queue's retry where it declares none: somebody who is away for a lunch loses nothing.
var jobRetry = plan.Retry{Attempts: 8, Initial: time.Second, Factor: 3, Max: 15 * time.Minute, Jitter: 0.2}

// defaultLease is how long a job is held where nothing is said.
const defaultLease = 30 * time.Second

// queue is a JobQueue while flows are compiled. What is sent to it goes through a channel of its own name.
type queue struct {
	spec *resource.JobQueue
	res  *resource.Resource
	out  *plan.JobQueue
	ch   *channel
}

// declareQueues makes the queues that flows can refer to.
func (c *compiler) declareQueues() {
	c.queues = map[string]*queue{}
	for _, r := range c.set.Of(resource.KindJobQueue) {
		if r.Name() == "" {
			continue
		}
		spec := r.Spec.(*resource.JobQueue)
		name := resource.QueuePrefix + r.Name()
		ch := &channel{name: name, pos: r.NamePos(), spec: &resource.Channel{Place: spec.Place, Mode: "queue", Durable: true, Schema: spec.Schema, Key: spec.Key}}
		ch.out = &plan.Channel{Name: name, Durable: true, Queue: true, Pos: ch.pos}
		if !spec.Schema.IsZero() {
			if ch.schema = c.Schema(spec.Schema, c.diags); ch.schema == nil {
				ch.cyclic = true
			}
		}
		q := &queue{spec: spec, res: r, ch: ch, out: &plan.JobQueue{Name: r.Name(), Pos: ch.pos, Retry: jobRetry, Lease: defaultLease, Keep: spec.Keep.Std()}}
		if rt := lower.Retry(spec.Retry); rt != nil {
			q.out.Retry = *rt
			if !spec.Retry.Has("backoff") {
				q.out.Retry.Initial, q.out.Retry.Factor, q.out.Retry.Max = jobRetry.Initial, jobRetry.Factor, jobRetry.Max
			}
		}
		if b := spec.Concurrency; b != nil {
			q.out.Concurrency, q.out.KeyConcurrency = b.Total, b.PerKey
		}
		if b := spec.Rate; b != nil {
			q.out.Rate, q.out.KeyRate, q.out.Burst = perSecond(b.Total), perSecond(b.PerKey), b.Burst
		}
		if spec.Unique != nil {
			q.out.Within = spec.Unique.Within.Std()
		}
		if p := spec.Pull; p != nil {
			q.out.Pull, q.out.Token = true, p.Token
			if p.Token != nil {
				c.wants(*p.Token)
			}
			if p.Lease > 0 {
				q.out.Lease = p.Lease.Std()
			}
		}
		q.out.Push = spec.Push != nil
		ch.out.Jobs = q.out
		c.queues[r.Name()], c.channels[name] = q, ch
		c.plan.Channels = append(c.plan.Channels, ch.out)
		c.plan.Queues = append(c.plan.Queues, q.out)
	}
}

func perSecond(r penstock.Rate) float64 {
	if r.IsZero() {
		return 0
	}
	return r.PerSecond()
}

// Queue implements lower.World.
func (c *compiler) Queue(ref resource.Ref, name string, data *types.Type, l *diag.List) *plan.Endpoint {
	q := c.queues[ref.Name]
	if q == nil {
		if !ref.IsZero() {
			c.dangling(l, ref, resource.KindJobQueue)
		}
		return nil
	}
	c.use(resource.KindJobQueue, ref.Name)
	return &plan.Endpoint{Name: name, Channel: q.ch.name, Type: data, Pos: ref.Pos, Label: "queue " + ref.Name}
}

// queueDriver says how a flow reads jobs: each is settled for itself, and comes again until it is.
func queueDriver() *penstock.Driver {
	r := penstock.NewRegistry()
	penstock.RegisterSource(r, penstock.Spec{Name: "queue", Summary: "Takes jobs of a JobQueue.", Settle: penstock.Each, Replay: penstock.ReplayAgain, Keyed: true, Reorders: true},
		func(struct{}, penstock.Env) (penstock.Source, error) {
			return nil, penstock.E(penstock.Internal, "queue", "", "a queue is read by the engine")
		})
	d, _ := r.Lookup(penstock.KindOfSource, "queue")
	return d
}

// queueSource makes the endpoint of a queue whose jobs a flow takes.
func (c *compiler) queueSource(f *plan.Flow, t *resource.Target, name string, schema *lower.Schema, declared *types.Type) (*types.Type, bool) {
	q := c.queues[t.Queue.Name]
	if q == nil {
		c.dangling(c.diags, t.Queue, resource.KindJobQueue)
		return orDyn(declared), true
	}
	c.use(resource.KindJobQueue, t.Queue.Name)
	typ := q.ch.typ()
	if schema != nil {
		lower.Fits(c.diags, t.At("schema"), schema.Name, typ, declared, "what comes from queue "+q.out.Name)
		typ = declared
	}
	drv := queueDriver()
	f.Sources = append(f.Sources, &plan.Endpoint{Name: name, Driver: drv, Config: drv.NewConfig(), Queue: q.out.Name, Type: typ, Pos: t.Pos, Label: "queue " + q.out.Name})
	return typ, q.ch.keyed()
}

// ofJobs applies the rules of a flow that takes jobs: they have no order that a flow could keep, and those that fail are the queue's to try again.
func (c *compiler) ofJobs(f *plan.Flow, spec *resource.Flow) {
	at := -1
	for i, s := range f.Sources {
		if s.Queue != "" {
			at = i
		}
	}
	if at < 0 {
		return
	}
	in := spec.Inputs()[at]
	if len(spec.Inputs()) > 1 {
		c.diags.Errorf(in.Pos, "mixed-sources", "queue", "give the jobs a flow of their own", "flow %s takes jobs and reads something else, too; a job that fails goes back to its queue, and other messages could not", f.Name)
	}
	switch {
	case !spec.Has("order"):
		f.Order = plan.None
	case f.Order == plan.Total:
		c.diags.Errorf(spec.At("order"), "wrong-order", spec.Order, "leave `order` out; `concurrency: { perKey: 1 }` of the JobQueue keeps jobs of a key from being done at the same time",
			"jobs of flow %s are done as their priorities say, and have no order that could be kept", f.Name)
		f.Order = plan.None
	}
	if spec.OnError.Retry == nil {
		f.OnError.Retry.Attempts = 1 // the queue's retry acts
	}
	if spec.OnError.DeadLetter != nil {
		c.diags.Errorf(spec.OnError.At("deadLetter"), "wrong-field", "deadLetter", "remove it; `penstock dlq ls "+in.Queue.Name+"` shows them, and `penstock dlq redrive` gives them to the queue again",
			"a job that flow %s fails goes back to its queue, which has dead letters of its own: `deadLetter` means nothing here", f.Name)
	}
	if spec.OnError.Order == "park" {
		c.diags.Errorf(spec.OnError.At("order"), "wrong-field", "park", "leave it out", "a job that flow %s fails goes back to its queue: nothing can be parked behind it", f.Name)
	}
	if beyond(f) {
		c.diags.Errorf(f.Pos, "misplaced-step", f.Name, "send to a durable channel, and let a flow behind it do that", "flow %s takes jobs and has a step that keeps messages back; a job is done when its flow is through with it", f.Name)
	}
}

// serveQueues makes the flows that serve queues: those that push jobs, and those that enqueue them by the clock.
func (c *compiler) serveQueues() {
	for _, r := range c.set.Of(resource.KindJobQueue) {
		q := c.queues[r.Name()]
		if q == nil {
			continue
		}
		for i := range q.spec.Schedule {
			c.schedule(q, &q.spec.Schedule[i], i)
		}
		if q.spec.Push != nil && q.spec.Push.Target.Config != nil {
			c.push(q)
		}
	}
}

// entry makes an entry of a node.
func entry(key string, pos penstock.Pos, v *resource.Node) resource.NodeEntry {
	return resource.NodeEntry{Key: key, KeyPos: pos, Value: v}
}

func textNode(text string, pos penstock.Pos) *resource.Node {
	return &resource.Node{Kind: resource.NodeText, Quoted: true, Pos: pos, TextPos: pos, Text: text}
}

// schedule is a flow that makes a job of each instant.
func (c *compiler) schedule(q *queue, s *resource.JobSchedule, i int) {
	name := q.out.Name + ".schedule" + strconv.Itoa(i+1)
	config := &resource.Node{Kind: resource.NodeMap, Pos: s.Pos}
	for _, e := range []struct{ key, text, field string }{{"cron", s.Cron, "cron"}, {"zone", s.TimeZone, "timeZone"}, {"catchUp", s.CatchUp, "catchUp"}} {
		config.Entries = append(config.Entries, entry(e.key, s.At(e.field), textNode(e.text, s.At(e.field))))
	}
	from := &resource.Target{Place: resource.Place{Pos: s.Pos}, Connector: "timer", ConnectorPos: s.Pos, Config: config}
	job := &resource.Enqueue{Place: s.Place, Queue: resource.Ref{Name: q.out.Name, Pos: s.Pos}, Data: s.Data}
	f := c.served(q, name, s.Pos, &resource.Flow{From: from, Order: "total", Steps: []resource.Step{{Place: s.Place, Name: "enqueue", Verb: job, VerbName: "job", VerbPos: s.Pos}}})
	for i := range f.Nodes {
		if send, ok := f.Nodes[i].Op.(*plan.Send); ok && send.Job != nil {
			send.Job.Tick = true
		}
	}
}

// push is a flow that calls the endpoint with each job.
func (c *compiler) push(q *queue) {
	p := q.spec.Push
	t := p.Target
	if t.Connector == "http" {
		t.Config = pushHeaders(t.Config, q.out.Name)
	}
	step := resource.Step{Place: p.Place, Name: "push", Into: penstock.Path{Source: "none", Root: "none", Pos: p.Pos}, Timeout: p.Timeout, Verb: &resource.Call{Place: p.Place, Target: t}, VerbName: "call", VerbPos: p.Pos}
	from := &resource.Target{Place: resource.Place{Pos: p.Pos}, Connector: "queue", ConnectorPos: p.Pos, Queue: resource.Ref{Name: q.out.Name, Pos: p.Pos}, Channel: resource.Ref{Name: q.ch.name, Pos: p.Pos}}
	f := c.served(q, q.out.Name+".push", p.Pos, &resource.Flow{From: from, Order: "none", Concurrency: min(p.Concurrency, 64), Steps: []resource.Step{step}})
	for _, s := range f.Sources {
		s.Window = p.Concurrency
	}
	for i := range f.Nodes {
		if call, ok := f.Nodes[i].Op.(*plan.Call); ok {
			call.Window = p.Concurrency
		}
	}
}

// served compiles a flow that nobody wrote.
func (c *compiler) served(q *queue, name string, pos penstock.Pos, spec *resource.Flow) *plan.Flow {
	spec.Pos = pos
	spec.Delivery, spec.Budget.Messages, spec.Budget.Bytes, spec.OnError.Order = "at-least-once", 16384, 64<<20, "skip"
	f := c.compileFlow(&resource.Resource{Kind: resource.KindFlow, Metadata: resource.Metadata{Name: name}, Pos: pos, File: q.res.File, Doc: q.res.Doc, Spec: spec})
	f.Queue = q.out.Name
	return f
}

// pushHeaders adds to a request which job it is, which try, and a key by which who gets it twice can know that, unless the configuration says them itself.
func pushHeaders(config *resource.Node, queue string) *resource.Node {
	out := *config
	out.Entries = append([]resource.NodeEntry(nil), config.Entries...)
	header := &resource.Node{Kind: resource.NodeMap, Pos: config.Pos}
	at := -1
	for i := range out.Entries {
		if out.Entries[i].Key == "headers" {
			at = i
			*header = *out.Entries[i].Value
			header.Entries = append([]resource.NodeEntry(nil), header.Entries...)
		}
	}
	if header.Kind != resource.NodeMap {
		return config // said when it is decoded
	}
	for _, h := range [][2]string{{"penstock-queue", queue}, {"penstock-job", "${meta.job.id}"}, {"penstock-attempt", "${meta.job.attempt}"}, {"idempotency-key", "${meta.job.once}"}} {
		said := false
		for i := range header.Entries {
			said = said || strings.EqualFold(header.Entries[i].Key, h[0])
		}
		if !said {
			header.Entries = append(header.Entries, entry(h[0], config.Pos, textNode(h[1], config.Pos)))
		}
	}
	if at >= 0 {
		out.Entries[at].Value = header
	} else {
		out.Entries = append(out.Entries, entry("headers", config.Pos, header))
	}
	return &out
}

// finishQueues completes what needs to be known of all flows.
func (c *compiler) finishQueues() {
	for _, r := range c.set.Of(resource.KindJobQueue) {
		q := c.queues[r.Name()]
		if q == nil {
			continue
		}
		spec, sc := q.spec, c.bodyScope(q.ch.out.Type)
		q.out.Type = q.ch.out.Type
		q.out.Keyed = !spec.Key.IsZero()
		for _, s := range q.ch.senders {
			q.out.Keyed = q.out.Keyed || s.Keyed
		}
		if !spec.Priority.IsZero() {
			q.out.Priority = c.exprs().Expr(spec.Priority, sc, types.IntType).Program
		}
		if spec.Unique != nil && !spec.Unique.By.IsZero() {
			k := c.exprs().Expr(spec.Unique.By, sc, nil)
			lower.KeyType(c.diags, k.Type, spec.Unique.By)
			q.out.Unique = k.Program
		}
		if p := spec.Concurrency; p != nil && p.PerKey > 0 && !q.out.Keyed {
			c.diags.Errorf(p.AtKey("perKey"), "missing-key", "perKey", "add `key: …` to the queue", "jobs of queue %s have no key, and `perKey` bounds those of one", r.Name())
		}
		if p := spec.Rate; p != nil && !p.PerKey.IsZero() && !q.out.Keyed {
			c.diags.Errorf(p.AtKey("perKey"), "missing-key", "perKey", "add `key: …` to the queue", "jobs of queue %s have no key, and `perKey` bounds those of one", r.Name())
		}
		if len(q.ch.senders) == 0 && len(spec.Schedule) == 0 {
			c.diags.Warnf(q.ch.pos, "no-sender", r.Name(), "enqueue with a step `job: { queue: "+r.Name()+" }`, or add a `schedule`", "nothing enqueues jobs in queue %s", r.Name())
		}
		if q.out.Pull && q.out.Token == nil && !c.local() {
			c.diags.Warnf(spec.AtKey("pull"), "no-token", r.Name(), "add `token: { secret: … }` to `pull`", "whoever reaches the listener may take jobs of queue %s", r.Name())
		}
		if spec.Push != nil && len(q.ch.flows) > 0 {
			c.diags.Errorf(q.ch.readers[0], "two-workers", r.Name(), "keep one of them", "jobs of queue %s are pushed to an endpoint, and flow %s takes them, too", r.Name(), q.ch.flows[0])
		}
	}
}

// local says that nobody but this machine reaches the listener.
func (c *compiler) local() bool {
	in := c.set.Integration()
	if in == nil {
		return true
	}
	a := in.HTTP.Address
	return a == "" || strings.HasPrefix(a, "127.") || strings.HasPrefix(a, "localhost:") || strings.HasPrefix(a, "[::1]")
}
