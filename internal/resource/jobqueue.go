package resource

import (
	"reflect"

	"penstock.dev/penstock"
)

// JobQueue is durable background work: jobs that steps enqueue, each of which is done by one worker at a time, tried again when it fails, and never
// lost. Workers pull jobs over HTTP, a flow takes them (`from: { queue: … }`), or they are pushed to an endpoint.
type JobQueue struct {
	Place
	// Name of the Schema of the jobs' data. It types what flows read and what is pushed, and is checked against what steps enqueue.
	Schema Ref `json:"schema"`
	// The key of a job, an expression over its data (body). Keys take turns: a key with a thousand jobs does not keep those of another waiting. Left out, jobs have the key that the step gives, or none.
	Key penstock.Expr `json:"key"`
	// The priority of a job, an expression over its data that gives a whole number from -100 to 100: of the jobs that may run, one of the highest priority is next. Left out, the step's, or 0.
	Priority penstock.Expr `json:"priority"`
	// What makes two jobs the same one: another is not enqueued while the first is not done.
	Unique *Unique `json:"unique"`
	// How often and when a job is tried again that failed, or whose worker was not heard of. Left out, 8 tries, with pauses from 1s to 15m.
	Retry *Retry `json:"retry"`
	// Lets workers take jobs over HTTP, from the process's listener. Not with push.
	Pull *Pull `json:"pull"`
	// Sends each job to an endpoint. Not with pull.
	Push *Push `json:"push"`
	// Jobs that are enqueued by the clock.
	Schedule []JobSchedule `json:"schedule"`
	// How many jobs may be under way at once.
	Concurrency *JobBound `json:"concurrency"`
	// How many jobs may begin in a time.
	Rate *JobRate `json:"rate"`
	// How long jobs that are over can still be looked at (`penstock jobs show`), with the result of the worker. Left out, not at all.
	Keep penstock.Duration `json:"keep" penstock:"min=1s"`
}

// Unique says which jobs of a queue are the same.
type Unique struct {
	Place
	// What they have in common, an expression over their data. Text, a number, a bool or a timestamp.
	By penstock.Expr `json:"by" penstock:"required"`
	// For how long after a job was enqueued another one is the same, also where the first is done by then. Left out, until it is done.
	Within penstock.Duration `json:"within" penstock:"min=1s"`
}

// Pull lets workers take jobs over HTTP.
type Pull struct {
	Place
	// How long a worker has a job that it took, unless it says that it still works on it (a heartbeat). Then the job is given to another.
	Lease penstock.Duration `json:"lease" penstock:"default=30s,min=1s,max=24h"`
	// What workers must show as `authorization: Bearer …`, a secret. Left out, whoever reaches the listener may take jobs.
	Token *penstock.Secret `json:"token"`
}

// Push sends each job to an endpoint: one connector that can be called, such as http, with the job's data as the body unless it says otherwise.
type Push struct {
	Place
	// How many jobs are under way at once.
	Concurrency int `json:"concurrency" penstock:"default=16,min=1,max=1000"`
	// How long the endpoint may take for a job.
	Timeout penstock.Duration `json:"timeout" penstock:"default=30s,min=1ms"`

	// Target is the connector.
	Target Target `json:"-"`
}

// JobSchedule enqueues a job at every instant of a schedule: one, however many processes share the store, and however often they start.
type JobSchedule struct {
	Place
	// When, as cron has it: minute, hour, day of the month, month, day of the week.
	Cron string `json:"cron" penstock:"required,nonempty"`
	// The time zone of cron, by its IANA name, such as Europe/Berlin.
	TimeZone string `json:"timeZone" penstock:"default=UTC"`
	// What is made of instants that were missed while nothing ran: none leaves them out, last makes one job for the last of them, all makes one for each.
	CatchUp string `json:"catchUp" penstock:"enum=none|last|all,default=last"`
	// The data of the job, a data tree. In it, body is that of the schedule: scheduled, previous, count and missed.
	Data penstock.Tree `json:"data" penstock:"required"`
}

// JobBound bounds how many jobs are under way at once.
type JobBound struct {
	Place
	// Of the queue.
	Total int `json:"total" penstock:"min=1,max=1000000"`
	// Of each key.
	PerKey int `json:"perKey" penstock:"min=1,max=1000000"`
}

// JobRate bounds how many jobs begin in a time. A try counts as one.
type JobRate struct {
	Place
	// Of the queue: 100/s, 20/m.
	Total penstock.Rate `json:"total"`
	// Of each key.
	PerKey penstock.Rate `json:"perKey"`
	// How many may begin at once after a quiet time.
	Burst int `json:"burst" penstock:"default=1,min=1,max=1000000"`
}

// Enqueue gives a job to a JobQueue, in the transaction that settles the message. Where the result goes somewhere (`into`), it is {id}.
type Enqueue struct {
	Place
	// Name of the JobQueue.
	Queue Ref `json:"queue" penstock:"required"`
	// The data of the job, a data tree. Left out, the body.
	Data penstock.Tree `json:"data"`
	// Key of the job. Left out, what the queue says, or the message's own.
	Key penstock.Expr `json:"key"`
	// Priority of the job, from -100 to 100. Left out, what the queue says.
	Priority penstock.Expr `json:"priority"`
	// How long the job waits before it may run.
	Delay penstock.Duration `json:"delay" penstock:"min=1ms"`
	// When the job may run, a timestamp. One that is over lets it run at once. Not with delay.
	At penstock.Expr `json:"at"`
	// What the job is unique by, in place of what the queue says. Text, a number, a bool or a timestamp.
	Unique penstock.Expr `json:"unique"`
}

func (*Enqueue) verb() string { return "job" }

func (e *Enqueue) check(d *Decoder) {
	if e.Has("delay") && e.Has("at") {
		d.errorf(e.AtKey("at"), "wrong-field", "at", "keep one of them", "a job waits for a time (`delay`) or until one (`at`), and this one has both")
	}
}

func (q *JobQueue) check(d *Decoder) {
	if q.Pull != nil && q.Push != nil {
		d.errorf(q.AtKey("push"), "wrong-field", "push", "keep one of them", "jobs are pulled by workers or pushed to an endpoint, and this queue has both")
	}
	if q.Retry != nil {
		q.Retry.noBudget(d, "a queue")
	}
	if c := q.Concurrency; c != nil && c.Total == 0 && c.PerKey == 0 && c.Node != nil && c.Node.Kind == NodeMap {
		d.errorf(c.Pos, "missing-field", "", "write `concurrency: { total: 10 }`, or leave it out", "`concurrency` bounds nothing")
	}
	if r := q.Rate; r != nil && !r.Has("total") && !r.Has("perKey") && r.Node != nil && r.Node.Kind == NodeMap {
		d.errorf(r.Pos, "missing-field", "", "write `rate: { total: 10/s }`, or leave it out", "`rate` bounds nothing")
	}
}

// DecodeNode reads a push: one connector, and options beside it.
func (p *Push) DecodeNode(n *Node, d *Decoder) {
	var found []*NodeEntry
	d.structure(n, reflect.ValueOf(p).Elem(), &fieldInfo{name: "push"}, func(e *NodeEntry) bool {
		found = append(found, e)
		return true
	})
	if n.Kind != NodeMap {
		return
	}
	switch len(found) {
	case 0:
		d.errorf(n.Pos, "no-connector", "", "add `http: { connection: …, post: … }`", "`push` names no connector")
		return
	case 1:
	default:
		found = d.pickConnector(found, d.info(reflect.TypeFor[Push]()).names())
		if len(found) > 1 {
			d.errorf(found[1].KeyPos, "two-connectors", found[1].Key, "keep one of them", "a job is pushed to one place, and this one has `%s` and `%s`", found[0].Key, found[1].Key)
		}
	}
	p.Target = Target{Place: Place{n.Pos, n}, Wait: true}
	if found[0].Key == "channel" || found[0].Key == queueWord {
		d.errorf(found[0].KeyPos, "wrong-field", found[0].Key, "read the queue with a flow: `from: { queue: … }`", "a job is pushed to a system that answers")
		return
	}
	p.Target.connect(found[0], d)
}

// queueWord is the key of a target that is a queue, and QueuePrefix begins what its jobs are sent to, among the names of channels.
const (
	queueWord   = "queue"
	QueuePrefix = "job/"
)
