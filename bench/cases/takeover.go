package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

// takeoverFlows are a flow that any replica answers, and one that reads what that sends, at one replica, and prints it.
const takeoverFlows = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: takeover }
spec: { store: { driver: postgres, url: "%s", schema: %s, lease: %s } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: work }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: take }
spec:
  from: { http: { post: /work } }
  steps:
    - to: { channel: work }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: onwards }
spec:
  from: { channel: work }
  to: { stdout: {} }
`

const (
	defaultLease = 10 * time.Second // of replicas, where nothing is said
	shortLease   = 2 * time.Second
	// patience is how long the case waits for what has to come.
	patience = time.Minute

	shortSide = "leases of 2s"
)

// storeTakeover kills the one of two replicas that does the work.
func storeTakeover(ctx context.Context, s *storeRun) error {
	s.out.Sizes = fmt.Sprintf("two replicas with leases of %s; a message every 10 ms to the one that stays", defaultLease)
	side := func(name string, lease time.Duration) storeSide {
		return storeSide{name, func(ctx context.Context, _ int) (r load.Result, err error) {
			defer func() { err = errors.Join(err, s.dropped(ctx, "takeover")) }()
			return s.takeover(ctx, lease)
		}}
	}
	return s.alternate(ctx, false, side("penstock", defaultLease), side(shortSide, shortLease))
}

// ledger is what two replicas were given, and what they have done, by the number of the message. Its methods are safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	to    []string // addresses: the first that takes a message gets it
	given []int64
	done  map[int64]bool
	since [2]time.Time // when a replica did something after the other one had; zero: the other did since
	last  [2]time.Time // when it did something
}

// hear is told of a line that a replica has printed.
func (l *ledger) hear(who int, line []byte) {
	now := time.Now()
	var m struct{ ID int64 }
	if err := json.Unmarshal(line, &m); err != nil || m.ID == 0 {
		return // it says something else
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[m.ID], l.last[who] = true, now
	if l.since[who].IsZero() {
		l.since[who] = now
	}
	l.since[1-who] = time.Time{}
}

// worker is who has done all of the work for so long; -1: nobody.
func (l *ledger) worker(long time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for who, since := range l.since {
		if !since.IsZero() && l.last[who].Sub(since) >= long {
			return who
		}
	}
	return -1
}

// began is when a replica began to do the work that the other one did before; false: it has not.
func (l *ledger) began(who int) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since[who], !l.since[who].IsZero()
}

// missing counts what was given, and what of it is not done.
func (l *ledger) missing() (n, of int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.given {
		if !l.done[id] {
			n++
		}
	}
	return n, len(l.given)
}

// send has messages go to these addresses from now on.
func (l *ledger) send(to ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

// give sends a message every 10 ms until ctx ends. What was accepted is in the ledger.
func (l *ledger) give(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for id := int64(1); ; id++ {
		l.mu.Lock()
		to := l.to
		l.mu.Unlock()
		for _, address := range to {
			if taken(ctx, client, address, id) {
				l.mu.Lock()
				l.given = append(l.given, id)
				l.mu.Unlock()
				break
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// taken sends a message, and says whether it was accepted.
func taken(ctx context.Context, client *http.Client, address string, id int64) bool {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/work", strings.NewReader(fmt.Sprintf(`{"id":%d}`, id)))
	if err != nil {
		return false
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(q)
	if err != nil {
		return false // it is not up yet, or was killed
	}
	_ = answer.Body.Close()
	return answer.StatusCode/100 == 2
}

// takeover runs two replicas, kills the one that does the work, and waits for the other one to do some, and then all that was accepted.
func (s *storeRun) takeover(ctx context.Context, lease time.Duration) (r load.Result, err error) {
	folder := s.path("takeover")
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o750)); err != nil {
		return r, err
	}
	text := fmt.Sprintf(takeoverFlows, s.postgres.URI(), "takeover", lease)
	if err := os.WriteFile(filepath.Join(folder, "flows.yaml"), []byte(text), 0o600); err != nil {
		return r, err
	}
	l := &ledger{done: map[int64]bool{}}
	var both []*harness.Child
	var listen []string
	defer func() {
		for _, c := range both {
			c.Kill()
		}
	}()
	for who := range 2 {
		address, err := free()
		if err != nil {
			return r, err
		}
		c, err := harness.Start(folder, []string{s.Penstock, "run", folder, "--listen", address, "--log-level", "error", "-q"}, func(line []byte) { l.hear(who, line) })
		if err != nil {
			return r, err
		}
		both, listen = append(both, c), append(listen, address)
	}
	l.send(listen...)
	giving, enough := context.WithCancel(ctx)
	var feeder sync.WaitGroup
	feeder.Go(func() { l.give(giving) })
	defer func() { enough(); feeder.Wait() }()

	// While replicas share the parts out, the work may go from the one to the other; that takes less than a lease.
	dies := -1
	if err := until(ctx, both, "neither replica does all of the work", func() bool { dies = l.worker(lease); return dies >= 0 }); err != nil {
		return r, err
	}
	stays := 1 - dies
	l.send(listen[stays])
	if err := wait(ctx, rand.N(lease/3)); err != nil { // leases are renewed at a third: it dies at any time in between
		return r, err
	}
	if l.worker(lease) != dies {
		return r, errors.New("the work went from one replica to the other with nothing done to them")
	}
	killed := both[dies].Kill()
	rest := both[stays : stays+1]
	if err := until(ctx, rest, "the other replica does not go on", func() bool { _, ok := l.began(stays); return ok }); err != nil {
		return r, err
	}
	at, _ := l.began(stays)
	if err := wait(ctx, time.Second); err != nil {
		return r, err
	}
	enough()
	feeder.Wait()
	if err := until(ctx, rest, "what was accepted is not done", func() bool { n, _ := l.missing(); return n == 0 }); err != nil {
		n, of := l.missing()
		return r, fmt.Errorf("%w: %d of %d messages", err, n, of)
	}
	took := at.Sub(killed).Seconds()
	r.Add("takeover", "leases", took/lease.Seconds())
	r.Add("first work after", "ms", took*1e3)
	_, of := l.missing()
	r.Add("messages", "", float64(of))
	return r, both[stays].Stop()
}

// until waits until something holds while all of these run.
func until(ctx context.Context, all []*harness.Child, otherwise string, holds func() bool) error {
	for limit := time.Now().Add(patience); !holds(); {
		for _, c := range all {
			if err := c.Ended(); err != nil {
				return err
			}
		}
		if time.Now().After(limit) {
			return errors.New(otherwise)
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
