package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/worker"
)

// mux is a listener.
type mux struct{ *http.ServeMux }

func (m mux) Mount(r penstock.HTTPRoute) (func(), error) {
	m.Handle(r.Method+" "+r.Path, r.Handler)
	return func() {}, nil
}

// pulled is a queue that workers pull from, over HTTP.
type pulled struct {
	t   testing.TB
	st  store.Store
	s   *jobs.Service
	srv *httptest.Server
	// wrap may spoil answers.
	wrap atomic.Pointer[func(http.Handler) http.Handler]
}

// served is a queue on a store, and what serves it.
func served(t testing.TB, st store.Store, q *plan.JobQueue) (*jobs.Service, mux) {
	s := jobs.NewService([]*plan.JobQueue{q}, jobs.Options{Store: func() (store.Store, error) { return st, nil }})
	m := mux{http.NewServeMux()}
	stopping := make(chan struct{})
	if _, err := s.Mount(m, stopping); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(stopping) })
	return s, m
}

func newPulled(t testing.TB, st store.Store, q *plan.JobQueue) *pulled {
	s, m := served(t, st, q)
	p := &pulled{t: t, st: st, s: s}
	h := http.Handler(m)
	if _, measured := t.(*testing.B); !measured {
		h = asDescribed(t, m)
	}
	p.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := p.wrap.Load(); f != nil {
			(*f)(h).ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.s.Close()
		p.srv.Close()
		_ = st.Close()
	})
	return p
}

func labels() *plan.JobQueue {
	return &plan.JobQueue{Name: "labels", Pull: true, Lease: 30 * time.Second, Retry: plan.Retry{Attempts: 3}}
}

func jobRecord(id, body string) []byte {
	str := penstock.StringValue
	return record.Draft{Format: jsonview.JSON, Body: []byte(body), Meta: []penstock.MetaEntry{{Name: "job", Value: penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: str("id"), Value: str(id)}}})}}}.Append(nil)
}

func (p *pulled) enqueue(from, n int) {
	p.t.Helper()
	var all [][]byte
	for i := from; i < from+n; i++ {
		all = append(all, jobRecord(fmt.Sprint("j", i), fmt.Sprintf(`{"n":%d}`, i)))
	}
	err := p.st.Submit(store.Small, func(tx store.Tx) error { return p.s.Enqueue(tx, "labels", time.Now().UnixNano(), all) }).Wait(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	p.s.Enqueued("labels")
}

func (p *pulled) post(path, body string, header ...string) (int, string) {
	p.t.Helper()
	req, _ := http.NewRequest(http.MethodPost, p.srv.URL+"/v1alpha1/queues/labels"+path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.srv.Client().Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// TestPullAnswers: what workers in other languages see.
func TestPullAnswers(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	if code, body := p.post("/lease", `{"max":1}`); code != 200 || !strings.HasPrefix(body, `{"jobs":[],`) {
		t.Errorf("nothing is there: %d %s", code, body)
	}
	p.enqueue(1, 1)
	code, body := p.post("/lease", `{"max":1,"worker":"w"}`)
	var got struct {
		Jobs []struct {
			ID    string
			Epoch uint64
			Data  json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || len(got.Jobs) != 1 || string(got.Jobs[0].Data) != `{"n":1}` {
		t.Fatalf("%d %s %v", code, body, err)
	}
	mine := fmt.Sprintf(`{"jobs":[{"id":"j1","epoch":%d}]}`, got.Jobs[0].Epoch)
	old := fmt.Sprintf(`{"jobs":[{"id":"j1","epoch":%d}]}`, got.Jobs[0].Epoch-1)
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/heartbeat", mine, 200, `{}`},
		{"/complete", old, 409, `"refused":["j1"]`},
		{"/complete", `{`, 400, `"code":"invalid"`},
		{"/complete", mine, 200, `{}`},
		{"/complete", mine, 409, `no longer held`},
		{"/fail", mine, 409, `no longer held`},
		{"/nothing", mine, 404, ``},
	} {
		if code, body := p.post(c.path, c.body); code != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s: %d %s", c.path, c.body, code, body)
		}
	}
}

// TestWorkersDoEverything: workers do all jobs though answers are lost, jobs fail and functions panic; what always fails is dead.
func TestWorkersDoEverything(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	var requests atomic.Int64
	spoil := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := requests.Add(1)
			switch {
			case strings.HasSuffix(r.URL.Path, "/lease"): // an answer that is lost costs a lease
				if n%5 == 0 {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
			case n%3 == 0: // done, and not heard of
				h.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	}
	p.wrap.Store(&spoil)
	const n = 200
	p.enqueue(0, n)
	ctx, stop := context.WithCancel(patient(t))
	var mu sync.Mutex
	tries := map[string]int{}
	var over sync.WaitGroup
	for range 2 {
		over.Go(func() {
			w := worker.New(p.srv.URL, "labels", worker.Options{Concurrency: 4, Wait: 100 * time.Millisecond})
			if err := w.Run(ctx, func(_ context.Context, j *worker.Job) error {
				var d struct{ N int }
				if err := j.Decode(&d); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				tries[j.ID]++
				switch {
				case d.N%50 == 0:
					return worker.Dead(errors.New("no such label"))
				case d.N%10 == 1 && j.Attempt == 1:
					return errors.New("out of paper")
				case d.N%10 == 2 && j.Attempt == 1:
					panic("paper jam")
				}
				return j.SetResult(d)
			}); err != nil {
				t.Error(err)
			}
		})
	}
	var l jobs.QueueLook
	for ctx.Err() == nil {
		var err error
		if l, err = p.s.Look(ctx, "labels"); err != nil {
			t.Fatal(err)
		}
		if l.Completed+l.Dead == n {
			break
		}
		<-time.After(time.Millisecond)
	}
	stop()
	over.Wait()
	if l.Completed != n-4 || l.Dead != 4 || l.Leased+l.Ready+l.Delayed != 0 {
		t.Errorf("%+v", l.Counts)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range n {
		want := 1
		if i%50 != 0 && (i%10 == 1 || i%10 == 2) {
			want = 2
		}
		if got := tries[fmt.Sprint("j", i)]; got != want {
			t.Errorf("job %d was tried %d times, want %d", i, got, want)
		}
	}
}

// TestWorkerStops: what was not begun goes back at once, and what was is finished.
func TestWorkerStops(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	p.enqueue(0, 5)
	ctx, stop := context.WithCancel(patient(t))
	began, finish := make(chan bool, 9), make(chan bool)
	done := make(chan error, 1)
	go func() {
		w := worker.New(p.srv.URL, "labels", worker.Options{Concurrency: 1, Prefetch: 4})
		done <- w.Run(ctx, func(context.Context, *worker.Job) error {
			began <- true
			<-finish
			return nil
		})
	}()
	<-began
	for { // all are with the worker
		if l, err := p.s.Look(ctx, "labels"); err != nil || l.Leased == 5 {
			break
		}
		<-time.After(time.Millisecond)
	}
	stop()
	close(finish)
	if err := <-done; err != nil {
		t.Error(err)
	}
	l, err := p.s.Look(context.Background(), "labels")
	if err != nil || l.Completed != 1 || l.Ready != 4 || l.Claimed != 1 {
		t.Errorf("%+v %v", l.Counts, err)
	}
}

// TestLostLease: a job whose lease ran out is given to another, and what the first holder says of it is refused; his function hears of it.
func TestLostLease(t *testing.T) {
	q := labels()
	q.Lease, q.Retry.Attempts = time.Second, 1000
	p := newPulled(t, memory.New(), q)
	deaf := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/heartbeat") {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	p.wrap.Store(&deaf)
	p.enqueue(0, 1)
	ctx, stop := context.WithCancel(patient(t))
	causes := make(chan error, 9)
	done := make(chan error, 1)
	go func() {
		w := worker.New(p.srv.URL, "labels", worker.Options{Concurrency: 2, Wait: time.Second})
		done <- w.Run(ctx, func(ctx context.Context, j *worker.Job) error {
			if j.Attempt > 1 {
				stop()
				return nil
			}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil
		})
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-causes; !errors.Is(err, worker.ErrLost) {
		t.Error(err)
	}
	l, err := p.s.Look(context.Background(), "labels")
	if err != nil || l.Completed != 1 || l.Expired == 0 || l.Claimed != l.Expired+1 {
		t.Errorf("%+v %v", l.Counts, err)
	}
}

// TestLeaseAgain: a worker that lost a job and got it again holds it by the second lease; that the first one is refused concerns the first one's function alone.
func TestLeaseAgain(t *testing.T) {
	q := labels()
	q.Lease, q.Retry.Attempts = time.Second, 1000
	p := newPulled(t, memory.New(), q)
	var second atomic.Bool
	beats := make(chan int, 99)
	deaf := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/heartbeat") {
				h.ServeHTTP(w, r)
				return
			}
			if !second.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
			beats <- rec.Code
		})
	}
	p.wrap.Store(&deaf)
	p.enqueue(0, 1)
	ctx, stop := context.WithCancel(patient(t))
	over := make(chan bool)
	w := worker.New(p.srv.URL, "labels", worker.Options{Concurrency: 2, Wait: time.Second})
	if err := w.Run(ctx, func(ctx context.Context, j *worker.Job) error {
		if second.Load() {
			t.Errorf("try %d", j.Attempt)
			return nil
		}
		if j.Attempt == 1 { // it goes on, whatever it is told
			<-over
			if err := context.Cause(ctx); !errors.Is(err, worker.ErrLost) {
				t.Errorf("the first was not told that its job is lost: %v", err)
			}
			return nil
		}
		second.Store(true)
		defer stop()
		defer close(over)
		for range 6 {
			select {
			case code := <-beats:
				if code != http.StatusOK {
					t.Errorf("a heartbeat is refused: %d", code)
				}
			case <-ctx.Done():
				t.Errorf("the second lease is given up: %v", context.Cause(ctx))
				return nil
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if l, err := p.s.Look(context.Background(), "labels"); err != nil || l.Completed != 1 || l.Expired != 1 {
		t.Errorf("%+v %v", l.Counts, err)
	}
}

// TestNoQueue: a worker does not wait for what will never be there.
func TestNoQueue(t *testing.T) {
	w := worker.New(newPulled(t, memory.New(), labels()).srv.URL, "no-such-queue", worker.Options{})
	if err := w.Run(patient(t), nil); err == nil {
		t.Error("there is no such queue, and the worker waits for it")
	}
}

// BenchmarkPull is jobs from end to end in a file with fsync: enqueued 64 at a time, pulled by workers over HTTP, completed.
func BenchmarkPull(b *testing.B) {
	st, err := sqlite.Open(context.Background(), sqlite.Options{Path: b.TempDir() + "/store.db"})
	if err != nil {
		b.Fatal(err)
	}
	p := newPulled(b, st, labels())
	ctx, stop := context.WithCancel(context.Background())
	var done atomic.Int64
	all := make(chan bool)
	var over sync.WaitGroup
	for range 2 {
		over.Go(func() {
			w := worker.New(p.srv.URL, "labels", worker.Options{Concurrency: 64, Prefetch: 192})
			_ = w.Run(ctx, func(context.Context, *worker.Job) error {
				if done.Add(1) == int64(b.N) {
					close(all)
				}
				return nil
			})
		})
	}
	b.ResetTimer()
	for i := 0; i < b.N; i += 64 {
		p.enqueue(i, min(64, b.N-i))
	}
	<-all
	stop()
	over.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

// BenchmarkInProcess is the same with a taker in the process.
func BenchmarkInProcess(b *testing.B) {
	st, err := sqlite.Open(context.Background(), sqlite.Options{Path: b.TempDir() + "/store.db"})
	if err != nil {
		b.Fatal(err)
	}
	p := newPulled(b, st, labels())
	d, err := p.s.Desk("labels")
	if err != nil {
		b.Fatal(err)
	}
	var over sync.WaitGroup
	b.ResetTimer()
	over.Go(func() {
		for n := 0; n < b.N; {
			js, err := d.Take(context.Background(), jobs.Taker{Max: 256, Keeps: true})
			if err != nil {
				b.Error(err)
				return
			}
			n += len(js)
			over.Go(func() {
				var all []*jobs.Finish
				for _, j := range js {
					all = append(all, &jobs.Finish{ID: j.ID, Epoch: j.Epoch})
				}
				_ = d.Finish(context.Background(), all...)
			})
		}
	})
	for i := 0; i < b.N; i += 64 {
		p.enqueue(i, min(64, b.N-i))
	}
	over.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}
