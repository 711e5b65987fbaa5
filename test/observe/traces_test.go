package observe_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/observe/otlp/otlptest"
)

// shop reads orders of a file, hands them through a channel of the store to a flow that asks a service over HTTP, which is a flow, too.
const shop = `
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec:
  store: { path: s.db }
  telemetry: { traces: { endpoint: "${endpoint}", sample: 100% } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: orders }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: intake }
spec:
  from: { file: { path: "in/*.jsonl", format: { json: {} } } }
  steps: [ { map: { id: "${body.id}" }, name: narrow } ]
  to: { channel: orders }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: prices }
spec: { http: { url: "http://${address}" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pricing }
spec:
  from: { channel: orders }
  steps:
    - call: { http: { connection: prices, post: /price } }
      name: ask
      into: vars.price
    - map: { id: "${body.id}", price: "${vars.price.price}" }
      name: join
  to: { file: { path: out.jsonl, format: { json: {} } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: price }
spec:
  from: { http: { post: /price } }
  steps: [ { map: { price: 7 }, name: fixed } ]
`

func TestTraceOfAnOrder(t *testing.T) {
	collector := otlptest.NewHTTP(t)
	address := freeAddress(t)
	r := start(t, expand(shop, "endpoint", collector.URL, "address", address), map[string]string{"in/a.jsonl": `{"id":"1"}` + "\n"}, func(o *control.RunOptions) { o.Address = address })
	r.until("/metrics", `penstock_messages_settled_total{flow="pricing"} 1`)
	r.stop()
	const want = `consumer process intake
  internal map narrow
  producer to to
    consumer process pricing
      client call ask
        server POST /price
          consumer process price
            internal map fixed
      internal map join
      producer to to
`
	if got := collector.Tree(t); got != want {
		t.Errorf("the trace is\n%swant\n%s", got, want)
	}
	spans := map[string]*otlptest.Span{}
	traces := map[string]bool{}
	for _, s := range collector.Spans() {
		if spans[s.Name] == nil {
			spans[s.Name] = s
		}
		traces[s.Trace()] = true
		if s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano == 0 {
			t.Errorf("%s lasts from %d to %d", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
	}
	if len(traces) != 1 {
		t.Errorf("%d traces", len(traces))
	}
	for span, attrs := range map[string]map[string]string{
		"process intake":  {"messaging.system": "file", "penstock.outcome": "done", "messaging.operation.type": "process"},
		"to to":           {"messaging.system": "penstock", "messaging.destination.name": "orders", "messaging.operation.type": "send"},
		"process pricing": {"messaging.system": "penstock", "messaging.destination.name": "orders", "messaging.message.id": "orders@0"},
		"call ask":        {"code.function.name": "pricing/ask", "code.file.path": "flows.yaml", "http.request.method": "POST", "http.response.status_code": "200"},
		"POST /price":     {"http.request.method": "POST", "http.route": "/price", "http.response.status_code": "200", "url.path": "/price", "url.scheme": "http"},
		"process price":   {"messaging.operation.type": "process", "penstock.flow": "price", "penstock.outcome": "done"},
	} {
		s := spans[span]
		if s == nil {
			t.Errorf("there is no span %s", span)
			continue
		}
		for name, want := range attrs {
			if s.Attrs[name] != want {
				t.Errorf("%s: %s is %q, want %q", span, name, s.Attrs[name], want)
			}
		}
	}
	if id := spans["process intake"].Attrs["messaging.message.id"]; !strings.HasPrefix(id, "in/a.jsonl@") || !strings.HasSuffix(id, ":1") {
		t.Errorf("the message is %q", id)
	}
	if got := collector.Resource()["service.name"]; got != "shop" {
		t.Errorf("the service is %q", got)
	}
}

// A collector that refuses everything changes nothing for the messages, and what is lost is counted.
func TestCollectorThatRefuses(t *testing.T) {
	collector := otlptest.NewHTTP(t)
	collector.Refuse(400)
	address := freeAddress(t)
	r := start(t, expand(shop, "endpoint", collector.URL, "address", address), map[string]string{"in/a.jsonl": `{"id":"1"}` + "\n"}, func(o *control.RunOptions) {
		o.Address = address
		o.Getenv = func(k string) string { return map[string]string{"OTEL_BSP_SCHEDULE_DELAY": "10"}[k] }
	})
	r.until("/metrics", `penstock_messages_settled_total{flow="pricing"} 1`)
	r.until("/metrics", `penstock_spans_dropped_total{reason="export"} 10`)
}

func TestCallersTraceIsGoneOnWith(t *testing.T) {
	collector := otlptest.NewHTTP(t)
	r := start(t, `
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: hello }
spec:
  from: { http: { post: /hello } }
  steps: [ { map: { greeting: "Hello, ${body.name}" } } ]
`, map[string]string{}, func(o *control.RunOptions) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
		o.Getenv = func(k string) string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_TRACES_SAMPLER": "parentbased_always_off"}[k]
		}
	})
	for _, traceparent := range []string{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"} {
		if code, body := r.post("/hello", `{"name":"x"}`, "traceparent", traceparent); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
	}
	r.stop()
	spans := collector.Spans()
	if len(spans) != 3 || spans[0].Trace() != "0af7651916cd43dd8448eb211c80319c" || spans[0].Parent() != "b7ad6b7169203331" {
		t.Errorf("%d spans: %v", len(spans), spans)
	}
}
