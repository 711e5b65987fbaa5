package plan

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// JobQueue is a queue of jobs.
type JobQueue struct {
	Name string
	Pos  penstock.Pos
	Type *types.Type // of the jobs' data
	// Priority and Unique read the job; nil: none is said. Its key is that of the Channel.
	Priority penstock.Program
	Unique   penstock.Program
	// Within is for how long a job is the same as one that is done; 0: until that is done.
	Within time.Duration
	Retry  Retry
	Lease  time.Duration
	// Keyed says that jobs have keys, which take turns.
	Keyed bool
	// Pull says that workers take jobs over HTTP; Token is what they must show, nil: nothing.
	Pull  bool
	Token *penstock.Secret
	// Push says that a flow of the plan pushes jobs to an endpoint.
	Push bool
	// Concurrency and Rate bound the queue, KeyConcurrency and KeyRate each key; 0: no bound.
	Concurrency, KeyConcurrency int
	Rate, KeyRate               float64 // per second
	Burst                       int
	Keep                        time.Duration // of jobs that are over; 0: none
}

// Job is what a Send that enqueues says of the job, beside its data (Body) and Key. What is nil or 0 is as the queue says.
type Job struct {
	Queue    string
	Priority penstock.Program
	Unique   penstock.Program
	At       penstock.Program // when it may run
	Delay    time.Duration
	// Tick says that the job is one of a schedule: its identity is that of the message's instant.
	Tick bool
	// Into is where {id} goes; nil: nowhere.
	Into *step.Target
}
