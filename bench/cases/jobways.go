package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/worker"
)

// wayFlows are a queue, the flow that enqueues jobs of it, and what the way needs.
const wayFlows = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: jobways }
spec:
  %s
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: endpoint }
spec: { http: { url: "http://%s" } }
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: work }
spec: %s
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: employ }
spec:
  from: { http: { post: /jobs, stream: true, timeout: 60s } }
  steps: [ { job: { queue: work, data: "${body}" } } ]
  to: { drop: {} }
`

// wayOfFlow takes the jobs in the process, and says of each that it did it.
const wayOfFlow = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: toil }
spec:
  from: { queue: work }
  steps: [ { map: { id: "${body.id}" } } ]
  to: { stdout: {} }
`

// way is who does jobs: the queue's own part of its spec, and flows beside it.
type way struct{ name, spec, flows string }

// waySides are the ways, by the name of the side on SQLite.
var waySides = []way{
	{"pulled", "{ pull: { lease: 30s } }", ""},
	{"a flow", "{ }", wayOfFlow},
	{"pushed", "{ push: { http: { connection: endpoint, post: /do }, concurrency: 64 } }", ""},
}

const (
	// inRequest is how many jobs a request enqueues where that is not one, and employers how many requests are made at a time.
	inRequest, employers = 64, 4
	// wayPace is how many jobs a second are enqueued, one a request, where it is measured how long one takes to whoever does it. Several make
	// the requests, so that one that takes long holds no other up.
	wayPace = 200
	// doers pull jobs, and doing is how many of them each does at a time, and has in hand beside.
	doers, doing, inHand = 2, 64, 192
)

// storeJobWays measures the three ways of doing jobs on `penstock run`: workers that pull them over HTTP, a flow, and an endpoint that they are pushed to.
func storeJobWays(ctx context.Context, s *storeRun) error {
	n, lasts := s.full(40_000, 2_000), s.full(3, 1)
	s.out.Sizes = fmt.Sprintf("%d jobs of 300 bytes, enqueued by %d requests at a time of %d jobs each; pulled by %d workers of package worker, %d at a time each and %d in hand; "+
		"pushed 64 at a time; workers, endpoint and requests are of one process beside the measured one. Latency: %d/s, one a request, for %d s", n, employers, inRequest, doers, doing, inHand, wayPace, lasts)
	var sides []storeSide
	for _, on := range []string{"", ", " + onPostgres} {
		for _, w := range waySides {
			sides = append(sides, storeSide{w.name + on, func(ctx context.Context, _ int) (r load.Result, err error) {
				if on != "" {
					defer func() { err = errors.Join(err, s.dropped(ctx, "ways")) }()
				}
				return s.way(ctx, w, on != "", n, time.Duration(lasts)*time.Second)
			}})
		}
	}
	return s.alternate(ctx, true, sides...)
}

// toll is what was done of jobs, by their number. Its methods are safe for concurrent use.
type toll struct {
	done []atomic.Int64 // when, nanoseconds of Unix; 0: not yet
	left atomic.Int64
	all  chan struct{} // closed when none is left
	err  load.FirstError
}

func newToll(n int64) *toll {
	t := &toll{done: make([]atomic.Int64, n), all: make(chan struct{})}
	t.left.Store(n)
	return t
}

// hear is told that a job has come to whoever does it: JSON with its id.
func (t *toll) hear(body []byte) {
	now := time.Now().UnixNano()
	var m struct{ ID string }
	if err := json.Unmarshal(body, &m); err != nil {
		t.err.Set(fmt.Errorf("what came is no job: %w: %.200q", err, body))
		return
	}
	i, err := strconv.Atoi(strings.TrimPrefix(m.ID, "k"))
	switch {
	case err != nil || i < 0 || i >= len(t.done):
		t.err.Set(fmt.Errorf("there is no job %q", m.ID))
	case !t.done[i].CompareAndSwap(0, now):
		t.err.Set(fmt.Errorf("job %q came twice", m.ID))
	case t.left.Add(-1) == 0:
		close(t.all)
	}
}

// shift is a run of penstock with who does its jobs.
type shift struct {
	listen, control string
	client          *http.Client
	toll            atomic.Pointer[toll]
	known           int64 // how many jobs the queue has been given before
}

// ServeHTTP is the endpoint that jobs are pushed to.
func (f *shift) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	b, err := io.ReadAll(q.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	f.toll.Load().hear(b)
	w.WriteHeader(http.StatusNoContent)
}

// way runs penstock with one of the ways, and measures it: first how long a lone job takes, then how many are done in a time.
func (s *storeRun) way(ctx context.Context, w way, postgres bool, n int64, lasts time.Duration) (r load.Result, err error) {
	folder := s.path("ways")
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o750)); err != nil {
		return r, err
	}
	f := &shift{client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: employers}}}
	defer f.client.CloseIdleConnections()
	endpoint, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: patience}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(endpoint) })
	defer func() { _ = server.Close(); serving.Wait() }()
	if f.listen, err = free(); err != nil {
		return r, err
	}
	if f.control, err = free(); err != nil {
		return r, err
	}
	store := fmt.Sprintf("store: { driver: sqlite, path: %q }", filepath.Join(folder, "store.db"))
	if postgres {
		store = fmt.Sprintf("store: { driver: postgres, url: %q, schema: ways }", s.postgres.URI())
	}
	text := fmt.Sprintf(wayFlows, store, endpoint.Addr(), w.spec) + w.flows
	if err := os.WriteFile(filepath.Join(folder, "flows.yaml"), []byte(text), 0o600); err != nil {
		return r, err
	}
	argv := []string{s.Penstock, "run", folder, "--listen", f.listen, "--control", f.control, "--log-level", "error", "-q"}
	hear := func(line []byte) {
		if t := f.toll.Load(); t != nil {
			t.hear(line)
		}
	}
	u, err := harness.Talking(ctx, folder, argv, hear, listening(f.listen), func(ctx context.Context, _ *os.Process) error {
		return f.work(ctx, w, n, lasts, &r)
	})
	r.Add("max RSS", "MB", float64(u.MaxRSS)/1e6)
	return r, err
}

// work measures a run.
func (f *shift) work(ctx context.Context, w way, n int64, lasts time.Duration, r *load.Result) error {
	quiet := int64(wayPace * lasts.Seconds())
	f.toll.Store(newToll(quiet))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if w.name == waySides[0].name {
		pulling, stop := context.WithCancel(ctx)
		var over sync.WaitGroup
		defer func() { stop(); over.Wait() }()
		for range doers {
			over.Go(func() {
				o := worker.Options{Concurrency: doing, Prefetch: inHand}
				if err := worker.New("http://"+f.listen, "work", o).Run(pulling, func(_ context.Context, j *worker.Job) error {
					f.toll.Load().hear(j.Data)
					return nil
				}); err != nil {
					cancel(err)
				}
			})
		}
	}
	sent := make([]int64, quiet)
	p, err := f.employ(ctx, employers, 1, quiet, wayPace, sent)
	if err != nil {
		return err
	}
	waits := make([]float64, quiet)
	for i := range waits {
		waits[i] = float64(f.toll.Load().done[i].Load()-sent[i]) / 1e6
	}
	slices.Sort(waits)

	f.toll.Store(newToll(n))
	used, began := load.CPU(), time.Now()
	before, err := f.counts(ctx)
	if err != nil {
		return err
	}
	if _, err := f.employ(ctx, employers, inRequest, n, 0, nil); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := f.counts(ctx)
	if err != nil {
		return err
	}
	cpu := (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) * 1e6 / float64(n)
	r.Add("rate", "jobs/s", float64(n)/took.Seconds())
	r.Add("CPU", "µs a job", cpu)
	r.Add("CPU of the others", "µs a job", float64((load.CPU()-used).Microseconds())/float64(n))
	r.Add("enqueued, p50", "ms", p.Quantile(0.5))
	r.Add("to whoever does it, p50", "ms", waits[len(waits)/2])
	r.Add("to whoever does it, p99", "ms", waits[len(waits)*99/100])
	return nil
}

// employ enqueues n jobs, each request so many, and waits until the queue knows that all of them are completed. sent gets when each was sent; nil: nobody asks.
func (f *shift) employ(ctx context.Context, at int, size, n int64, pace float64, sent []int64) (load.Publishing, error) {
	p, err := load.Publish(at, 0, time.Hour, pace, func(_ int, i int64) error {
		if i*size >= n {
			return load.ErrOver
		}
		var body []byte
		for k := i * size; k < min(n, (i+1)*size); k++ {
			body = append(load.Body(body, k), '\n')
		}
		if sent != nil {
			sent[i] = time.Now().UnixNano()
		}
		return f.post(ctx, body)
	})
	if err != nil {
		return p, err
	}
	t := f.toll.Load()
	select {
	case <-t.all:
	case <-ctx.Done():
		return p, context.Cause(ctx)
	case <-time.After(2 * patience):
		return p, errors.Join(fmt.Errorf("%d of %d jobs did not come", t.left.Load(), n), t.err.Get())
	}
	f.known += n
	want := float64(f.known)
	for limit := time.Now().Add(patience); ; {
		c, err := f.counts(ctx)
		if err != nil {
			return p, err
		}
		enqueued, completed, failed := c["penstock_job_enqueued_total"], c["penstock_job_completed_total"], c["penstock_job_failed_total"]
		if completed == want && enqueued == want && failed == 0 {
			return p, t.err.Get()
		}
		if completed > want || failed > 0 || time.Now().After(limit) {
			return p, fmt.Errorf("the queue was given %v jobs, and counts %v enqueued, %v completed and %v failed tries", want, enqueued, completed, failed)
		}
		if err := wait(ctx, 2*time.Millisecond); err != nil {
			return p, err
		}
	}
}

// post enqueues jobs.
func (f *shift) post(ctx context.Context, body []byte) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.listen+"/jobs", bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := f.client.Do(q)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("jobs are not taken: %d %.300s: %w", answer.StatusCode, text, err)
	}
	return err
}

// counts are the metrics of one queue, and of the process.
func (f *shift) counts(ctx context.Context) (map[string]float64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.control+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := f.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		if v, err := strconv.ParseFloat(rest, 64); err == nil {
			out[name] = v
		}
	}
	return out, nil
}
