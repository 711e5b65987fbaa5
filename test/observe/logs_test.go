package observe_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/observe/logs"
	"penstock.dev/penstock/internal/observe/otlp/otlptest"
)

// broken has a flow that is called and asks a service that nobody runs, and one whose messages die.
const broken = `
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec:
  telemetry: { traces: { endpoint: "${endpoint}", sample: 100% } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: prices }
spec:
  http: { url: "http://127.0.0.1:1" }
  retry: { attempts: 1 }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: price }
spec:
  from: { http: { post: /price } }
  steps:
    - log: { message: "asked for ${body.id}" }
    - call: { http: { connection: prices, post: /price } }
      name: ask
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: refused }
spec:
  from: { file: { path: "in/*.jsonl" } }
  steps: [ { fail: { code: unprocessable, message: "no ${body.id}" }, name: check, when: body.id != "" } ]
  to: { drop: {} }
`

// logged runs broken, and gives the lines of its log, which is written as it is for machines.
func logged(t *testing.T) []map[string]any {
	t.Helper()
	collector := otlptest.NewHTTP(t)
	var log lockedBuffer
	logger, closing := logs.New(&log, logs.Options{JSON: true, Every: time.Hour})
	files := map[string]string{"in/a.jsonl": strings.Repeat("{\"id\":\"1\"}\n", 20)}
	r := start(t, strings.Replace(broken, "${endpoint}", collector.URL, 1), files, func(o *control.RunOptions) {
		o.WarnDead = true
		o.Logger = slog.New(slog.NewMultiHandler(o.Logger.Handler(), logger.Handler()))
	})
	if status, body := r.post("/price", `{"id":"7"}`); status != 503 {
		t.Fatalf("%d %s", status, body)
	}
	r.until("/metrics", `penstock_messages_processed_total{flow="refused",outcome="dead"} 20`)
	r.stop()
	closing()
	var lines []map[string]any
	for text := range strings.Lines(log.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%q is no JSON: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

// repository reads a file of the repository.
func repository(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWhatOthersReadOfTheLog holds the examples of deploy/observability to the log as it is: each field that they name is in it, and each that all lines of
// a kind have in common is told to them.
func TestWhatOthersReadOfTheLog(t *testing.T) {
	promtail, machine, kubernetes := repository(t, "deploy/observability/loki/promtail.yaml"), repository(t, "deploy/observability/loki/machine.alloy"), repository(t, "deploy/observability/loki/kubernetes.alloy")
	pipeline, filebeat := repository(t, "deploy/observability/elastic/ingest-pipeline.json"), repository(t, "deploy/observability/elastic/filebeat.yaml")
	readme, page := repository(t, "deploy/observability/README.md"), repository(t, "docs/observability.md")
	lines := logged(t)
	fields := map[string]bool{}
	for _, l := range lines {
		for name := range l {
			fields[name] = true
		}
	}
	shared := []string{"time", "level", "msg", "flow", "step", "trace_id", "span_id", "correlation_id", "message_id", "code", "err", "suppressed"}
	for _, name := range shared {
		if !fields[name] {
			t.Errorf("no line of the log has %s: %v", name, slices.Sorted(maps.Keys(fields)))
		}
		for where, text := range map[string]string{"deploy/observability/README.md": readme, "docs/observability.md": page} {
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s does not tell of %s", where, name)
			}
		}
	}
	logOf := func(msg string) map[string]any {
		t.Helper()
		for _, l := range lines {
			if l["msg"] == msg {
				return l
			}
		}
		t.Fatalf("the log has no line %q: %v", msg, lines)
		return nil
	}
	for msg, names := range map[string][]string{
		"request failed": {"flow", "step", "trace_id", "span_id", "correlation_id", "message_id", "code", "err"},
		"dead-lettered":  {"flow", "step", "trace_id", "span_id", "correlation_id", "message_id", "code", "err"},
		"asked for 7":    {"flow", "trace_id", "correlation_id", "message_id"},
	} {
		for _, name := range names {
			if logOf(msg)[name] == nil {
				t.Errorf("%s has no %s: %v", msg, name, logOf(msg))
			}
		}
	}

	t.Run("promtail", func(t *testing.T) {
		var c struct {
			ScrapeConfigs []struct {
				PipelineStages []struct {
					JSON struct {
						Expressions map[string]string `yaml:"expressions"`
					} `yaml:"json"`
					Timestamp          struct{ Source, Format string } `yaml:"timestamp"`
					Labels             map[string]any                  `yaml:"labels"`
					StructuredMetadata map[string]any                  `yaml:"structured_metadata"`
				} `yaml:"pipeline_stages"`
			} `yaml:"scrape_configs"`
		}
		if err := yaml.Unmarshal([]byte(promtail), &c); err != nil {
			t.Fatal(err)
		}
		var read, used []string
		for _, s := range c.ScrapeConfigs[0].PipelineStages {
			for as, name := range s.JSON.Expressions {
				if as != name {
					t.Errorf("%s is called %s", name, as)
				}
				read = append(read, name)
			}
			used = append(used, s.Timestamp.Source)
			used = slices.AppendSeq(slices.AppendSeq(used, maps.Keys(s.Labels)), maps.Keys(s.StructuredMetadata))
		}
		held(t, fields, read, used)
	})
	for name, text := range map[string]string{"machine": machine, "kubernetes": kubernetes} {
		t.Run(name, func(t *testing.T) {
			body, err := parseAlloy(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range body.references() {
				if !body.exports(r) {
					t.Errorf("%s is nothing that is there", r)
				}
			}
			process := body.block("loki.process")
			var read, used []string
			read = slices.AppendSeq(read, maps.Keys(process.block("stage.json").attrs["expressions"].object))
			used = append(used, process.block("stage.timestamp").attrs["source"].text)
			for _, stage := range []string{"stage.labels", "stage.structured_metadata"} {
				used = slices.AppendSeq(used, maps.Keys(process.block(stage).attrs["values"].object))
			}
			held(t, fields, read, used)
		})
	}
	t.Run("elastic", func(t *testing.T) {
		var c struct {
			Inputs []struct {
				Parsers []struct {
					NDJSON struct{ Target string } `yaml:"ndjson"`
				} `yaml:"parsers"`
			} `yaml:"filebeat.inputs"`
			Output struct{ Pipeline, Index string } `yaml:"output.elasticsearch"`
		}
		if err := yaml.Unmarshal([]byte(filebeat), &c); err != nil {
			t.Fatal(err)
		}
		target := c.Inputs[0].Parsers[0].NDJSON.Target
		if target != "penstock" || c.Output.Pipeline != "penstock" || !strings.Contains(readme, "_ingest/pipeline/"+c.Output.Pipeline) || !strings.HasPrefix(c.Output.Index, "logs-") {
			t.Errorf("%+v", c)
		}
		for _, m := range regexp.MustCompile(target+`\.([a-z_]+)"`).FindAllStringSubmatch(pipeline, -1) {
			if !fields[m[1]] {
				t.Errorf("the log has no field %s", m[1])
			}
		}
		p := ingestPipeline(t, pipeline)
		failed := logOf("request failed")
		got := p.run(t, map[string]any{"message": "as it came", target: failed})
		for path, want := range map[string]any{
			"@timestamp": failed["time"], "message": "request failed", "log.level": "warn", "trace.id": failed["trace_id"], "span.id": failed["span_id"], "error.code": "unavailable",
			"error.message": failed["err"], "penstock.flow": "price", "penstock.step": "ask", "penstock.correlation_id": failed["correlation_id"], "penstock.message_id": failed["message_id"],
			"event.dataset": "penstock", "penstock.time": nil, "penstock.level": nil, "penstock.msg": nil, "penstock.err": nil,
		} {
			if v := at(got, path); v != want {
				t.Errorf("%s is %v, want %v", path, v, want)
			}
		}
		other := p.run(t, map[string]any{"message": "goroutine 1 [running]:"})
		if at(other, "message") != "goroutine 1 [running]:" || at(other, "event.dataset") != "penstock" {
			t.Errorf("a line that is no JSON becomes %v", other)
		}
	})
}

// held compares what an example reads and uses with what the log has.
func held(t *testing.T, fields map[string]bool, read, used []string) {
	t.Helper()
	if len(read) < 5 {
		t.Errorf("it reads %v only", read)
	}
	for _, name := range read {
		if !fields[name] {
			t.Errorf("the log has no field %s", name)
		}
		if !slices.Contains(used, name) {
			t.Errorf("%s is read for nothing", name)
		}
	}
	for _, name := range used {
		if name != "" && !slices.Contains(read, name) {
			t.Errorf("%s is used, and not read", name)
		}
	}
}
