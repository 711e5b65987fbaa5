package observe_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/observe/metrics"
	"penstock.dev/penstock/test/service"
)

// mixed has something of everything: requests, channels in memory and in the store, errors, dead letters.
const mixed = `
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: mixed }
spec:
  store: { path: s.db }
  telemetry: { traces: { endpoint: "http://127.0.0.1:9", sample: 100% }, buckets: [10ms, 100ms, 1s] }
---
apiVersion: penstock.dev/v1alpha1
kind: Policy
metadata: { name: fast }
spec:
  targets: [ { kind: Flow, name: pass } ]
  slo: { objective: 99%, latency: { threshold: 250ms } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: kept }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: quick }
spec: { mode: topic, durable: false }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: away }
spec: { http: { url: "http://127.0.0.1:9" }, breaker: { minimum: 1, open: 1h }, retry: { attempts: 1 }, timeout: 1s }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pass }
spec:
  from: { http: { post: /pass } }
  steps:
    - fail: { code: conflict, message: "no" }
      when: body.?bad.orValue(false)
  to: { channel: kept }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: work }
spec:
  from: { channel: kept }
  steps:
    - fail: { code: unprocessable, message: "${body.text}" }
      name: refuse
      when: body.?dead.orValue(false)
    - filter: "!body.?drop.orValue(false)"
      name: pick
    - to: { channel: quick }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: end }
spec:
  from: { channel: quick }
  to: { drop: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: ask }
spec:
  from: { http: { post: /ask } }
  steps: [ { call: { http: { connection: away, get: /x }, cache: { ttl: 1h } } } ]
` + labour + counted

// feed sends n messages of each sort.
func feed(r *running, n int) {
	r.t.Helper()
	for i := range n {
		for body, want := range map[string]int{
			fmt.Sprintf(`{"i":%d}`, i): 202, fmt.Sprintf(`{"drop":true,"i":%d}`, i): 202, fmt.Sprintf(`{"dead":true,"text":"t%d"}`, i): 202, `{"bad":true}`: 409,
		} {
			if code, got := r.post("/pass", body); code != want {
				r.t.Fatalf("%s: %d %s", body, code, got)
			}
		}
		if code, got := r.post("/ask", `{}`); code != 503 {
			r.t.Fatalf("%d %s", code, got)
		}
	}
	feedJobs(r, n)
	r.until("/metrics", fmt.Sprintf(`penstock_dead_letters{flow="work"} %d`, n))
	r.until("/metrics", fmt.Sprintf(`penstock_messages_settled_total{flow="end"} %d`, n))
}

func TestMetricsOfARun(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	feed(r, 3)
	text := r.until("/metrics", `penstock_channel_lag_messages{channel="kept",group="work/from"} 0`) // acknowledged a moment after it is settled
	for _, line := range []string{
		`penstock_build_info{commit="",goversion="go",version="v0-test"} 1`,
		`penstock_messages_read_total{flow="pass"} 12`,
		`penstock_messages_processed_total{flow="pass",outcome="done"} 9`,
		`penstock_messages_processed_total{flow="pass",outcome="failed"} 3`,
		`penstock_messages_failed_total{code="conflict",flow="pass"} 3`,
		`penstock_messages_processed_total{flow="work",outcome="filtered"} 3`,
		`penstock_messages_processed_total{flow="work",outcome="dead"} 3`,
		`penstock_messages_failed_total{code="unprocessable",flow="work"} 3`,
		`penstock_messages_failed_total{code="internal",flow="work"} 0`,
		`penstock_step_errors_total{code="unprocessable",flow="work",step="refuse"} 3`,
		`penstock_step_dropped_total{flow="work",step="pick"} 3`,
		`penstock_messages_sent_total{endpoint="work/to1",flow="work"} 3`,
		`penstock_channel_messages_total{channel="kept"} 9`,
		`penstock_channel_messages_total{channel="quick"} 3`,
		`penstock_channel_queued_messages{channel="quick"} 0`,
		`penstock_channel_lag_messages{channel="kept",group="work/from"} 0`,
		`penstock_channel_oldest_message_age_seconds{channel="kept",group="work/from"} 0`,
		`penstock_dead_letters{flow="end"} 0`,
		`penstock_flow_state{flow="work",state="running"} 1`,
		`penstock_breaker_state{connection="away",state="open"} 1`,
		`penstock_breaker_opened_total{connection="away"} 1`,
		`penstock_message_duration_seconds_bucket{flow="pass",le="0.25"}`, // the threshold of its objective
		`penstock_message_duration_seconds_count{flow="pass"} 12`,
		`penstock_store_commit_duration_seconds_count `,
		`penstock_store_wal_bytes `,
		`penstock_collect_errors_total 0`,
		`go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("there is no %s", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "penstock_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if out, err := service.Promtool(t, strings.NewReader(text), "check", "metrics"); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// Every family that is documented is there in a run that has everything, and none that is not.
func TestFamiliesAreExported(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	feed(r, 1)
	_, text := r.get("/metrics")
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (penstock_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		seen[m[1]+" "+m[2]] = true
	}
	for _, f := range metrics.Families() {
		if !seen[f.Name+" "+f.Type] {
			t.Errorf("%s is not exported as a %s", f.Name, f.Type)
		}
		delete(seen, f.Name+" "+f.Type)
	}
	for f := range seen {
		t.Errorf("%s is not described", f)
	}
}

// A label's value never comes from a message: who sends a thousand different messages makes no series.
func TestMessagesMakeNoSeries(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	feed(r, 1)
	_, before := r.get("/metrics")
	const n = 200
	for i := range n {
		header := []string{"X-Tenant", fmt.Sprintf("tenant-%d", i), "traceparent", fmt.Sprintf("00-%032x-%016x-00", i+1, i+1), "X-Correlation-Id", fmt.Sprintf("id-%d", i)}
		body, _ := json.Marshal(map[string]any{"dead": true, "text": fmt.Sprintf("attack-%d\nfake_metric{x=\"y\"} 1", i), fmt.Sprintf("field%d", i): i})
		if code, got := r.post(fmt.Sprintf("/pass?user=u%d", i), string(body), header...); code != 202 {
			t.Fatalf("%d %s", code, got)
		}
		if code, _ := r.ask("GET", r.web+fmt.Sprintf("/not/there/%d", i), ""); code != 404 {
			t.Fatal(code)
		}
	}
	after := r.until("/metrics", fmt.Sprintf(`penstock_dead_letters{flow="work"} %d`, n+1))
	if b, a := series(before), series(after); a != b {
		t.Errorf("%d series became %d", b, a)
	}
	for _, word := range []string{"tenant-", "attack", "field7", "fake_metric", "u7", "/not/there", "id-7"} {
		if strings.Contains(after, word) {
			t.Errorf("%q of a message is in the metrics", word)
		}
	}
}

// series counts those of ours.
func series(text string) (n int) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "penstock_") {
			n++
		}
	}
	return n
}

func TestOpenMetricsHasExemplars(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	feed(r, 1)
	_, text := r.get("/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if !regexp.MustCompile(`(?m)^penstock_message_duration_seconds_bucket\{flow="pass",le="[^"]+"\} \d+ # \{trace_id="[0-9a-f]{32}"\}`).MatchString(text) || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("no exemplar:\n%s", text)
	}
}

func TestPrometheusScrapesARun(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	feed(r, 2)
	for _, native := range []bool{false, true} {
		p := service.NewPrometheus(t, native, []string{r.control})
		got := p.Until(t, `penstock_messages_read_total{flow="pass"}`, func(s []service.Sample) bool { return len(s) == 1 })
		if got[0].Value != 8 {
			t.Errorf("%v", got)
		}
		if got := p.Query(t, `sum by (outcome) (penstock_messages_processed_total{flow="work"})`); len(got) != 5 {
			t.Errorf("outcomes %v", got)
		}
		if got := p.Query(t, `up`); len(got) != 1 || got[0].Value != 1 {
			t.Errorf("up: %v", got)
		}
		if !native {
			if got := p.Query(t, `penstock_message_duration_seconds_bucket{flow="pass",le="0.25"}`); len(got) != 1 || got[0].Value != 8 {
				t.Errorf("buckets %v", got)
			}
			continue
		}
		got = p.Query(t, `penstock_message_duration_seconds{flow="pass"}`)
		if len(got) != 1 || !got[0].Native || got[0].Value != 8 {
			t.Errorf("the native histogram is %v", got)
		}
		if got := p.Query(t, `histogram_fraction(0, 100, penstock_message_duration_seconds{flow="pass"})`); len(got) != 1 || got[0].Value < .999 {
			t.Errorf("the share within 100 s is %v", got)
		}
		if got := p.Query(t, `histogram_quantile(0.5, penstock_store_commit_duration_seconds)`); len(got) != 1 || !(got[0].Value > 0 && got[0].Value < 10) {
			t.Errorf("half of the commits take %v", got)
		}
	}
}

func TestHealthOfARun(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	got := r.until("/readyz?verbose", "readyz check passed")
	for _, check := range []string{"started", "draining", "store", "listener"} {
		if !strings.Contains(got, "[+]"+check+" ok") {
			t.Errorf("no %s in\n%s", check, got)
		}
	}
	if code, body := r.get("/livez"); code != 200 || body != "ok" {
		t.Errorf("livez: %d %s", code, body)
	}
	// Profiles and metrics are on the control port, and not where flows are called.
	if code, _ := r.get("/debug/pprof/cmdline"); code != 200 {
		t.Errorf("pprof: %d", code)
	}
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/debug/pprof/", "/debug/vars"} {
		if code, _ := r.ask("GET", r.web+path, ""); code != 404 {
			t.Errorf("%s on the HTTP listener: %d", path, code)
		}
	}
}

// While what is in flight is finished the run is not to be given more.
func TestNotReadyWhileDraining(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	slow := answering(t, func() {
		held <- struct{}{}
		<-hold
	})
	r := start(t, expand(`
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: slow }
spec: { http: { url: "${url}" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: f }
spec:
  from: { file: { path: a.jsonl, format: { json: {} } } }
  steps: [ { call: { http: { connection: slow, get: /x } } } ]
  to: { drop: {} }
`, "url", slow), map[string]string{"a.jsonl": "{}\n"}, nil)
	<-held
	r.until("/readyz?verbose", "readyz check passed")
	done := make(chan *control.Summary)
	go func() { done <- r.stop() }()
	r.until("/readyz", "[-]draining failed")
	if code, _ := r.get("/livez"); code != 200 {
		t.Errorf("livez: %d", code)
	}
	close(hold)
	if sum := <-done; sum.Flows[0].Done != 1 {
		t.Errorf("%+v", sum.Flows[0])
	}
	if _, err := os.Stat("a.jsonl"); err != nil {
		t.Error(err)
	}
}
