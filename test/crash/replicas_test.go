package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// replicaFlows take requests, on every replica, and copy them, at one of them at a time.
const replicaFlows = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec:
  store: { driver: postgres, url: %q, lease: %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: taken }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: copied }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: take }
spec: { from: { http: { post: /take } }, to: { channel: taken } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec: { from: { channel: taken }, order: total, delivery: effectively-once, to: { channel: copied } }
%s`

// replicated is processes on one store, and somebody outside who writes down what they have acknowledged.
type replicated struct {
	t     *testing.T
	dir   string
	url   string
	peers []*peer
	pad   string // in each request
	home  int    // the part of what is driven by one of them

	command func(p *peer) *exec.Cmd

	mu    sync.Mutex
	acked map[int]bool
	next  int
	over  chan struct{}
	wg    sync.WaitGroup
}

// peer is one replica, over all its lives.
type peer struct {
	*process
	at string
}

func newReplicated(t *testing.T, url, lease string, n int) *replicated {
	t.Helper()
	return newPadded(t, url, lease, n, "")
}

// newPadded is newReplicated with requests that have something more in them.
func newPadded(t *testing.T, url, lease string, n int, pad string) *replicated {
	t.Helper()
	r := &replicated{t: t, dir: t.TempDir(), url: url, pad: pad, home: store.PartOf("copy", postgres.DefaultParts), acked: map[int]bool{}, over: make(chan struct{})}
	r.configure(lease, "")
	r.command = func(p *peer) *exec.Cmd {
		cmd := exec.Command(program(t), "run", "--quiet", "--listen", p.at, ".")
		cmd.Dir = r.dir
		return cmd
	}
	r.join(n)
	r.wg.Go(r.write)
	t.Cleanup(r.finish)
	return r
}

// join starts replicas.
func (r *replicated) join(n int) {
	r.t.Helper()
	for _, at := range ports(r.t, n) {
		r.peers = append(r.peers, &peer{at: at})
	}
	for _, p := range r.peers {
		r.begin(p)
	}
}

func (r *replicated) configure(lease, more string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "flow.yaml"), fmt.Appendf(nil, replicaFlows, r.url, lease, more), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// begin starts a replica.
func (r *replicated) begin(p *peer) {
	r.t.Helper()
	p.process = start(r.t, r.command(p))
}

// finish ends the writing.
func (r *replicated) finish() {
	select {
	case <-r.over:
	default:
		close(r.over)
	}
	r.wg.Wait()
}

// write sends one request after the other, to any replica, until finish; each until it is acknowledged.
func (r *replicated) write() {
	client := &http.Client{Timeout: 10 * time.Second}
	for n := 0; ; n++ {
		for try := n; ; try++ {
			select {
			case <-r.over:
				return
			default:
			}
			res, err := client.Post("http://"+r.peers[try%len(r.peers)].at+"/take", "application/json", strings.NewReader(fmt.Sprintf(`{"number":%d,"pad":%q}`, n, r.pad)))
			if err != nil {
				continue
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode < 300 {
				break
			}
		}
		r.mu.Lock()
		r.acked[n], r.next = true, n+1
		r.mu.Unlock()
	}
}

func (r *replicated) written() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// until waits for something, however long it takes.
func (r *replicated) until(what string, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); !f(); sleep(r.t.Context(), 20*time.Millisecond) {
		if time.Now().After(end) {
			for i, p := range r.peers {
				r.t.Logf("replica %d:\n%s", i, p.said.String())
			}
			r.t.Fatalf("never: %s", what)
		}
	}
}

// more waits until so many more requests were acknowledged.
func (r *replicated) more(n int) {
	r.t.Helper()
	target := r.written() + n
	r.until("requests are acknowledged", func() bool { return r.written() >= target })
}

// open looks into the store from outside.
func (r *replicated) open() *postgres.DB {
	r.t.Helper()
	db, err := postgres.Open(r.t.Context(), postgres.Options{Connection: r.url})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = db.Close() })
	return db
}

// drives says which replica drives the copying, and with which epoch; nil: none at this moment.
func (r *replicated) drives(db *postgres.DB) (*peer, int64) {
	r.t.Helper()
	table, err := db.Leases().Beat(r.t.Context(), lease.Replica{}, time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	p := table.Parts[r.home]
	if p.Free() {
		return nil, p.Epoch
	}
	for _, one := range table.Replicas {
		if one.ID != p.Owner {
			continue
		}
		for _, mine := range r.peers {
			if mine.cmd.Process.Pid == one.PID {
				return mine, p.Epoch
			}
		}
	}
	return nil, p.Epoch
}

// check holds the store to what was acknowledged: all of that was taken, and what was taken was copied: all of it, once, in order.
func (r *replicated) check() {
	r.t.Helper()
	r.finish()
	db := r.open()
	v := reader{r.t, db}
	r.until("everything is copied", func() bool { return len(v.messages("copied")) >= len(v.messages("taken")) })
	taken, copied := v.bodies("taken"), v.bodies("copied")
	if len(taken) != len(copied) {
		r.t.Fatalf("%d messages were taken, and %d copied", len(taken), len(copied))
	}
	there := map[int]bool{}
	for i := range taken {
		if !bytes.Equal(taken[i], copied[i]) {
			r.t.Fatalf("the %dth copy is %s of %s", i, copied[i], taken[i])
		}
		var m struct{ Number int }
		if err := json.Unmarshal(taken[i], &m); err != nil {
			r.t.Fatal(err)
		}
		there[m.Number] = true
	}
	for n := range r.acked {
		if !there[n] {
			r.t.Errorf("%d was acknowledged, and is not there", n)
		}
	}
	for n := range there {
		if n > r.next {
			r.t.Errorf("%d is there, and was never sent", n)
		}
	}
}

// stopAll ends what lives, well.
func (r *replicated) stopAll() {
	for _, p := range r.peers {
		p.stop()
	}
	for _, p := range r.peers {
		p.wait()
	}
}

// TestReplicasAreKilled kills one of three replicas again and again, and starts it anew, while requests come in. An ordinary run kills 4 times;
// PENSTOCK_CRASHES=50 so many times.
func TestReplicasAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 9))
	r := newReplicated(t, service.NewPostgres(t).URI("postgres"), "2s", 3)
	db := r.open()
	r.until("somebody drives", func() bool { p, _ := r.drives(db); return p != nil })
	for i := range kills {
		r.more(1 + random.IntN(100))
		p, epoch := r.drives(db)
		if p == nil || i%3 == 2 {
			p = r.peers[random.IntN(len(r.peers))]
		}
		began := time.Now()
		drove, _ := r.drives(db)
		p.kill()
		if p == drove {
			r.until("another takes over", func() bool { o, e := r.drives(db); return o != nil && o != p && e > epoch })
			t.Logf("taken over after %s, with leases of 2s", time.Since(began).Round(time.Millisecond))
		}
		r.begin(p)
	}
	r.check()
	r.stopAll()
}

// TestAReplicaThatSleepsIsFenced stops the replica that drives until another has taken over, once also while it has the lock of its part: the other
// is not held up, and what the first wakes up with is refused.
func TestAReplicaThatSleepsIsFenced(t *testing.T) {
	r := newReplicated(t, service.NewPostgres(t).URI("postgres"), "2s", 2)
	db := r.open()
	for _, locks := range []bool{false, true} {
		var p *peer
		var epoch int64
		r.until("somebody drives", func() bool { p, epoch = r.drives(db); return p != nil })
		r.more(50)
		var blocked *pgx.Conn
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if locks { // as its writer may have been in the middle of
			blocked = r.lock(p)
		}
		r.until("another takes over", func() bool { o, e := r.drives(db); return o != nil && o != p && e > epoch })
		before := len(reader{t, db}.messages("copied"))
		r.until("it goes on", func() bool { return len(reader{t, db}.messages("copied")) > before })
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if blocked != nil {
			_ = blocked.Close(context.Background()) // the server has ended it
		}
		r.more(50)
	}
	r.check()
	r.stopAll()
}

// lock locks the part that a replica drives, and stands still: the session of a process that sleeps.
func (r *replicated) lock(*peer) *pgx.Conn {
	r.t.Helper()
	c, err := pgx.Connect(r.t.Context(), r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, sql := range []string{"SET application_name = 'penstock writer asleep'", "BEGIN", fmt.Sprintf("SELECT 1 FROM penstock.part WHERE p = %d FOR UPDATE", store.PartOf("copy", 64))} {
		if _, err := c.Exec(r.t.Context(), sql); err != nil {
			r.t.Fatal(err)
		}
	}
	return c
}

// TestAReplicaThatIsStoppedHandsOver: at once, for leases hold for ten minutes here, and without doing anything twice.
func TestAReplicaThatIsStoppedHandsOver(t *testing.T) {
	r := newReplicated(t, service.NewPostgres(t).URI("postgres"), "10m", 2)
	db := r.open()
	for range 3 {
		var p *peer
		var epoch int64
		r.until("somebody drives", func() bool { p, epoch = r.drives(db); return p != nil })
		r.more(30)
		p.stop()
		p.wait()
		o, e := r.drives(db)
		r.until("the other drives", func() bool { o, e = r.drives(db); return o != nil && o != p })
		if e != epoch+1 {
			t.Errorf("epoch %d follows %d: somebody else drove in between", e, epoch)
		}
		r.begin(p)
		r.until("both are there", func() bool {
			table, err := db.Leases().Beat(t.Context(), lease.Replica{}, time.Hour)
			return err == nil && len(table.Replicas) == 2
		})
	}
	r.check()
	r.stopAll()
}

// TestReplicasOutliveTheirServer: PostgreSQL ends as in a crash, and comes again; the processes are the same, and go on.
func TestReplicasOutliveTheirServer(t *testing.T) {
	server := service.NewPostgres(t)
	r := newReplicated(t, server.URI("postgres"), "2s", 2)
	r.more(50)
	for range 2 {
		server.Stop(t)
		sleep(t.Context(), 300*time.Millisecond) // how long does not matter
		server.Start(t)
		r.more(50)
	}
	for _, p := range r.peers {
		select {
		case <-p.over:
			t.Fatalf("it has ended:\n%s", p.said.String())
		default:
		}
	}
	r.check()
	r.stopAll()
}

// TestReplicasOfTwoConfigurations: one replica has a flow that the other does not know. It is driven by the one that does.
func TestReplicasOfTwoConfigurations(t *testing.T) {
	r := newReplicated(t, service.NewPostgres(t).URI("postgres"), "2s", 2)
	r.more(20)
	r.configure("2s", `---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: again }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: newer }
spec: { from: { channel: copied }, order: total, to: { channel: again } }
`)
	old := r.peers[1]
	r.peers[0].stop()
	r.peers[0].wait()
	r.begin(r.peers[0]) // the new version
	r.more(20)
	old.stop() // the last of the old ones
	old.wait()
	r.begin(old)
	r.check()
	db := r.open()
	v := reader{t, db}
	r.until("the new flow has read everything", func() bool { return len(v.messages("again")) >= len(v.messages("copied")) })
	if a, b := len(v.messages("again")), len(v.messages("copied")); a != b {
		t.Errorf("%d messages of %d", a, b)
	}
	r.stopAll()
}

// TestRunReplicas starts three replicas by one command, which ends them all.
func TestRunReplicas(t *testing.T) {
	url := service.NewPostgres(t).URI("postgres")
	r := &replicated{t: t, dir: t.TempDir(), url: url, acked: map[int]bool{}, over: make(chan struct{})}
	r.configure("2s", "")
	row := ports(t, 3) // each replica listens one port higher than the one before
	cmd := exec.Command(program(t), "run", "--replicas", "3", "--listen", row[0], ".")
	cmd.Dir = r.dir
	p := start(t, cmd)
	for _, at := range row {
		r.peers = append(r.peers, &peer{process: p, at: at})
	}
	r.wg.Go(r.write)
	t.Cleanup(r.finish)
	r.more(30)
	db := r.open()
	r.until("three are there, and share the parts", func() bool {
		table, err := db.Leases().Beat(t.Context(), lease.Replica{}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		owners := map[string]int{}
		for _, p := range table.Parts {
			owners[p.Owner]++
		}
		return len(table.Replicas) == 3 && len(owners) == 3 && owners[""] == 0
	})
	var out []byte
	r.until("ps lists them all, with what they run", func() bool { // each says so with its next renewal
		ps := exec.Command(program(t), "ps")
		ps.Dir = r.dir
		var err error
		if out, err = ps.CombinedOutput(); err != nil {
			t.Fatalf("ps: %v\n%s", err, out)
		}
		return strings.Count(string(out), "take (everywhere)") == 3
	})
	r.check()
	p.stop()
	p.wait()
	if said := p.said.String(); !strings.Contains(said, "replica 3 | ") {
		t.Errorf("it said:\n%s", said)
	}
}
