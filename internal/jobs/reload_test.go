package jobs_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// patience tells when a worker that would wait for a minute has been let in.
type patience struct {
	penstock.SystemClock
	waits chan struct{}
}

func (p patience) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	if d == time.Minute {
		p.waits <- struct{}{}
	}
	return p.SystemClock.NewTimer(d)
}

// TestWhoIsNoLongerLetInTakesNothing: a worker that waits while its queue is taken out, is no longer pulled from, or gets another token, is sent away at once, and what
// is enqueued after that is not given to it. One whose queue gets other rules goes on waiting.
func TestWhoIsNoLongerLetInTakesNothing(t *testing.T) {
	token := func(value string) *penstock.Secret {
		s := penstock.NewSecret(value)
		return &s
	}
	with := func(change func(*plan.JobQueue)) []*plan.JobQueue {
		q := labels()
		q.Token = token("one")
		change(q)
		return []*plan.JobQueue{q}
	}
	for name, c := range map[string]struct {
		next   []*plan.JobQueue
		status int
		says   string
	}{
		"gone":          {nil, http.StatusNotFound, `there is no queue \"labels\"`},
		"not pulled":    {with(func(q *plan.JobQueue) { q.Pull = false }), http.StatusNotFound, "nobody pulls from this queue"},
		"another token": {with(func(q *plan.JobQueue) { q.Token = token("two") }), http.StatusUnauthorized, "the token of the queue is needed"},
		"no value":      {with(func(q *plan.JobQueue) { q.Token = token("") }), http.StatusUnauthorized, "the token of the queue is needed"},
		"other rules":   {with(func(q *plan.JobQueue) { q.Lease = 7 * time.Minute }), http.StatusOK, `"leaseMs":4`},
	} {
		t.Run(name, func(t *testing.T) {
			st := inMemory(t)
			clk := patience{waits: make(chan struct{}, 9)}
			s := jobs.NewService(with(func(*plan.JobQueue) {}), jobs.Options{Store: func() (store.Store, error) { return st, nil }, Clock: clk})
			defer s.Close()
			m := mux{http.NewServeMux()}
			unmount, err := s.Mount(m, t.Context().Done())
			if err != nil {
				t.Fatal(err)
			}
			defer unmount()
			answer := make(chan *httptest.ResponseRecorder)
			go func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, jobs.Root+"labels/lease", strings.NewReader(`{"waitMs":60000}`))
				r.Header.Set("Authorization", "Bearer one")
				w := httptest.NewRecorder()
				asDescribed(t, m).ServeHTTP(w, r)
				answer <- w
			}()
			<-clk.waits
			s.Become(c.next)
			if c.next != nil {
				job := [][]byte{jobRecord("j1", `{"n":1}`)}
				if err := st.Submit(store.Small, func(tx store.Tx) error { return s.Enqueue(tx, "labels", time.Now().UnixNano(), job) }).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.Enqueued("labels")
			}
			w := <-answer
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.next == nil || w.Code == http.StatusOK {
				return
			}
			d, err := s.Desk("labels") // where it comes back to, if it was about to be given away
			if err != nil {
				t.Fatal(err)
			}
			js, err := d.Take(t.Context(), jobs.Taker{Max: 1})
			if err != nil || len(js) != 1 || js[0].Attempts != 1 {
				t.Errorf("%+v %v", js, err)
			}
		})
	}
}

// TestQueuesThatComeBack: what was leased and what waits when a queue is taken out is there when it is put back, and who held a job still does.
func TestQueuesThatComeBack(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	p.enqueue(1, 3)
	if code, body := p.post("/lease", `{"max":1}`); code != 200 || !strings.Contains(body, `"id":"j1"`) {
		t.Fatal(code, body)
	}
	mine := `{"jobs":[{"id":"j1","epoch":1}]}`
	p.s.Become(nil)
	for _, path := range []string{"/lease", "/heartbeat", "/complete", "/release", "/fail"} {
		if code, body := p.post(path, mine); code != 404 || !strings.Contains(body, "keeps its jobs in the store until it is put back") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	p.s.Become([]*plan.JobQueue{labels()})
	if code, body := p.post("/complete", mine); code != 200 {
		t.Error(code, body)
	}
	if code, body := p.post("/lease", `{"max":9}`); code != 200 || strings.Count(body, `"epoch"`) != 2 {
		t.Error(code, body)
	}
	if l, err := p.s.Look(t.Context(), "labels"); err != nil || l.Enqueued != 3 || l.Completed != 1 || l.Leased != 2 || l.Expired != 0 {
		t.Errorf("%+v %v", l, err)
	}
}
