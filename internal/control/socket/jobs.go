package socket

import (
	"context"

	"penstock.dev/penstock/internal/control/operate"
)

// Operations on queues of jobs.
const (
	opQueues = "jobs/queues"
	opJobs   = "jobs/list"
	opJobAct = "jobs/act"
)

// jobOperations are those on queues of jobs.
func jobOperations(ops *operate.Operations) []operationOf {
	return []operationOf{
		asked(opQueues, "Counts the jobs of queues.", nil, func(ctx context.Context, q operate.JobQuery, _ *answer) (*operate.JobQueues, error) {
			return ops.Jobs.Queues(ctx, q)
		}),
		asked(opJobs, "Lists jobs of a queue.", nil, func(ctx context.Context, q operate.JobQuery, _ *answer) (*operate.JobList, error) {
			return ops.Jobs.Jobs(ctx, q)
		}),
		asked(opJobAct, "Cancels a job, has one tried again at once, pauses a queue, or lets it go on, and writes down who did so.", nil, func(ctx context.Context, a operate.JobAction, _ *answer) (*operate.JobActed, error) {
			a.Who = who(ctx, a.Who)
			return ops.Jobs.ActOnJobs(ctx, a)
		}),
	}
}

// queues asks for operations on queues of jobs.
type queues struct{ c *client }

var _ operate.Jobs = queues{}

// Queues implements operate.Jobs.
func (h queues) Queues(ctx context.Context, q operate.JobQuery) (*operate.JobQueues, error) {
	v := &operate.JobQueues{}
	return answered(v, h.c.ask(ctx, opQueues, q, v, nil))
}

// Jobs implements operate.Jobs.
func (h queues) Jobs(ctx context.Context, q operate.JobQuery) (*operate.JobList, error) {
	v := &operate.JobList{}
	return answered(v, h.c.ask(ctx, opJobs, q, v, nil))
}

// ActOnJobs implements operate.Jobs.
func (h queues) ActOnJobs(ctx context.Context, a operate.JobAction) (*operate.JobActed, error) {
	v := &operate.JobActed{}
	return answered(v, h.c.ask(ctx, opJobAct, a, v, nil))
}
