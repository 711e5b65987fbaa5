package slo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe/metrics"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/test/service"
)

func planOf(slos ...*plan.SLO) *plan.Plan {
	p := &plan.Plan{Telemetry: &plan.Telemetry{Service: "shop"}, Durable: true, Channels: []*plan.Channel{{Name: "orders", Durable: true}, {Name: "quick"}}}
	for i, s := range slos {
		p.Flows = append(p.Flows, &plan.Flow{Name: fmt.Sprintf("f%d", i), SLO: s, Sources: []*plan.Endpoint{{Channel: "orders"}, {Channel: "quick"}}, Nodes: []plan.Node{
			{Name: "lines", Op: &plan.Group{}},
			{Name: "ask", Op: &plan.Call{Endpoint: &plan.Endpoint{Policy: &plan.Policy{Name: "stock"}}}},
		}})
	}
	return p
}

var usual = &plan.SLO{Policy: "gold", Objective: .999, Window: 30 * 24 * time.Hour, Codes: []penstock.Code{penstock.Internal, penstock.Timeout}, Threshold: 500 * time.Millisecond, InTime: .99}

func rules(t *testing.T, slos ...*plan.SLO) string {
	t.Helper()
	text, err := Rules(planOf(slos...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write puts text into a file.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPromtoolAcceptsRules(t *testing.T) {
	second := *usual
	second.Threshold, second.Window = time.Second, 7*24*time.Hour
	text := rules(t, usual, &second, &plan.SLO{Policy: "weak", Objective: .9, Window: 28 * 24 * time.Hour, Codes: []penstock.Code{penstock.Internal}})
	if out, err := service.Promtool(t, nil, "check", "rules", "--lint=all", "--lint-fatal", write(t, "rules.yml", text)); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, text)
	}
}

func TestWorkbooksFactors(t *testing.T) {
	text := rules(t, usual)
	for _, want := range []string{
		`ratio_rate1h{flow="f0", slo="gold", sli="errors"} > (14.4 * 0.001)`, `ratio_rate5m{flow="f0", slo="gold", sli="errors"} > (14.4 * 0.001)`,
		`ratio_rate6h{flow="f0", slo="gold", sli="errors"} > (6 * 0.001)`, `ratio_rate30m{`, `ratio_rate1d{flow="f0", slo="gold", sli="errors"} > (3 * 0.001)`, `ratio_rate2h{`,
		`ratio_rate3d{flow="f0", slo="gold", sli="latency"} > (1 * 0.01)`, `le=~"0\\.5"`, `code=~"internal|timeout"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	// An alert that could never fire, or would fire though the budget lasts, is left out.
	if text := rules(t, &plan.SLO{Policy: "weak", Objective: .9, Window: 30 * 24 * time.Hour, Codes: []penstock.Code{penstock.Internal}}); strings.Contains(text, "14.4") || !strings.Contains(text, "(6 * 0.1)") {
		t.Errorf("%s", text)
	}
	if text := rules(t, &plan.SLO{Policy: "short", Objective: .99, Window: 7 * 24 * time.Hour, Codes: []penstock.Code{penstock.Internal}}); strings.Contains(text, "ratio_rate3d") || !strings.Contains(text, "(3.36 * 0.01)") {
		t.Errorf("%s", text)
	}
}

func TestNoObjectiveIsSaid(t *testing.T) {
	if _, err := Rules(planOf(nil)); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("%v", err)
	}
}

// The rules are tried by Prometheus's own evaluation: with 10 messages a second of which some are bad, from the beginning on.
func TestPromtoolTriesRules(t *testing.T) {
	file := write(t, "rules.yml", rules(t, usual))
	for _, c := range []struct {
		name   string
		series string
		at     string
		firing []string // sli/severity
	}{
		{"nothing is bad", series(600, 0, 0), "1d", nil},
		{"within the budget", series(100_000, 50, 0), "3d", nil}, // 0.05 % of an objective of 0.1 %
		{"at 20 times the speed, after an hour", series(1000, 20, 0), "1h", []string{"errors/page", "errors/ticket"}},
		{"at 8 times the speed, after an hour: it is not the fast alert", series(1000, 8, 0), "1h", []string{"errors/page", "errors/ticket"}}, // short histories: 6h is what there is
		{"at 4 times the speed", series(1000, 4, 0), "1d", []string{"errors/ticket"}},
		{"at 1.5 times the speed", series(10_000, 15, 0), "3d", []string{"errors/ticket"}},
		{"a fifth is slow", series(1000, 0, 200), "1h", []string{"latency/page", "latency/ticket"}},
		{"2 % are slow: twice the speed", series(1000, 0, 20), "3d", []string{"latency/ticket"}},
		{"some are slow, within the budget", series(1000, 0, 5), "3d", nil},
		{"codes that don't count", series(1000, 0, 0) + `      - {series: 'penstock_messages_failed_total{flow="f0", code="invalid"}', values: '0+2000x2160'}` + "\n", "1d", nil},
		{"another flow", strings.ReplaceAll(series(1000, 500, 500), `"f0"`, `"other"`), "1d", nil},
		{"it was bad, and is over", over(), "1d", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var tests strings.Builder
			for _, sli := range []string{"errors", "latency"} {
				for _, severity := range []string{"page", "ticket"} {
					want := "0"
					if slices.Contains(c.firing, sli+"/"+severity) {
						want = "1"
					}
					fmt.Fprintf(&tests, "      - {expr: 'count(ALERTS{alertname=\"PenstockErrorBudgetBurn\", alertstate=\"firing\", flow=\"f0\", slo=\"gold\", sli=\"%s\", severity=\"%s\"}) or vector(0)', eval_time: %s, exp_samples: [{labels: '{}', value: %s}]}\n", sli, severity, c.at, want)
				}
			}
			text := fmt.Sprintf("rule_files: [%s]\nevaluation_interval: 30m\ntests:\n  - interval: 2m\n    input_series:\n%s    promql_expr_test:\n%s", file, c.series, tests.String())
			if out, err := service.Promtool(t, nil, "test", "rules", write(t, "test.yml", text)); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// series is three days of a flow: so many messages in two minutes, of which some fail, and some are slow.
func series(n, failed, slow int) string {
	return fmt.Sprintf(`      - {series: 'penstock_messages_processed_total{flow="f0", outcome="done"}', values: '0+%dx2160'}
      - {series: 'penstock_messages_processed_total{flow="f0", outcome="dead"}', values: '0+%dx2160'}
      - {series: 'penstock_messages_failed_total{flow="f0", code="internal"}', values: '0+%dx2160'}
      - {series: 'penstock_messages_failed_total{flow="f0", code="timeout"}', values: '0+0x2160'}
      - {series: 'penstock_message_duration_seconds_count{flow="f0"}', values: '0+%dx2160'}
      - {series: 'penstock_message_duration_seconds_bucket{flow="f0", le="0.5"}', values: '0+%dx2160'}
`, n-failed, failed, failed, n, n-slow)
}

// over is half an hour at 20 times the speed, and then nothing bad for a day.
func over() string {
	return `      - {series: 'penstock_messages_processed_total{flow="f0", outcome="done"}', values: '0+1000x720'}
      - {series: 'penstock_messages_failed_total{flow="f0", code="internal"}', values: '0+20x15 300+0x705'}
`
}

// What stands in rules and dashboards is there, and nothing else.
func TestOnlyKnownMetricsAreAskedFor(t *testing.T) {
	known := map[string]bool{}
	for _, f := range metrics.Families() {
		known[f.Name] = true
		if f.Type == "histogram" {
			known[f.Name+"_bucket"], known[f.Name+"_count"], known[f.Name+"_sum"] = true, true, true
		}
	}
	d, err := Dashboard(planOf(usual))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bpenstock_\w+`)
	recorded := regexp.MustCompile(`flow:penstock_slo_bad:\w+`)
	for _, text := range []string{rules(t, usual), string(d)} {
		found := names.FindAllString(recorded.ReplaceAllString(text, ""), -1)
		if len(found) == 0 {
			t.Error("nothing is asked for")
		}
		for _, n := range found {
			if !known[n] {
				t.Errorf("there is no metric %s", n)
			}
		}
	}
	made := rules(t, usual)
	for _, n := range recorded.FindAllString(string(d), -1) {
		if !strings.Contains(made, "record: "+n+"\n") {
			t.Errorf("the rules don't record %s", n)
		}
	}
}

func TestDashboard(t *testing.T) {
	for _, flows := range []int{1, open + 3} {
		slos := make([]*plan.SLO, flows)
		slos[0] = usual
		text, err := Dashboard(planOf(slos...))
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		ids := map[int]bool{}
		var exprs []string
		var walk func(ps []*panel)
		rows := 0
		walk = func(ps []*panel) {
			taken := map[[2]int]string{}
			for _, p := range ps {
				if ids[p.ID] || p.ID == 0 {
					t.Errorf("panel %q has the id %d of another", p.Title, p.ID)
				}
				ids[p.ID] = true
				for x := p.Grid.X; x < p.Grid.X+p.Grid.W; x++ {
					for y := p.Grid.Y; y < p.Grid.Y+p.Grid.H; y++ {
						if o := taken[[2]int{x, y}]; o != "" || x >= 24 {
							t.Errorf("panel %q lies over %q at %d, %d", p.Title, o, x, y)
						}
						taken[[2]int{x, y}] = p.Title
					}
				}
				if p.Type == "row" {
					rows++
				} else if len(p.Targets) == 0 {
					t.Errorf("panel %q shows nothing", p.Title)
				}
				for _, q := range p.Targets {
					exprs = append(exprs, q.Expr)
				}
				walk(p.Panels)
			}
		}
		walk(d.Panels)
		if rows != flows+1 {
			t.Errorf("%d rows of %d flows", rows, flows)
		}
		// Prometheus's own parser reads each expression.
		var b strings.Builder
		b.WriteString("groups:\n  - name: all\n    rules:\n")
		for i, e := range exprs {
			fmt.Fprintf(&b, "      - {record: 'x:y%d', expr: %q}\n", i, strings.ReplaceAll(e, "$__rate_interval", "5m"))
		}
		if out, err := service.Promtool(t, nil, "check", "rules", write(t, "exprs.yml", b.String())); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		for _, want := range []string{`channel=~"orders|f0/lines"`, `connection=~"stock"`, "penstock_dead_letters", "Error budget left"} {
			if !strings.Contains(strings.Join(exprs, "\n")+string(text), strings.ReplaceAll(want, `"`, `"`)) && !strings.Contains(string(text), strings.ReplaceAll(want, `"`, `\"`)) {
				t.Errorf("there is no %s", want)
			}
		}
	}
}
