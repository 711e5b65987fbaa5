package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// leaping is a clock that goes on by itself, as replicas need it who renew their leases, and leaps ahead when it is told to.
type leaping struct {
	mu     sync.Mutex
	ahead  time.Duration
	timers map[*leapTimer]bool
	made   sync.Cond // of mu: there is another timer
}

type leapTimer struct {
	c   *leaping
	due time.Time
	ch  chan time.Time
	own *time.Timer
}

// Now implements penstock.Clock.
func (c *leaping) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

// now is the time. mu must be held.
func (c *leaping) now() time.Time { return time.Now().Add(c.ahead) }

// NewTimer implements penstock.Clock.
func (c *leaping) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &leapTimer{c: c, due: c.now().Add(d), ch: make(chan time.Time, 1)}
	c.timers[t] = true
	t.own = time.AfterFunc(d, t.fire)
	c.made.Broadcast()
	return t.ch, t.stop
}

func (t *leapTimer) fire() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.fire(t)
}

func (t *leapTimer) stop() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	delete(t.c.timers, t)
	t.own.Stop()
}

// fire ends a timer. mu must be held.
func (c *leaping) fire(t *leapTimer) {
	if c.timers[t] {
		delete(c.timers, t)
		t.own.Stop()
		t.ch <- c.now()
	}
}

// awaits returns when somebody waits for a time, or for one that is so much later.
func (c *leaping) awaits(at time.Time, within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for t := range c.timers {
			if d := t.due.Sub(at); d >= 0 && d < within {
				return
			}
		}
		c.made.Wait()
	}
}

// until leaps to a time.
func (c *leaping) until(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += at.Sub(c.now())
	for t := range c.timers {
		if !t.due.After(at) {
			c.fire(t)
		}
	}
}

// replicas are runs of a configuration on a store that they share on PostgreSQL.
type replicas struct {
	t   *testing.T
	uri string
	clk *leaping
}

func newReplicas(t *testing.T) *replicas {
	clk := &leaping{ahead: time.Until(time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)), timers: map[*leapTimer]bool{}}
	clk.made.L = &clk.mu
	return &replicas{t: t, uri: service.Postgres(t), clk: clk}
}

// replica is one of them, as a worker of one of its queues sees it.
type replica struct {
	worker
	dir    string
	hangup chan os.Signal
	told   chan *control.Reloaded
	stop   context.CancelFunc
	abort  chan struct{}
	over   chan error
}

// all is the whole configuration.
func (c *replicas) all(text string) string {
	return fmt.Sprintf(`apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: replicas }
spec: { store: { driver: postgres, url: %q, volatile: true, lease: 1s } }
---
`, c.uri) + text
}

// join starts a replica, and returns when it answers.
func (c *replicas) join(text, queue string) *replica {
	c.t.Helper()
	p, address := config(c.t, c.all(text)), freeAddress(c.t)
	s := &control.Service{Registry: edition.Standard(), Clock: c.clk}
	checked := s.Check(p, false)
	if !checked.OK {
		c.t.Fatalf("%v", checked.Findings)
	}
	r := &replica{worker: worker{t: c.t, at: "http://" + address, queue: queue}, dir: p.Paths[0], hangup: make(chan os.Signal),
		told: make(chan *control.Reloaded), abort: make(chan struct{}), over: make(chan error, 1)}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Address: address, Abort: r.abort, Project: p, Hangup: r.hangup, Reloaded: func(l *control.Reloaded) { r.told <- l }})
		r.over <- err
	}()
	r.awaits("/v1alpha1/queues/"+queue+"/lease", "no JSON")
	return r
}

// ends stops a replica, which hands over what it drives.
func (r *replica) ends() {
	r.t.Helper()
	r.stop()
	if err := <-r.over; err != nil {
		r.t.Error(err)
	}
}

// breaksOff ends a replica at once.
func (r *replica) breaksOff() {
	r.t.Helper()
	close(r.abort)
	if err := <-r.over; !errors.Is(err, control.ErrAborted) {
		r.t.Error(err)
	}
}

// becomes reloads with another text.
func (r *replica) becomes(text string) *control.Reloaded {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "flows.yaml"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	select {
	case r.hangup <- os.Interrupt:
		return <-r.told
	case err := <-r.over:
		r.t.Fatal("the run has ended: ", err)
		return nil
	}
}

// look counts the jobs of a queue, when nobody runs.
func (c *replicas) look(queue string) (l jobs.Look) {
	c.t.Helper()
	st, err := postgres.Open(c.t.Context(), postgres.Options{Connection: c.uri, Volatile: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer st.Close()
	if err := st.View(c.t.Context(), func(v store.View) (err error) {
		l, err = jobs.New(jobs.Config{Name: queue}, st.Parts()).Look(v.State())
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return l
}

const hourly = `apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: reports }
spec:
  pull: { lease: 24h }
  schedule: [ { cron: "0 * * * *", catchUp: all, data: { text: "${body.scheduled} ${body.count}" } } ]
`

// TestReplicasHaveOneJobForEachInstant: two runs share the store, and workers ask now this one and now that one. One of the two is broken off, one that comes goes
// on with a third, and nothing of the schedule is there twice or missing.
func TestReplicasHaveOneJobForEachInstant(t *testing.T) {
	c := newReplicas(t)
	a, b := c.join(hourly, "reports"), c.join(hourly, "reports")
	next, count := c.clk.Now().UTC().Truncate(time.Hour), 0
	pass := func(hours int, ask ...*replica) {
		t.Helper()
		var want []string
		for range hours {
			next = next.Add(time.Hour)
			count++
			want = append(want, fmt.Sprintf("%s %d 1", next.Format(time.RFC3339), count))
		}
		c.clk.until(next)
		ask[count%len(ask)].does(want...)
	}
	c.clk.awaits(next.Add(time.Hour), time.Second) // what is before the first run with a schedule is none of its instants
	for range 6 {
		pass(1, a, b)
	}
	a.breaksOff()
	pass(3, b)
	d := c.join(hourly, "reports")
	for range 3 {
		pass(1, b, d)
	}
	b.ends()
	pass(2, d)
	d.ends()
	if l := c.look("reports"); int(l.Enqueued) != count || int(l.Completed) != count || l.Twins != 0 || l.Unfinished() != 0 {
		t.Errorf("%+v, and not %d jobs", l, count)
	}
}

const reloadable = `apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: labels }
spec: { pull: { lease: LEASE, token: { secret: TOKEN } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: order }
spec:
  from: { http: { post: /order } }
  steps: [ { job: { queue: labels }, into: vars.job }, { map: { id: "${vars.job.id}" } } ]
`

// TestReplicasReloadAQueue: two runs on one store reload one after the other, so that for a time each knows the queue under other rules, and one does not know it at
// all. Each goes by its own; jobs and leases are those of the store.
func TestReplicasReloadAQueue(t *testing.T) {
	t.Setenv("PENSTOCK_SECRET_FIRST", "letmein")
	t.Setenv("PENSTOCK_SECRET_SECOND", "sesame")
	c := newReplicas(t)
	with := func(token, lease string) string {
		return strings.NewReplacer("TOKEN", token, "LEASE", lease).Replace(reloadable)
	}
	without := strings.ReplaceAll(with("second", "1h"), "labels", "others")
	a, b := c.join(with("first", "24h"), "labels"), c.join(with("first", "24h"), "labels")
	a.awaits("/order", "no JSON")
	b.awaits("/order", "no JSON")
	texts := 0
	order := func(r *replica) string {
		t.Helper()
		texts++
		text := fmt.Sprint("j", texts)
		if status := r.ask("/order", fmt.Sprintf(`{"text":%q}`, text), nil); status != http.StatusOK {
			t.Fatal(status)
		}
		return text + " 1"
	}
	reload := func(r *replica, text string) {
		t.Helper()
		if l := r.becomes(c.all(text)); !l.OK {
			t.Fatalf("%+v %+v", l, l.Error)
		}
	}
	refused := func(r *replica, token string, want int) {
		t.Helper()
		w := r.worker
		w.token = token
		if status := w.ask("/v1alpha1/queues/labels/lease", `{}`, nil); status != want {
			t.Errorf("with %q it answers %d, not %d", token, status, want)
		}
	}
	gives := func(r *replica, want string) leased {
		t.Helper()
		j := r.takes(1)[0]
		if j.String() != want {
			t.Errorf("it gives %s, not %s", j, want)
		}
		return j
	}
	completes := func(r *replica, j leased) {
		t.Helper()
		if status := r.completes(j); status != http.StatusOK {
			t.Errorf("%s: %d", j, status)
		}
	}
	a.token, b.token = "letmein", "letmein"
	one, two, three := order(a), order(b), order(a)
	first := gives(b, one) // held through all of it
	reload(a, with("second", "1h"))
	a.token = "sesame"
	refused(a, "letmein", http.StatusUnauthorized)
	refused(b, "sesame", http.StatusUnauthorized)
	second := gives(a, two)
	completes(b, second)

	waits := make(chan int, 1)
	third := gives(a, three)
	go func() { waits <- a.ask("/v1alpha1/queues/labels/lease", `{"waitMs":50000}`, nil) }()
	c.clk.awaits(c.clk.Now().Add(45*time.Second), 14*time.Second)
	reload(a, without)
	if status := <-waits; status != http.StatusNotFound {
		t.Errorf("who waited is answered %d", status)
	}
	refused(a, "sesame", http.StatusNotFound)
	completes(b, third)
	four := order(b)
	reload(b, with("second", "1h"))
	refused(b, "letmein", http.StatusUnauthorized)
	b.token = "sesame"
	completes(b, gives(b, four))

	five := order(b)
	reload(a, with("second", "1h"))
	completes(a, gives(a, five))
	completes(a, first)
	a.ends()
	completes(b, gives(b, order(b)))
	b.ends()
	if l := c.look("labels"); l.Enqueued != 6 || l.Completed != 6 || l.Stale != 0 || l.Unfinished() != 0 {
		t.Errorf("%+v", l)
	}
}
