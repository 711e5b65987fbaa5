package flowtest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/flowtest"
)

// TestCrashesChangeNothing sends messages to a flow of durable steps, with crashes, failures and pauses at random
// places: what comes out must be what comes out without them.
func TestCrashesChangeNothing(t *testing.T) {
	const flows = `apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: in }
spec: { mode: queue }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: out }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: world }
spec: { remote: { url: x } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: groups }
spec:
  from: { channel: in }
  key: body.k
  order: ORDER
  concurrency: 4
  onError: { retry: { attempts: 30, backoff: { initial: 1s, factor: 1 } } }
  steps:
    - name: before
      call: { remote: { connection: world, get: "/" } }
      into: none
    - name: once
      dedupe: { key: string(body.i), window: 30d }
    - name: after
      call: { remote: { connection: world, get: "/" } }
      into: none
    - name: luggage
      claimCheck: { body: { k: "${body.k}" } }
    - name: wait
      delay: { for: 2s }
    - name: back
      claimCheck: { redeem: meta.claim }
    - name: group
      aggregate: { by: body.k, complete: { size: 3, atEnd: true } }
    - map: { k: "${key}", list: "${body.map(b, b.i)}" }
  to: { channel: out }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: lines }
spec:
  from: { channel: in }
  key: body.k
  order: ORDER
  onError: { retry: { attempts: 30, backoff: { initial: 1s, factor: 1 } } }
  steps:
    - name: before
      call: { remote: { connection: world, get: "/" } }
      into: none
    - name: line
      resequence: { by: body.k, number: body.i, timeout: 30d, late: drop }
    - name: slow
      throttle: { rate: 2/s, by: body.k, burst: 2 }
    - name: after
      call: { remote: { connection: world, get: "/" } }
      into: none
  to: { channel: out }
`
	for _, order := range []string{"total", "per-key"} {
		var tests strings.Builder
		for seed := range uint64(20) {
			rnd := rand.New(rand.NewPCG(seed, 17))
			tests.WriteString(crashing(fmt.Sprintf("groups-%d", seed), "groups", groups, rnd))
			tests.WriteString(crashing(fmt.Sprintf("lines-%d", seed), "lines", lines, rnd))
		}
		dir := folder(t, map[string]string{"flows.yaml": strings.ReplaceAll(flows, "ORDER", order), "tests.yaml": tests.String()})
		r, text := report(t, dir, flowtest.Options{})
		if r == nil || !r.Passed() || len(r.Cases) != 40 {
			t.Errorf("order: %s\n%s", order, text)
		}
	}
}

// sent is one message of a script.
type sent struct {
	k string
	i int
}

// groups sends messages of a few keys, and expects them in groups of three.
func groups(rnd *rand.Rand) (send []sent, expect string) {
	var b strings.Builder
	b.WriteString("    - channel: out\n      unordered: true\n      exactly:\n")
	byKey := map[string][]string{}
	for i := range 12 {
		k := string(rune('a' + rnd.IntN(3)))
		byKey[k] = append(byKey[k], strconv.Itoa(i))
		send = append(send, sent{k, i})
	}
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		for list := range slices.Chunk(byKey[k], 3) {
			fmt.Fprintf(&b, "        - { k: %s, list: [ %s ] }\n", k, strings.Join(list, ", "))
		}
	}
	return send, b.String()
}

// lines sends numbered messages in any order, and expects them in that of their numbers.
func lines(rnd *rand.Rand) (send []sent, expect string) {
	var b strings.Builder
	for _, k := range []string{"a", "b"} {
		fmt.Fprintf(&b, "    - channel: out\n      when: body.k == %q\n      exactly:\n", k)
		for i := range 6 {
			fmt.Fprintf(&b, "        - { k: %s, i: %d }\n", k, i+1)
			send = append(send, sent{k, i + 1})
		}
	}
	rnd.Shuffle(len(send), func(i, j int) { send[i], send[j] = send[j], send[i] })
	return send, b.String()
}

// crashing writes a Test whose script is random.
func crashing(name, flow string, messages func(*rand.Rand) ([]sent, string), rnd *rand.Rand) string {
	var b strings.Builder
	send, expect := messages(rnd)
	fmt.Fprintf(&b, "---\napiVersion: penstock.dev/v1alpha1\nkind: Test\nmetadata: { name: %s }\nspec:\n  flow: %s\n  mocks:\n", name, flow)
	for _, step := range []string{"before", "after"} {
		for i := range 3 {
			fmt.Fprintf(&b, "    - { step: %s, when: body.i == %d, fail: { code: unavailable, times: %d } }\n", step, rnd.IntN(12), i+1)
		}
		fmt.Fprintf(&b, "    - { step: %s, reply: {} }\n", step)
	}
	b.WriteString("  script:\n")
	down := false
	for _, m := range send {
		fmt.Fprintf(&b, "    - send: { body: { k: %s, i: %d } }\n", m.k, m.i)
		for range rnd.IntN(3) {
			switch rnd.IntN(4) {
			case 0:
				fmt.Fprintf(&b, "    - advance: %dms\n", 1+rnd.IntN(3000))
			case 1: // sent twice
				fmt.Fprintf(&b, "    - send: { body: { k: %s, i: %d } }\n", m.k, m.i)
			case 2:
				if !down {
					b.WriteString("    - crash: true\n")
					down = true
				}
			case 3:
				if down {
					b.WriteString("    - start: true\n")
					down = false
				}
			}
		}
	}
	if down {
		b.WriteString("    - start: true\n")
	}
	return b.String() + "  expect:\n" + expect + "    - dead: true\n      count: 0\n"
}
