package storm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// changing is a service of four flows, of which one that answers, one that keeps what it is given, and one that writes it, change.
func changing(answers, keeps, writes int) string {
	return fmt.Sprintf(`apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: kept }
spec: { mode: queue }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: answer }
spec:
  from: { http: { post: /answer } }
  steps: [ { map: { id: "${body.id}", version: %d } } ]
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: keep }
spec:
  from: { http: { post: /keep } }
  steps: [ { set: { body.kept: %d } } ]
  to: { channel: kept }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: write }
spec:
  from: { channel: kept }
  steps: [ { set: { body.written: %d } } ]
  to: { file: { path: out.jsonl } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: idle }
spec:
  from: { http: { get: /idle } }
`, answers, keeps, writes)
}

// TestAThousandReloads changes one flow or another a thousand times while requests come: each is answered, by some version, and what was
// accepted is written once.
func TestAThousandReloads(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 50
	}
	versions := [3]int{}
	s := start(t, changing(0, 0, 0))
	before := resident(t)
	var over atomic.Bool
	var accepted, answered atomic.Int64
	var load sync.WaitGroup
	for client := range 4 {
		load.Go(func() {
			for i := 0; !over.Load(); i++ {
				id := fmt.Sprintf("%d-%d", client, i)
				if i%2 == 0 {
					status, got := s.ask("POST", s.web+"/answer", `{"id":"`+id+`"}`)
					if status != 200 || !strings.HasPrefix(got, `{"id":"`+id+`","version":`) {
						t.Errorf("%s was answered with %d %s", id, status, got)
						return
					}
					answered.Add(1)
					continue
				}
				if status, got := s.ask("POST", s.web+"/keep", `{"id":"`+id+`"}`); status != 202 {
					t.Errorf("%s was not kept: %d %s", id, status, got)
					return
				}
				accepted.Add(1)
			}
		})
	}
	for i := range reloads {
		versions[i%3]++
		if i%7 == 0 {
			versions[(i+1)%3]++
		}
		s.write(changing(versions[0], versions[1], versions[2]))
		s.hangup <- syscall.SIGHUP
		if r := <-s.told; !r.OK || len(r.Changed) == 0 || len(r.Again) > 0 || len(r.Unchanged)+len(r.Changed) != 4 {
			t.Errorf("reload %d: %+v", i, r)
			break
		}
	}
	over.Store(true)
	load.Wait()
	if answered.Load() == 0 || accepted.Load() == 0 {
		t.Fatal("nobody asked")
	}
	written := func() string {
		text, err := os.ReadFile("out.jsonl")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	for deadline := time.Now().Add(time.Minute); int64(strings.Count(written(), "\n")) < accepted.Load(); {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d were written", strings.Count(written(), "\n"), accepted.Load())
		}
	}
	if grown := resident(t) - before; grown > most {
		t.Errorf("%d MiB more than before", grown>>20)
	}
	s.stop()
	t.Logf("%d requests were answered, and %d kept", answered.Load(), accepted.Load())
	wrote, versionsSeen := map[string]int{}, map[int]bool{}
	for line := range strings.Lines(written()) {
		var m struct {
			ID      string `json:"id"`
			Written int    `json:"written"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		wrote[m.ID]++
		versionsSeen[m.Written] = true
	}
	for id, n := range wrote {
		if n != 1 {
			t.Errorf("%s was written %d times", id, n)
		}
	}
	if int64(len(wrote)) != accepted.Load() || len(versionsSeen) < 2 {
		t.Errorf("%d of %d were written, by %d versions", len(wrote), accepted.Load(), len(versionsSeen))
	}
}
