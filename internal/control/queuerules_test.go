package control_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// ruled is a queue with rules, a flow whose jobs are as these say, and one that says of its jobs what they are.
const ruled = `apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: labels }
spec: { pull: { lease: 24h }, RULES }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: order }
spec:
  from: { http: { post: /order } }
  steps: [ { job: { queue: labels }, into: vars.job }, { map: { id: "${vars.job.id}" } } ]
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: urge }
spec:
  from: { http: { post: /urge } }
  steps:
    - job: { queue: labels, key: body.of, priority: int(body.weight), unique: body.of, delay: 1m, data: { carrier: other, express: false, parcel: "0", text: "${body.text}" } }
      into: vars.job
    - map: { id: "${vars.job.id}" }
`

// rules is a run of ruled, and a worker of its queue.
type rules struct {
	worker
	clk *clock
}

func underRules(t *testing.T, of string) *rules {
	t.Helper()
	address := freeAddress(t)
	r := &rules{worker: worker{t: t, at: "http://" + address, queue: "labels"}, clk: newClock()}
	s := &control.Service{Registry: edition.Standard(), Clock: r.clk}
	c := checked(t, s, strings.Replace(ruled, "RULES", of, 1))
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	path := filepath.Join(t.TempDir(), "store.db")
	go func() {
		_, err := s.Run(ctx, c, control.RunOptions{Address: address, Store: path})
		over <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	for _, path := range []string{"/v1alpha1/queues/labels/lease", "/order", "/urge"} {
		r.awaits(path, "no JSON")
	}
	return r
}

// order enqueues jobs by requests, one after the other: "carrier text", an express one "carrier! text", and gives the ids of the jobs.
func (r *rules) order(all ...string) (ids []string) {
	r.t.Helper()
	for _, o := range all {
		carrier, text, _ := strings.Cut(o, " ")
		carrier, express := strings.CutSuffix(carrier, "!")
		ids = append(ids, r.post("/order", fmt.Sprintf(`{"carrier":%q,"express":%v,"parcel":%q,"text":%q}`, carrier, express, text, text)))
	}
	return ids
}

func (r *rules) post(path, body string) string {
	r.t.Helper()
	var job struct {
		ID string `json:"id"`
	}
	if status := r.ask(path, body, &job); status != http.StatusOK || job.ID == "" {
		r.t.Fatal(path, status, job)
	}
	return job.ID
}

// has holds what a worker is given to what is wanted, in this order.
func (r *rules) has(got []leased, want string) {
	r.t.Helper()
	var texts []string
	for _, j := range got {
		texts = append(texts, j.Data.Text)
	}
	if is := strings.Join(texts, " "); is != want {
		r.t.Errorf("the worker has %q, not %q", is, want)
	}
}

// TestPriorityAndTurns: express jobs go first; of the others carriers take turns, however many jobs one has. A step may say otherwise of its jobs.
func TestPriorityAndTurns(t *testing.T) {
	r := underRules(t, `key: body.carrier, priority: "body.express ? 10 : 0"`)
	r.order("dhl d1", "dhl d2", "dhl d3", "dhl d4", "ups u1", "ups u2", "dhl! d5", "gls g1", "ups! u3")
	r.post("/urge", `{"of":"x","weight":"100","text":"x1"}`)
	r.post("/urge", `{"of":"y","weight":"-100","text":"y1"}`)
	r.has(r.finds(3), "d5 u3 d1")
	r.clk.advance(time.Minute) // what was delayed
	for _, want := range []string{"x1", "u1", "g1", "d2", "u2", "d3", "d4", "y1", ""} {
		r.has(r.finds(1), want)
	}
}

// TestUniqueJobs: a job that is the same as one that is not done is left out, and has its id; so it is for an hour after the first one was enqueued, though that is
// done.
func TestUniqueJobs(t *testing.T) {
	r := underRules(t, `unique: { by: body.parcel, within: 1h }`)
	ids := r.order("dhl p1", "ups p1", "dhl p2", "dhl! p1")
	if ids[0] != ids[1] || ids[0] != ids[3] || ids[0] == ids[2] {
		t.Errorf("the ids are %q", ids)
	}
	got := r.finds(9)
	r.has(got, "p1 p2")
	r.order("dhl p1")
	for _, j := range got {
		if status := r.completes(j); status != http.StatusOK {
			t.Fatal(status)
		}
	}
	r.clk.advance(59 * time.Minute)
	r.order("dhl p1")
	r.has(r.finds(9), "")
	if l := r.counts(); l.Enqueued != 2 || l.Twins != 4 {
		t.Errorf("%+v", l)
	}
	r.clk.advance(time.Minute)
	r.order("dhl p1")
	r.has(r.finds(9), "p1")
}

// TestBoundsOfAQueue: what concurrency and rate hold back waits, and comes when a job is done, or in time.
func TestBoundsOfAQueue(t *testing.T) {
	all := []string{"dhl d1", "dhl d2", "dhl d3", "ups u1", "ups u2", "gls g1"}
	begin := func(t *testing.T, of string) *rules {
		r := underRules(t, "key: body.carrier, "+of)
		r.order(all...)
		return r
	}
	done := func(r *rules, j leased) {
		r.t.Helper()
		if status := r.completes(j); status != http.StatusOK {
			r.t.Error(status)
		}
	}
	t.Run("concurrency of the queue", func(t *testing.T) {
		r := begin(t, "concurrency: { total: 2 }")
		got := r.finds(9)
		r.has(got, "d1 u1")
		r.has(r.finds(9), "")
		done(r, got[0])
		r.has(r.finds(9), "g1")
	})
	t.Run("concurrency of a key", func(t *testing.T) {
		r := begin(t, "concurrency: { perKey: 1 }")
		got := r.finds(9)
		r.has(got, "d1 u1 g1")
		if l := r.counts(); l.Blocked != 3 || l.Leased != 3 {
			t.Errorf("%+v", l)
		}
		done(r, got[1])
		r.has(r.finds(9), "u2")
	})
	t.Run("rate of the queue", func(t *testing.T) {
		r := begin(t, "rate: { total: 1/m, burst: 2 }")
		r.has(r.finds(9), "d1 u1")
		for _, want := range []string{"g1", "d2", "u2", "d3", ""} {
			r.clk.advance(59 * time.Second)
			r.has(r.finds(9), "")
			r.clk.advance(time.Second)
			r.has(r.finds(9), want)
		}
	})
	t.Run("rate of a key", func(t *testing.T) {
		r := begin(t, "rate: { perKey: 1/m }")
		r.has(r.finds(9), "d1 u1 g1")
		r.has(r.finds(9), "")
		r.clk.advance(time.Minute)
		r.has(r.finds(9), "d2 u2")
		r.clk.advance(time.Minute)
		r.has(r.finds(9), "d3")
	})
	t.Run("who waits is given what time lets through", func(t *testing.T) {
		r := begin(t, "rate: { total: 1/m }")
		r.has(r.finds(9), "d1")
		waits := make(chan []leased)
		go func() { waits <- r.takes(1) }()
		for d := range r.clk.made {
			if d == time.Minute && len(waits) == 0 {
				break
			}
		}
		r.clk.advance(time.Minute)
		r.has(<-waits, "u1")
	})
}
