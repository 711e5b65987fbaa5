package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options are how a worker works. The zero Options are usable.
type Options struct {
	// Concurrency is how many jobs are done at once; 0 is 8.
	Concurrency int
	// Prefetch is how many jobs are taken beyond those that are being done, so that nobody waits for the network; 0 is Concurrency, less than 0 none.
	Prefetch int
	// Lease is how long the server leaves a job with this worker without hearing of it; 0: as the queue says.
	Lease time.Duration
	// Wait is how long one request waits for jobs; 0 is 20 s, at most a minute.
	Wait time.Duration
	// Grace is how long jobs that are being done may take when Run's context has ended; then their contexts end, too. 0 is 30 s.
	Grace time.Duration
	// Name is what this worker is called, for people; "": the host's name and the process's number.
	Name string
	// Token is what the queue's `pull.token` holds; "" for none.
	Token string
	// Client makes the requests; nil: one of its own. It must not have a Timeout below Wait.
	Client *http.Client
	// Logger is told of lost connections and refused completions; nil: nobody is.
	Logger *slog.Logger
}

// Worker takes jobs of one queue. Its Run may be called once.
type Worker struct {
	o    Options
	base string
	own  bool // the client is

	mu      sync.Mutex
	held    map[*Job]*holding
	room    chan struct{}
	finish  []ending
	poke    chan struct{}
	beating time.Duration
}

// holding is a job that this worker has.
type holding struct {
	until  time.Time // the lease is good for sure
	lost   bool      // the server has, or may have, given the job to somebody else
	cancel context.CancelCauseFunc
}

// lose gives the job up, and tells the function that does it. The worker's mu must be held.
func (h *holding) lose() {
	h.lost = true
	if h.cancel != nil {
		h.cancel(ErrLost)
	}
}

// ending is what becomes of a job.
type ending struct {
	job   *Job
	kind  string // complete, fail or release
	err   error
	final bool
	after *time.Duration
}

// ErrLost is why the context of a job ended whose lease was lost.
var ErrLost = errors.New("the lease of the job was lost: another worker may have it")

// New makes a worker for a queue of the server at a URL, such as http://localhost:8080.
func New(url, queue string, o Options) *Worker {
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	if o.Prefetch == 0 {
		o.Prefetch = o.Concurrency
	}
	o.Prefetch = max(o.Prefetch, 0)
	if o.Wait <= 0 {
		o.Wait = 20 * time.Second
	}
	o.Wait = min(o.Wait, time.Minute)
	if o.Grace <= 0 {
		o.Grace = 30 * time.Second
	}
	if o.Name == "" {
		host, _ := os.Hostname() // "" is none
		o.Name = host + " " + strconv.Itoa(os.Getpid())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Worker{o: o, base: strings.TrimRight(url, "/") + "/v1alpha1/queues/" + queue, held: map[*Job]*holding{}, room: make(chan struct{}, 1), poke: make(chan struct{}, 1)}
	if o.Client == nil {
		w.own = true
		w.o.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: o.Wait + 30*time.Second}}
	}
	return w
}

// Run takes jobs and has do do them, until ctx ends. Then jobs that were not begun go back to the queue at once, and those that were have Options.Grace to
// finish; Run returns when all is said and done, with nil. It goes on through lost connections and restarts of the server; an error is something that
// waiting would not mend: there is no such queue, or the token is wrong. A panic of do counts as a failure of the job.
func (w *Worker) Run(ctx context.Context, do func(ctx context.Context, job *Job) error) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx)) // of jobs
	defer stopWork()
	talk, stopTalk := context.WithCancel(context.WithoutCancel(ctx)) // of requests about them
	defer stopTalk()
	todo := make(chan *Job, w.o.Concurrency+w.o.Prefetch)
	var doing, saying sync.WaitGroup
	for range w.o.Concurrency {
		doing.Go(func() {
			for j := range todo {
				if ctx.Err() != nil {
					w.end(ending{job: j, kind: "release"})
					continue
				}
				w.do(work, j, do)
			}
		})
	}
	saying.Go(func() { w.say(talk) })
	saying.Go(func() { w.beats(talk) })
	err := w.take(ctx, todo)
	close(todo)
	grace := time.AfterFunc(w.o.Grace, stopWork)
	doing.Wait()
	grace.Stop()
	w.said(talk)
	stopTalk()
	saying.Wait()
	if w.own {
		w.o.Client.CloseIdleConnections()
	}
	return err
}

// take asks for jobs while there is room, until ctx ends.
func (w *Worker) take(ctx context.Context, todo chan<- *Job) error {
	failures := 0
	for ctx.Err() == nil {
		w.mu.Lock()
		free := w.o.Concurrency + w.o.Prefetch - len(w.held)
		w.mu.Unlock()
		if free <= 0 {
			select {
			case <-w.room:
			case <-ctx.Done():
			}
			continue
		}
		asked := time.Now()
		var got struct {
			Jobs     []*Job `json:"jobs"`
			WaitedMS int64  `json:"waitedMs"`
		}
		err := w.ask(ctx, "lease", map[string]any{"max": free, "waitMs": w.o.Wait.Milliseconds(), "leaseMs": w.o.Lease.Milliseconds(), "worker": w.o.Name}, &got)
		var r *refusal
		switch {
		case ctx.Err() != nil && err != nil:
			return nil //nolint:nilerr // it was broken off, which is no error
		case errors.As(err, &r) && !r.passes():
			return err
		case err != nil:
			failures++
			w.o.Logger.Warn("no jobs can be taken", "tries", failures, "error", err)
			pause(ctx, failures, err)
			continue
		}
		failures = 0
		asked = asked.Add(time.Duration(got.WaitedMS) * time.Millisecond) // not after the server answered
		w.mu.Lock()
		again := make(map[string]bool, len(got.Jobs))
		for _, j := range got.Jobs {
			again[j.ID] = true
		}
		for j, h := range w.held {
			if again[j.ID] { // it came back to this worker: the lease that it had of it is over
				h.lose()
			}
		}
		for _, j := range got.Jobs {
			w.held[j] = &holding{until: asked.Add(time.Duration(j.LeaseMS) * time.Millisecond)}
			if beat := time.Duration(j.LeaseMS) * time.Millisecond / 3; w.beating == 0 || beat < w.beating {
				w.beating = beat
			}
		}
		w.mu.Unlock()
		for _, j := range got.Jobs {
			todo <- j // there is room
		}
	}
	return nil
}

// do does one job.
func (w *Worker) do(ctx context.Context, j *Job, do func(context.Context, *Job) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.mu.Lock()
	h := w.held[j]
	if h == nil || h.lost || time.Now().After(h.until) { // it was lost before it was begun
		delete(w.held, j)
		w.mu.Unlock()
		w.free()
		return
	}
	h.cancel = cancel
	w.mu.Unlock()
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
		}()
		return do(ctx, j)
	}()
	e := ending{job: j, kind: "complete"}
	if err != nil {
		e.kind, e.err = "fail", err
		var v *verdict
		if errors.As(err, &v) {
			e.final, e.after = v.dead, v.after
		}
	}
	w.end(e)
}

// end has the server told what became of a job.
func (w *Worker) end(e ending) {
	w.mu.Lock()
	w.finish = append(w.finish, e)
	w.mu.Unlock()
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// free says that there may be room for more jobs.
func (w *Worker) free() {
	select {
	case w.room <- struct{}{}:
	default:
	}
}
