// Package worker takes jobs from a JobQueue of Penstock and does them, over HTTP, with the standard library only.
//
//	w := worker.New("http://localhost:8080", "labels", worker.Options{Concurrency: 4})
//	err := w.Run(ctx, func(ctx context.Context, job *worker.Job) error {
//		var label Label
//		if err := job.Decode(&label); err != nil {
//			return worker.Dead(err) // it will never be any better
//		}
//		return print(ctx, label)
//	})
//
// A job is done when the function returns nil. An error gives it back to the queue, which tries again later, as its `retry` says, and in the end makes a dead
// letter of it; [Dead] does so at once, [After] says when to try again.
//
// While a job is being done, the worker says so (heartbeats), so that jobs may take longer than their lease. If the server is not heard of for so long that
// the lease may have run out, or says that the job is with somebody else, the job's context ends: whatever the function still does, its result is refused. So a
// job is held by one worker at a time, but what it does outside may have been begun twice: [Job.Once] is a key by which others can
// know it.
package worker
