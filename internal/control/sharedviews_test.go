package control

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const counted = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: counted }
spec: { store: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: seen }
spec: { jsonSchema: { type: object, required: [seq], properties: { seq: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: total }
spec: { jsonSchema: { type: object, required: [count], properties: { count: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: a }
spec: { schema: seen }
---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: totals }
spec:
  from: { channel: a }
  by: "'all'"
  key: "'all'"
  schema: total
  events: { all: { upsert: { count: "${row.?count.orValue(0) + 1}" } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: ask }
spec: { from: { http: { get: /total } }, steps: [ { query: { view: totals, key: "'all'" } } ] }
`

// counts says what a replica answers of the view; "" where it refuses.
func (m *member) counts() string {
	m.c.t.Helper()
	req, err := http.NewRequestWithContext(m.c.t.Context(), http.MethodGet, "http://"+m.at+"/total", nil)
	if err != nil {
		m.c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// TestViewsAreTakenOver: one replica keeps them, and answers who asks; after it another goes on where it was, and counts nothing twice.
func TestViewsAreTakenOver(t *testing.T) {
	c := newCluster(t, counted)
	a := c.join()
	has := func(n int, ms ...*member) func() bool {
		return func() bool {
			answers := 0
			for _, m := range ms {
				if strings.Contains(m.counts(), fmt.Sprintf(`"count":%d`, n)) {
					answers++
				}
			}
			return answers == 1
		}
	}
	c.send("a", 0, 100)
	c.until("the view is there", has(100, a))
	b := c.join()
	c.until("both have their share", func() bool { return len(a.x.r.shared.keeper.Held()) == 8 && len(b.x.r.shared.keeper.Held()) == 8 })
	c.send("a", 100, 200)
	c.until("one of them has it", has(200, a, b))
	a.end()
	c.send("a", 200, 300)
	c.until("the other goes on", has(300, b))
}
