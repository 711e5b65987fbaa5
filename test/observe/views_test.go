package observe_test

import (
	"strings"
	"testing"
)

// counted is a view that adds up, and one that some events stop.
const counted = `
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: moves }
spec: { key: body.of }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: total }
spec: { jsonSchema: { type: object, properties: { total: { type: integer, maximum: 100 } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: number }
spec: { jsonSchema: { type: object, properties: { times: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: totals }
spec:
  from: { channel: moves }
  by: "'moved'"
  schema: total
  events: { moved: { upsert: { total: "${row.?total.orValue(0) + int(body.n)}" } } }
---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: numbers }
spec:
  from: { channel: moves }
  by: "'moved'"
  schema: number
  events: { moved: { upsert: { times: "${row.?times.orValue(0) + 1}" } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: move }
spec:
  from: { http: { post: /moves } }
  to: { channel: moves }
`

// A view says how far it has come, and that it has stopped; the process is ready none the less.
func TestMetricsOfViews(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	move := func(body string) {
		t.Helper()
		if code, got := r.post("/moves", body); code != 202 {
			t.Fatalf("%d %s", code, got)
		}
	}
	move(`{"of":"a","n":1}`)
	move(`{"of":"b","n":2}`)
	move(`{"of":"a","n":3}`)
	r.until("/metrics", `penstock_view_events_folded_total{view="totals"} 3`)
	text := r.until("/metrics", `penstock_view_events_folded_total{view="numbers"} 3`)
	r.holds(text,
		`penstock_view_state{state="running",view="totals"} 1`,
		`penstock_view_state{state="stopped",view="totals"} 0`,
		`penstock_view_errors_total{by="event",view="totals"} 0`,
	)
	if code, got := r.get("/readyz/views"); code != 200 {
		t.Fatalf("%d %s", code, got)
	}
	move(`{"of":"a","n":1000}`)
	move(`{"of":"b","n":1}`)
	r.until("/metrics", `penstock_view_state{state="stopped",view="totals"} 1`)
	text = r.until("/metrics", `penstock_view_events_folded_total{view="numbers"} 5`)
	r.holds(text,
		`penstock_view_state{state="running",view="totals"} 0`,
		`penstock_view_lag_events{view="totals"} 2`,
		`penstock_view_rows{view="totals"} 2`,
		`penstock_view_events_folded_total{view="totals"} 3`,
		`penstock_view_errors_total{by="event",view="totals"} 1`,
		`penstock_view_errors_total{by="store",view="totals"} 0`,
		`penstock_view_state{state="running",view="numbers"} 1`,
		`penstock_collect_errors_total 0`,
	)
	if strings.Contains(text, `penstock_view_oldest_event_age_seconds{view="totals"} 0`+"\n") {
		t.Error("the oldest event that is not in the rows has no age")
	}
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/readyz":         {200, "ok"},
		"/readyz?verbose": {200, "[~]views degraded: view totals has stopped at event 3: unprocessable"},
		"/readyz/views":   {503, "[-]views failed: view totals has stopped at event 3: unprocessable"},
	} {
		if code, got := r.get(path); code != want.code || !strings.Contains(got, want.text) {
			t.Errorf("%s: %d %s", path, code, got)
		}
	}
}

// holds says which lines a page of metrics does not have.
func (r *running) holds(text string, lines ...string) {
	r.t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			r.t.Errorf("there is no %s", line)
		}
	}
	if r.t.Failed() {
		r.t.Log(text)
	}
}
