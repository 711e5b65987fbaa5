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
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// requests are two flows that take requests: one knows them by nothing, the other by a header. Behind a durable step one of them goes on.
const requests = `
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: requests }
spec:
  store: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: some }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: each }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: take }
spec:
  from: { http: { post: "/take/{who}" } }
  steps:
    - set: { body.who: "${request.path.who}" }
  to: { channel: some }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: once }
spec:
  from: { http: { post: "/once/{who}" }, id: "request.header['idempotency-key']" }
  delivery: effectively-once
  steps:
    - set: { body.who: "${request.path.who}" }
    - delay: { for: 10ms }
      name: later
  to: { channel: each }
`

const callers = 6

// caller makes requests to one of the flows, one after the other. What it gets no answer to it asks again: in the next life, if it must.
type caller struct {
	who      string
	path     string
	next     int64 // request that is not answered yet
	answered atomic.Int64
}

// ask makes requests until one of them is not answered well.
func (c *caller) ask(ctx context.Context, client *http.Client, address string) error {
	for {
		body := fmt.Sprintf(`{"nr":%d}`, c.next)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+c.path, bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%d", c.who, c.next))
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			return fmt.Errorf("%s: %s", res.Status, said)
		}
		c.next++ // it was accepted, whether or not the rest of the answer has come
		c.answered.Add(1)
		if err != nil {
			return err
		}
	}
}

// TestAcceptedIsKept kills a program that takes requests. What it has accepted is there after each kill; of what it knows by an identity
// everything is there once, however often a caller asks again that got no answer.
func TestAcceptedIsKept(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 8), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 7))
	dir := t.TempDir()
	config := filepath.Join(dir, "requests.yaml")
	if err := os.WriteFile(config, []byte(requests), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []*caller
	for i := range callers {
		c := &caller{who: fmt.Sprint("w", i)}
		c.path = []string{"/take/", "/once/"}[i%2] + c.who
		all = append(all, c)
	}
	path := filepath.Join(dir, ".penstock", "store.db")
	for i := range kills {
		after, until := int64(random.IntN(400)), 10*time.Second
		if random.IntN(3) == 0 {
			until = time.Duration(random.IntN(int(300 * time.Millisecond)))
		}
		serveUntil(t, dir, all, after, until, config)
		if _, err := os.Stat(path); err == nil && (i == kills-1 || random.IntN(2) == 0) {
			inspect(t, path, func(r reader) { accepted(r, all, false) })
		}
	}
	// The last life is let come to its end: what stands behind the durable step goes on.
	serveUntil(t, dir, all, 200, limit, config)
	cmd := exec.Command(program(t), "run", "--once", "--quiet", config)
	cmd.Dir = dir
	start(t, cmd).wait()
	inspect(t, path, func(r reader) { accepted(r, all, true) })
	var total int64
	for _, c := range all {
		total += c.answered.Load()
	}
	t.Logf("seed %d: %d requests were accepted", seed, total)
}

// serveUntil starts the program, lets the callers ask, and kills it after so many answers, or that long.
func serveUntil(t *testing.T, dir string, all []*caller, after int64, until time.Duration, args ...string) {
	t.Helper()
	address := ports(t, 1)[0]
	cmd := exec.Command(program(t), append([]string{"run", "--quiet", "--listen", address}, args...)...)
	cmd.Dir = dir
	p := start(t, cmd)
	ctx, cancel := context.WithTimeout(t.Context(), until)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	var before int64
	for _, c := range all {
		before += c.answered.Load()
	}
	var asking sync.WaitGroup
	for _, c := range all {
		asking.Go(func() {
			for {
				err := c.ask(ctx, client, address)
				select {
				case <-ctx.Done():
					return
				case <-p.over:
					return
				case <-time.After(2 * time.Millisecond): // it is not there yet
				}
				_ = err
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var n int64
		for _, c := range all {
			n += c.answered.Load()
		}
		if ctx.Err() != nil || n-before > after {
			break
		}
		select {
		case <-tick.C:
		case <-p.over:
			t.Fatalf("the program ended:\n%s", p.said.String())
		}
	}
	p.kill()
	cancel()
	asking.Wait()
}

// accepted holds the store to what the callers were told. At the end all is through.
func accepted(r reader, all []*caller, end bool) {
	t := r.t
	t.Helper()
	count := func(channel string) map[string]map[int64]int {
		out := map[string]map[int64]int{}
		for _, body := range r.bodies(channel) {
			var m struct {
				Who string
				Nr  int64
			}
			if err := json.Unmarshal(body, &m); err != nil {
				t.Fatalf("channel %s holds %s", channel, body)
			}
			if out[m.Who] == nil {
				out[m.Who] = map[int64]int{}
			}
			out[m.Who][m.Nr]++
		}
		return out
	}
	some, each := count("some"), count("each")
	for i, c := range all {
		there := some[c.who]
		if i%2 == 1 {
			if there = each[c.who]; !end {
				there = nil // it may stand in front of the durable step
			}
		}
		for n := range c.next {
			if there != nil && there[n] == 0 || there == nil && i%2 == 0 {
				t.Errorf("request %d of %s was accepted, and is not there", n, c.who)
			}
		}
		for n, times := range each[c.who] {
			if times != 1 {
				t.Errorf("request %d of %s, which has an identity, is there %d times", n, c.who, times)
			}
		}
		for n := range there {
			if n > c.next {
				t.Errorf("%s has not made request %d", c.who, n)
			}
		}
	}
}
