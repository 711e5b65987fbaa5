// Package jobs keeps the queues of background work (the kind JobQueue) in a store.
//
// [Queue] is the pure core: what enqueuing, claiming, finishing and the passing of time change, as functions of a transaction of the
// store and the time. It holds nothing in memory, so that any process that shares the store may run any of them: a claim is a
// transaction, serialised with all others of the queue by the part of the store that the queue lives in. [Desk] is what a
// process has of a queue: it gathers the claims, completions and heartbeats of all who wait and makes one transaction of them at a time.
//
// # What is stored
//
// Of a queue Q, all in one part of the store (so that priority, fairness, rates and concurrency hold for the whole queue):
//
//	job/Q/head     one entry: counts, numbers, the rate's clock, when something is due next
//	job/Q/ready    priority, turn, number → job: the order in which jobs are claimed
//	job/Q/wait     id → job, due when it may run: delayed, or between two tries
//	job/Q/held     id → job, due when the lease runs out
//	job/Q/block    key, priority, number → job: behind the limits of its key
//	job/Q/key      key → counts of the key, its turns and its rate's clock
//	job/Q/gate     key, due when its rate lets the next one through
//	job/Q/unique   what a job is unique by → its id, due when it may be forgotten
//	job/Q/done     id → job and result, due when they are forgotten
//
// A job stands in one of ready, wait, held and block. What fails for good becomes a message of the channel Q.dead.
//
// # Fences
//
// Each claim takes the next number of the queue, its epoch. Who completes, fails or extends a job says the epoch that
// it was claimed with, and is refused where that is no longer the one under which the job is held.
package jobs
