package slo

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// Bad is the recorded share of messages that went wrong, by window: flow:penstock_slo_bad:ratio_rate5m and so on, with the labels flow, slo
// (the policy) and sli (errors or latency).
const Bad = "flow:penstock_slo_bad:ratio_rate"

// burn is a speed at which an error budget is used up, as the Google SRE workbook has it ("Alerting on SLOs", 6: multiwindow,
// multi-burn-rate alerts): an alert when so much of the budget was used up in the long window, and it goes on in the short one.
type burn struct {
	share       float64 // of the budget, in the long window
	long, short time.Duration
	severity    string
}

// burns are the workbook's. Over 30 days they are 14.4, 6, 3 and 1 times the speed that uses the budget up exactly.
var burns = []burn{
	{.02, time.Hour, 5 * time.Minute, "page"},
	{.05, 6 * time.Hour, 30 * time.Minute, "page"},
	{.10, 24 * time.Hour, 2 * time.Hour, "ticket"},
	{.10, 72 * time.Hour, 6 * time.Hour, "ticket"},
}

// factor is how many times as fast the budget is used up as it may be.
func (b burn) factor(window time.Duration) float64 {
	return b.share * float64(window) / float64(b.long)
}

// indicator is one of the things that an objective is about.
type indicator struct {
	name   string  // errors or latency
	budget float64 // share of messages that may be bad
	bad    func(window string) string
	says   string // what is bad, for people
}

// Rules writes the recording and alerting rules of the objectives of a plan's flows, as a rule file of Prometheus.
func Rules(p *plan.Plan) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Written by `penstock observe rules` from the policies of the configuration. Load it with rule_files of Prometheus.\ngroups:\n")
	any := false
	for _, f := range p.Flows {
		if f.SLO != nil {
			any = true
			group(&b, f)
		}
	}
	if !any {
		return nil, &penstock.Error{Code: penstock.Config, Op: "observe rules", Err: fmt.Errorf("no flow has an objective"), Hint: "give it one by a Policy: slo: { objective: 99.9% }, with the flow among its targets"}
	}
	return []byte(b.String()), nil
}

func group(b *strings.Builder, f *plan.Flow) {
	s := f.SLO
	fmt.Fprintf(b, "  - name: penstock-slo-%s\n    rules:\n", f.Name)
	for _, in := range indicators(f) {
		for _, w := range windows(s, in) {
			fmt.Fprintf(b, "      - record: %s%s\n        expr: %s\n        labels: { flow: %s, slo: %s, sli: %s }\n", Bad, w, block(in.bad(w)), f.Name, s.Policy, in.name)
		}
	}
	for _, in := range indicators(f) {
		for _, severity := range []string{"page", "ticket"} {
			var either []string
			for _, u := range burns {
				if u.severity == severity && acts(u, s, in) {
					either = append(either, both(f, u, in))
				}
			}
			if len(either) == 0 {
				continue
			}
			fmt.Fprintf(b, "      - alert: PenstockErrorBudgetBurn\n        expr: %s\n        labels: { flow: %s, slo: %s, sli: %s, severity: %s }\n        annotations:\n", block(strings.Join(either, "\nor\n")), f.Name, s.Policy, in.name, severity)
			fmt.Fprintf(b, "          summary: %s\n", strconv.Quote(fmt.Sprintf("Flow %s uses up its error budget too fast: {{ $value | humanizePercentage }} of its messages %s", f.Name, in.says)))
			fmt.Fprintf(b, "          description: %s\n", strconv.Quote(fmt.Sprintf("Policy %s lets %s of the messages do so in %s. `penstock dlq ls` shows which, the dashboard since when.", s.Policy, percent(in.budget), days(s.Window))))
		}
	}
}

// acts reports whether an alert makes sense: it can fire, and speaks of a speed that is too high.
func acts(u burn, s *plan.SLO, in indicator) bool {
	factor := u.factor(s.Window)
	return factor >= 1 && factor*in.budget < 1
}

// windows are those that alerts speak of.
func windows(s *plan.SLO, in indicator) []string {
	var out []string
	for _, u := range burns {
		for _, w := range []string{duration(u.short), duration(u.long)} {
			if acts(u, s, in) && !slices.Contains(out, w) { // one alert's long window is another's short one
				out = append(out, w)
			}
		}
	}
	return out
}

// both is true where the budget was used up too fast in the long window, and still is.
func both(f *plan.Flow, u burn, in indicator) string {
	of := func(w time.Duration) string {
		return fmt.Sprintf("%s%s{flow=%q, slo=%q, sli=%q} > (%s * %s)", Bad, duration(w), f.Name, f.SLO.Policy, in.name, number(u.factor(f.SLO.Window)), number(in.budget))
	}
	return "(\n  " + of(u.long) + "\n  and\n  " + of(u.short) + "\n)"
}

func indicators(f *plan.Flow) []indicator {
	s := f.SLO
	codes := make([]string, len(s.Codes))
	for i, c := range s.Codes {
		codes[i] = string(c)
	}
	out := []indicator{{name: "errors", budget: 1 - s.Objective, says: "failed", bad: func(w string) string {
		return fmt.Sprintf("sum(rate(penstock_messages_failed_total{flow=%q, code=~%q}[%s]))\n/\n(sum(rate(penstock_messages_processed_total{flow=%q}[%s])) > 0)", f.Name, strings.Join(codes, "|"), w, f.Name, w)
	}}}
	if s.Threshold > 0 {
		out = append(out, indicator{name: "latency", budget: 1 - s.InTime, says: "took longer than " + s.Threshold.String(), bad: func(w string) string { return slow(f.Name, s.Threshold, w) }})
	}
	return out
}

// slow is the share of messages that took longer than a threshold: by the classic bucket of it, or, where a Prometheus keeps native histograms
// only, by those.
func slow(flow string, threshold time.Duration, w string) string {
	le := number(threshold.Seconds())
	if !strings.Contains(le, ".") {
		le += `(\\.0)?` // OpenMetrics writes 1.0
	} else {
		le = strings.ReplaceAll(le, ".", `\\.`)
	}
	return fmt.Sprintf(`1 - (
  sum(rate(penstock_message_duration_seconds_bucket{flow=%q, le=~"%s"}[%s]))
  /
  (sum(rate(penstock_message_duration_seconds_count{flow=%q}[%s])) > 0)
  or
  histogram_fraction(0, %s, sum(rate(penstock_message_duration_seconds{flow=%q}[%s])))
)`, flow, le, w, flow, w, number(threshold.Seconds()), flow, w)
}

// block writes an expression as a literal block of YAML.
func block(expr string) string {
	return "|-\n          " + strings.ReplaceAll(expr, "\n", "\n          ")
}

// number writes a factor or a share without the noise of its last digits.
func number(f float64) string {
	return strconv.FormatFloat(math.Round(f*1e9)/1e9, 'f', -1, 64)
}

func percent(f float64) string { return penstock.Share(math.Round(f*1e9) / 1e9).String() }

// duration writes a window as Prometheus reads it.
func duration(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// days writes the window of an objective.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
