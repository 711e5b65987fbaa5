package otlp

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/observe/otlp/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func none(string) string { return "" }

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

func open(t *testing.T, c Config) *Exporter {
	t.Helper()
	if c.Getenv == nil {
		c.Getenv = none
	}
	e, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func closed(t *testing.T, e *Exporter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSpansArriveOverBothProtocols(t *testing.T) {
	for protocol, start := range map[string]func(testing.TB) *otlptest.Receiver{HTTP: otlptest.NewHTTP, GRPC: otlptest.NewGRPC} {
		t.Run(protocol, func(t *testing.T) {
			r := start(t)
			e := open(t, Config{On: true, Endpoint: r.URL, Protocol: protocol, Ratio: 1, Service: "orders", Version: "v1", Instance: "i"})
			tr := observe.NewTracer(e, observe.Sampling{Ratio: 1}, nil)
			came, _ := penstock.ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			came.State = "vendor=x"
			linked := tr.Begin(observe.Start{Name: "linked", Kind: observe.Consumer, At: time.Unix(1, 0)})
			linked.Close(time.Unix(2, 0))
			s := tr.Begin(observe.Start{Name: "process f", Kind: observe.Consumer, Parent: came, At: time.Unix(10, 0), Links: []penstock.TraceContext{linked.Context()},
				Attrs: []observe.Attr{observe.Text("penstock.flow", "f"), observe.Int("n", 3)}})
			c := s.Child("call c", observe.Client, time.Unix(11, 0))
			c.Failed(penstock.E(penstock.Timeout, "c", "", "no answer"))
			c.End(time.Unix(12, 0))
			s.Done(time.Unix(13, 0), "dead")
			s.Close(time.Unix(99, 0))
			closed(t, e)

			all := r.Spans()
			if len(all) != 3 {
				t.Fatalf("%d spans came", len(all))
			}
			got, child := all[1], all[2]
			if got.Trace() != "0af7651916cd43dd8448eb211c80319c" || got.Parent() != "b7ad6b7169203331" || got.TraceState != "vendor=x" {
				t.Errorf("%s below %s, state %q", got.Trace(), got.Parent(), got.TraceState)
			}
			if got.Attrs["penstock.flow"] != "f" || got.Attrs["n"] != "3" || got.Attrs["penstock.outcome"] != "dead" {
				t.Errorf("%v", got.Attrs)
			}
			if got.StartTimeUnixNano != 10e9 || got.EndTimeUnixNano != 13e9 {
				t.Errorf("from %d to %d", got.StartTimeUnixNano, got.EndTimeUnixNano)
			}
			if len(got.Links) != 1 || !bytes.Equal(got.Links[0].TraceId, all[0].TraceId) || !bytes.Equal(got.Links[0].SpanId, all[0].SpanId) {
				t.Errorf("links %v", got.Links)
			}
			if got.Flags&0x300 != 0x300 || child.Flags&0x300 != 0x100 { // remote, and local
				t.Errorf("flags %x and %x", got.Flags, child.Flags)
			}
			if child.Parent() != got.ID() || child.Attrs["error.type"] != "timeout" || child.Status.Message == "" || len(child.Events) != 1 || child.Kind.String() != "SPAN_KIND_CLIENT" {
				t.Errorf("%v", child)
			}
			for name, want := range map[string]string{"service.name": "orders", "service.version": "v1", "service.instance.id": "i", "telemetry.sdk.language": "go"} {
				if r.Resource()[name] != want {
					t.Errorf("resource %s is %q", name, r.Resource()[name])
				}
			}
			if st := e.Stats(); st.Exported != 3 || st.Dropped != 0 || st.Failed != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestTextsAreValidAndBounded(t *testing.T) {
	r := otlptest.NewHTTP(t)
	e := open(t, Config{Endpoint: r.URL})
	s := e.Begin(observe.Start{Name: "s", Attrs: []observe.Attr{observe.Text("bad", "a\xffb"), observe.Text("long", strings.Repeat("x", 1<<20))}})
	s.Fail(penstock.Invalid, "\xff\xfe")
	s.End(time.Now())
	closed(t, e)
	got := r.Spans()
	if len(got) != 1 || got[0].Attrs["bad"] != "a\uFFFDb" || len(got[0].Attrs["long"]) != maxText {
		t.Errorf("%v", got)
	}
}

// Whoever ends a span is never held up, whatever the collector does.
func TestCollectorThatStallsHoldsNobodyUp(t *testing.T) {
	r := otlptest.NewHTTP(t)
	release := r.Hold()
	defer release()
	e := open(t, Config{Endpoint: r.URL, Getenv: env(map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5"})})
	const n = 1000
	for range n {
		e.Begin(observe.Start{Name: "s"}).End(time.Now())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Close(ctx); err == nil {
		t.Error("closing says that everything was exported")
	}
	st := e.Stats()
	if st.Exported != 0 || st.Dropped+st.Failed+int64(st.Queued) != n || st.Dropped < n-30 {
		t.Errorf("%+v", st)
	}
}

func TestFailureIsLoggedOnceAndItsEnd(t *testing.T) {
	r := otlptest.NewHTTP(t)
	r.Refuse(http.StatusBadRequest)
	var log bytes.Buffer
	e := open(t, Config{Endpoint: r.URL, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := context.Background()
	for range 3 {
		e.Begin(observe.Start{Name: "s"}).End(time.Now())
		if err := e.provider.ForceFlush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r.Refuse(0)
	e.Begin(observe.Start{Name: "s"}).End(time.Now())
	closed(t, e)
	if st := e.Stats(); st.Failed != 3 || st.Exported != 1 {
		t.Errorf("%+v", st)
	}
	if got := log.String(); strings.Count(got, "not exported") != 1 || strings.Count(got, "exported again") != 1 {
		t.Errorf("%s", got)
	}
}

func TestEnvironmentDecides(t *testing.T) {
	for _, c := range []struct {
		name   string
		on     bool
		env    map[string]string
		wanted bool
	}{
		{"nobody", false, nil, false},
		{"the configuration", true, nil, true},
		{"an endpoint", false, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, true},
		{"an endpoint of traces", false, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, true},
		{"an exporter", false, map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true},
		{"no exporter", true, map[string]string{"OTEL_TRACES_EXPORTER": "none"}, false},
		{"disabled", true, map[string]string{"OTEL_SDK_DISABLED": "TRUE"}, false},
	} {
		if got := (&Config{On: c.on, Getenv: env(c.env)}).Wanted(); got != c.wanted {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSampling(t *testing.T) {
	for _, c := range []struct {
		ratio float64
		name  string
		arg   string
		want  observe.Sampling
	}{
		{-1, "", "", observe.Sampling{Limit: DefaultLimit, Ratio: DefaultRatio}},
		{.25, "", "", observe.Sampling{Limit: DefaultLimit, Ratio: .25}},
		{.25, "always_on", "", observe.Sampling{Limit: DefaultLimit, Ratio: 1, Always: true}},
		{.25, "always_off", "", observe.Sampling{Limit: DefaultLimit, Ratio: 0, Always: true}},
		{.25, "parentbased_always_on", "", observe.Sampling{Limit: DefaultLimit, Ratio: 1}},
		{.25, "parentbased_traceidratio", "0.5", observe.Sampling{Limit: DefaultLimit, Ratio: .5}},
		{.25, "traceidratio", "0.5", observe.Sampling{Limit: DefaultLimit, Ratio: .5, Always: true}},
		{.25, "traceidratio", "7", observe.Sampling{Limit: DefaultLimit, Ratio: 1, Always: true}},
		{.25, "jaeger_remote", "x", observe.Sampling{Limit: DefaultLimit, Ratio: .25}},
	} {
		got := (&Config{Ratio: c.ratio, Getenv: env(map[string]string{"OTEL_TRACES_SAMPLER": c.name, "OTEL_TRACES_SAMPLER_ARG": c.arg})}).Sampling()
		if got != c.want {
			t.Errorf("%v %s %s: %+v, want %+v", c.ratio, c.name, c.arg, got, c.want)
		}
	}
}

func TestEnvironmentNamesTheCollectorAndTheService(t *testing.T) {
	r := otlptest.NewHTTP(t)
	for k, v := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=t1", "OTEL_SERVICE_NAME": "from-env", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	} {
		t.Setenv(k, v)
	}
	e := open(t, Config{Endpoint: "http://127.0.0.1:1", Service: "orders", Getenv: env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL})})
	e.Begin(observe.Start{Name: "s"}).End(time.Now())
	closed(t, e)
	if len(r.Spans()) != 1 || r.Resource()["service.name"] != "from-env" || r.Resource()["deployment.environment.name"] != "test" {
		t.Errorf("%d spans of %v", len(r.Spans()), r.Resource())
	}
	if _, h := r.Requests(); h.Get("X-Tenant") != "t1" {
		t.Errorf("headers %v", h)
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	for _, c := range []Config{
		{Endpoint: "collector:4318"}, {Endpoint: "ftp://collector"}, {Endpoint: "http://%"}, {Protocol: "http/json"},
		{Getenv: env(map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})},
	} {
		if c.Getenv == nil {
			c.Getenv = none
		}
		if e, err := New(context.Background(), c); penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%+v: %v", c, err)
			if e != nil {
				closed(t, e)
			}
		}
	}
}
