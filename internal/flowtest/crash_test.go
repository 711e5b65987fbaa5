package flowtest_test

import (
	"fmt"
	"math/rand/v2"
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
`
	for _, order := range []string{"total", "per-key"} {
		var tests strings.Builder
		for seed := range uint64(30) {
			tests.WriteString(crashing(fmt.Sprintf("seed-%d", seed), rand.New(rand.NewPCG(seed, 17))))
		}
		dir := folder(t, map[string]string{"flows.yaml": strings.ReplaceAll(flows, "ORDER", order), "tests.yaml": tests.String()})
		r, text := report(t, dir, flowtest.Options{})
		if r == nil || !r.Passed() || len(r.Cases) != 30 {
			t.Errorf("order: %s\n%s", order, text)
		}
	}
}

// crashing writes a Test whose script is random.
func crashing(name string, rnd *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: penstock.dev/v1alpha1\nkind: Test\nmetadata: { name: %s }\nspec:\n  flow: groups\n  mocks:\n", name)
	for _, step := range []string{"before", "after"} {
		for i := range 3 {
			fmt.Fprintf(&b, "    - { step: %s, when: body.i == %d, fail: { code: unavailable, times: %d } }\n", step, rnd.IntN(12), i+1)
		}
		fmt.Fprintf(&b, "    - { step: %s, reply: {} }\n", step)
	}
	b.WriteString("  script:\n")
	groups := map[string][]int{}
	down := false
	for i := range 12 {
		k := string(rune('a' + rnd.IntN(3)))
		groups[k] = append(groups[k], i)
		fmt.Fprintf(&b, "    - send: { body: { k: %s, i: %d } }\n", k, i)
		for range rnd.IntN(3) {
			switch rnd.IntN(4) {
			case 0:
				fmt.Fprintf(&b, "    - advance: %dms\n", 1+rnd.IntN(3000))
			case 1: // sent twice
				fmt.Fprintf(&b, "    - send: { body: { k: %s, i: %d } }\n", k, i)
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
	b.WriteString("  expect:\n    - channel: out\n      unordered: true\n      exactly:\n")
	for k, list := range groups {
		for len(list) > 0 {
			n := min(3, len(list))
			fmt.Fprintf(&b, "        - { k: %s, list: %s }\n", k, strings.ReplaceAll(fmt.Sprint(list[:n]), " ", ", "))
			list = list[n:]
		}
	}
	b.WriteString("    - dead: true\n      count: 0\n")
	return b.String()
}
