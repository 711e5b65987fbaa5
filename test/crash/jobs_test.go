package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/test/service"
)

// yardFlows enqueue a job in each of two queues, in one transaction: one that workers pull from, and one whose jobs a flow does.
const yardFlows = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: yard }
spec: { store: %s }
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: outside }
spec: { retry: { attempts: 1000, backoff: { initial: 1ms, max: 5ms } }, pull: { lease: %s } }
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: inside }
spec: { retry: { attempts: 1000, backoff: { initial: 1ms, max: 5ms } }, pull: { lease: %[2]s } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: made }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: employ }
spec:
  from: { http: { post: /jobs } }
  steps:
    - job: { queue: inside, data: { nr: "${body.nr}" } }
    - job: { queue: outside, data: { nr: "${body.nr}" } }
      into: vars.job
    - map: { id: "${vars.job.id}" }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: toil }
spec: { from: { queue: inside }, to: { channel: made } }
`

// tenure is one claim of a job, as who got it knows it.
type tenure struct {
	epoch    uint64
	granted  time.Time // by the server's clock
	until    time.Time // at least
	backAt   time.Time // when it was given back, at the earliest; zero: never
	said     bool      // it was asked to be completed
	complete bool      // … and that was acknowledged
}

// yard is programs with queues, over all their lives, and those outside who enqueue jobs and do them, and write down what they are told.
type yard struct {
	t       *testing.T
	dir     string
	peers   []*peer
	lease   time.Duration
	clients []*client
	open    func() store.Store // looks into the store from outside

	mu      sync.Mutex
	asked   map[int]bool
	acked   map[int]string // the job's id, by number
	claims  map[string][]*tenure
	numbers map[string]int // by id
	nr      int
}

func newYard(t *testing.T, spec string, lease time.Duration, n int, open func(dir string) store.Store) *yard {
	t.Helper()
	y := &yard{t: t, dir: t.TempDir(), lease: lease, asked: map[int]bool{}, acked: map[int]string{}, claims: map[string][]*tenure{}, numbers: map[string]int{}}
	y.open = func() store.Store { return open(y.dir) }
	writeFile(t, filepath.Join(y.dir, "yard.yaml"), fmt.Sprintf(yardFlows, spec, lease))
	for _, at := range ports(t, n) {
		y.peers = append(y.peers, &peer{at: at})
	}
	return y
}

func (y *yard) begin(p *peer) {
	y.t.Helper()
	cmd := exec.Command(program(y.t), "run", "--quiet", "--listen", p.at, "yard.yaml")
	cmd.Dir = y.dir
	p.process = start(y.t, cmd)
}

// client is somebody outside. He asks one program until that does not answer, and then the next.
type client struct {
	*http.Client
	y  *yard
	at int
}

func (y *yard) client(at int) *client {
	c := &client{&http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}, y, at}
	y.mu.Lock()
	y.clients = append(y.clients, c)
	y.mu.Unlock()
	return c
}

// post asks for something. An error says that there is no answer.
func (c *client) post(ctx context.Context, path, body string, into any) (status int, err error) {
	defer func() {
		if err != nil || status >= 500 {
			c.at++
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.y.peers[c.at%len(c.y.peers)].at+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, into)
	}
	return res.StatusCode, err
}

// employ enqueues one job after the other, until ctx ends. What gets no answer may be enqueued or not, and is not asked for again.
func (y *yard) employ(ctx context.Context, c *client) {
	for ctx.Err() == nil {
		y.mu.Lock()
		if len(y.acked)-len(y.claims) > 50 { // they do no more
			y.mu.Unlock()
			sleep(ctx, 2*time.Millisecond)
			continue
		}
		nr := y.nr
		y.nr++
		y.asked[nr] = true
		y.mu.Unlock()
		var is struct{ ID string }
		status, err := c.post(ctx, "/jobs", fmt.Sprintf(`{"nr":%d}`, nr), &is)
		if err != nil || status != http.StatusOK {
			sleep(ctx, 2*time.Millisecond) // it is not there yet
			continue
		}
		y.mu.Lock()
		y.acked[nr] = is.ID
		y.mu.Unlock()
	}
}

// given is a job as the server gives it.
type given struct {
	ID         string
	Epoch      uint64
	LeaseUntil time.Time
	Data       struct{ Nr int }
}

// toil takes jobs and does them, well or badly, until ctx ends.
func (y *yard) toil(ctx context.Context, c *client, random *rand.Rand) {
	for ctx.Err() == nil {
		var got struct{ Jobs []given }
		status, err := c.post(ctx, "/v1alpha1/queues/outside/lease", fmt.Sprintf(`{"max":%d,"waitMs":50}`, 1+random.IntN(4)), &got)
		if err != nil || status != http.StatusOK {
			sleep(ctx, 2*time.Millisecond)
			continue
		}
		for _, j := range got.Jobs {
			one := &tenure{epoch: j.Epoch, granted: j.LeaseUntil.Add(-y.lease), until: j.LeaseUntil}
			y.mu.Lock()
			y.claims[j.ID] = append(y.claims[j.ID], one)
			if nr, there := y.numbers[j.ID]; there && nr != j.Data.Nr {
				y.t.Errorf("job %s is number %d, and number %d", j.ID, nr, j.Data.Nr)
			}
			y.numbers[j.ID] = j.Data.Nr
			y.mu.Unlock()
			y.do(ctx, c, random, j.ID, one)
		}
	}
}

// do does something with a job.
func (y *yard) do(ctx context.Context, c *client, random *rand.Rand, id string, one *tenure) {
	ask := func(what, more string) (sent time.Time, status int, err error) {
		sent = time.Now()
		status, err = c.post(ctx, "/v1alpha1/queues/outside/"+what, fmt.Sprintf(`{"jobs":[{"id":%q,"epoch":%d%s}]}`, id, one.epoch, more), &struct{}{})
		return sent, status, err
	}
	is := func(f func()) {
		y.mu.Lock()
		defer y.mu.Unlock()
		f()
	}
	switch what := random.IntN(60); what {
	case 0: // he forgets it
		return
	case 1, 2:
		is(func() { one.backAt = time.Now() }) // whatever is answered
		if what == 1 {
			_, _, _ = ask("fail", `,"error":"no","afterMs":0`)
		} else {
			_, _, _ = ask("release", "")
		}
		return
	case 3, 4, 5:
		if sent, status, err := ask("heartbeat", ""); err == nil && status == http.StatusOK {
			is(func() { one.until = sent.Add(y.lease) })
		}
	case 6: // … until it may be another's
		sleep(ctx, time.Until(one.until)+time.Duration(random.IntN(50))*time.Millisecond)
	}
	for ctx.Err() == nil {
		var again bool
		is(func() { again, one.said = one.said, true })
		_, status, err := ask("complete", `,"result":{"by":"hand"}`)
		if err != nil || status >= 500 {
			sleep(ctx, 2*time.Millisecond)
			continue
		}
		if status == http.StatusOK {
			is(func() { one.complete = true })
		} else if back := time.Now(); status != http.StatusConflict || !again && back.Before(one.until) {
			y.t.Errorf("who holds %s under %d until %s is answered %d at %s", id, one.epoch, one.until, status, back)
		}
		return
	}
}

// opens has people enqueue and do jobs, until what it returns is called: with true they first do all there is.
func (y *yard) opens(seed uint64) (done func()) {
	enqueuing, noMore := context.WithCancel(y.t.Context())
	working, home := context.WithCancel(y.t.Context())
	var in, out sync.WaitGroup
	for i := range 3 {
		in.Go(func() { y.employ(enqueuing, y.client(i)) })
	}
	for i := range 8 {
		random := rand.New(rand.NewPCG(seed, uint64(10+i)))
		out.Go(func() { y.toil(working, y.client(i), random) })
	}
	y.t.Cleanup(func() {
		noMore()
		home()
		in.Wait()
		out.Wait()
		for _, c := range y.clients {
			c.CloseIdleConnections()
		}
	})
	return func() {
		y.t.Helper()
		noMore()
		in.Wait()
		y.until("all jobs are done", func() bool { return y.left("outside") == 0 && y.left("inside") == 0 })
		home()
		out.Wait()
	}
}

// left counts the jobs that are not over, as the first of the programs says.
func (y *yard) left(queue string) int64 {
	y.t.Helper()
	res, err := http.Get("http://" + y.peers[0].at + "/v1alpha1/queues/" + queue)
	if err != nil {
		return -1
	}
	defer func() { _ = res.Body.Close() }()
	var l jobs.QueueLook
	if err := json.NewDecoder(res.Body).Decode(&l); err != nil || res.StatusCode != http.StatusOK {
		return -1
	}
	return l.Ready + l.Delayed + l.Blocked + l.Leased
}

func (y *yard) until(what string, f func() bool) {
	y.t.Helper()
	for end := time.Now().Add(limit); !f(); sleep(y.t.Context(), 5*time.Millisecond) {
		for _, p := range y.peers {
			select {
			case <-p.over:
				if p.signal() == syscall.SIGKILL {
					continue // the test did that
				}
				y.t.Fatalf("a program has ended, with %v:\n%s", p.err, p.said.String())
			default:
			}
		}
		if time.Now().After(end) || y.t.Failed() {
			for i, p := range y.peers {
				y.t.Logf("program %d:\n%s", i, p.said.String())
			}
			y.t.Fatalf("never: %s", what)
		}
	}
}

func (y *yard) enqueued() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.acked)
}

// more waits until so many more jobs were acknowledged.
func (y *yard) more(n int) {
	y.t.Helper()
	target := y.enqueued() + n
	y.until("jobs are enqueued", func() bool { return y.enqueued() >= target })
}

// check holds what was told to those outside, and what is in the store, to what a queue promises. Nothing runs, and nobody asks.
func (y *yard) check() {
	t := y.t
	t.Helper()
	ids := map[int]string{}
	for id, nr := range y.numbers {
		if other, there := ids[nr]; there {
			t.Errorf("number %d was enqueued once, and is jobs %s and %s", nr, id, other)
		}
		if ids[nr] = id; !y.asked[nr] {
			t.Errorf("nobody has enqueued number %d", nr)
		}
	}
	expired, twice := 0, 0
	for nr, id := range y.acked {
		if ids[nr] != id {
			t.Errorf("job %s of number %d was acknowledged, and nobody ever got it (%q)", id, nr, ids[nr])
		}
	}
	for id, all := range y.claims {
		slices.SortFunc(all, func(a, b *tenure) int { return int(int64(a.epoch) - int64(b.epoch)) })
		ended := false
		for i, c := range all {
			ended = ended || c.said
			if i+1 == len(all) {
				break
			}
			next := all[i+1]
			switch {
			case next.epoch == c.epoch:
				t.Errorf("%s has two holders under epoch %d", id, c.epoch)
			case c.complete:
				t.Errorf("%s was completed under epoch %d, and given away under %d", id, c.epoch, next.epoch)
			case !c.backAt.IsZero() && next.granted.Before(c.backAt) && next.granted.Before(c.until), c.backAt.IsZero() && next.granted.Before(c.until):
				t.Errorf("%s is held under epoch %d until %s, and given away under %d at %s", id, c.epoch, c.until, next.epoch, next.granted)
			case c.backAt.IsZero():
				expired++
			}
			if c.said {
				twice++
			}
		}
		if !ended {
			t.Errorf("%s is over, and nobody has said so", id)
		}
	}
	st := y.open()
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	var look [2]jobs.Look
	if err := st.View(t.Context(), func(v store.View) (err error) {
		for i, queue := range []string{"outside", "inside"} {
			if look[i], err = jobs.New(jobs.Config{Name: queue}, st.Parts()).Look(v.State()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, l := range look {
		if l.Completed != l.Enqueued || l.Dead != 0 || l.Cancelled != 0 || l.Ready+l.Delayed+l.Leased+l.Blocked != 0 || l.Enqueued != look[0].Enqueued {
			t.Errorf("queue %d: %+v", i, l.Counts)
		}
	}
	if n := int64(len(y.claims)); look[0].Completed != n {
		t.Errorf("%d jobs were completed, and %d were given away", look[0].Completed, n)
	}
	made := map[int]int{}
	for _, b := range (reader{t, st}).bodies("made") {
		var is struct{ Nr int }
		if err := json.NewDecoder(bytes.NewReader(b)).Decode(&is); err != nil {
			t.Fatal(err)
		}
		if made[is.Nr]++; !y.asked[is.Nr] {
			t.Errorf("number %d is done, and nobody has enqueued it", is.Nr)
		}
	}
	for nr := range y.acked {
		if made[nr] == 0 {
			t.Errorf("number %d was acknowledged, and the flow has never done it", nr)
		}
	}
	if len(made) != len(y.claims) {
		t.Errorf("%d numbers were enqueued inside and %d outside, in the same transactions", len(made), len(y.claims))
	}
	t.Logf("%d jobs acknowledged of %d asked for, %d given away; %d leases ran out, %d of them of workers who were too late", len(y.acked), len(y.asked), len(y.claims), expired, twice)
}

// TestJobsOfAKilledProgram kills a program with queues again and again. What was acknowledged is done, and what was completed is over; a job has one holder at a time. An
// ordinary run kills 6 times; PENSTOCK_CRASHES=100 so many times.
func TestJobsOfAKilledProgram(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 6), uint64(number(t, "PENSTOCK_CRASH_SEED", 1))
	random := rand.New(rand.NewPCG(seed, 11))
	y := newYard(t, "{ path: s.db }", time.Second, 1, func(dir string) store.Store {
		st, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "s.db")})
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
	p := y.peers[0]
	y.begin(p)
	done := y.opens(seed)
	for range kills {
		y.more(random.IntN(60))
		p.lives(time.Duration(random.IntN(300)) * time.Millisecond)
		p.kill()
		y.begin(p)
	}
	y.more(20)
	done()
	p.stop()
	p.wait()
	y.check()
}

// TestJobsOfKilledReplicas kills one of two programs that share the queues of a store on PostgreSQL, again and again, and lets one sleep until its leases have run out:
// what it held is done by the other, and what it says of that when it wakes up is refused. An ordinary run does so 3 times.
func TestJobsOfKilledReplicas(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 3), uint64(number(t, "PENSTOCK_CRASH_SEED", 1))
	random := rand.New(rand.NewPCG(seed, 12))
	url := service.NewPostgres(t).URI("postgres")
	y := newYard(t, fmt.Sprintf("{ driver: postgres, url: %q, lease: 2s }", url), time.Second, 2, func(string) store.Store {
		st, err := postgres.Open(context.Background(), postgres.Options{Connection: url})
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
	for _, p := range y.peers {
		y.begin(p)
	}
	done := y.opens(seed)
	for i := range kills {
		y.more(1 + random.IntN(60))
		p := y.peers[i%2]
		p.lives(time.Duration(random.IntN(300)) * time.Millisecond)
		if i%3 == 1 {
			if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			y.more(20)
			p.lives(2 * y.lease) // how long does not matter
			if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			continue
		}
		p.kill()
		y.more(20) // the other goes on
		y.begin(p)
	}
	y.more(20)
	done()
	for _, p := range y.peers {
		p.stop()
	}
	for _, p := range y.peers {
		p.wait()
	}
	y.check()
}
