// Package report turns measurements into a markdown table with a verdict for each bar.
package report

import (
	"fmt"
	"io"
	"strings"

	"penstock.dev/penstock/bench/cases"
	"penstock.dev/penstock/bench/exprbench"
	"penstock.dev/penstock/bench/harness"
)

// Results is everything that was measured; what was not is nil.
type Results struct {
	Machine    string // one line: processor, cores, system, Go
	Rounds     int
	Paired     bool  // the peer ran beside ours
	OwnPeak    int64 // bytes, of the harness (see [harness.OwnPeak])
	Throughput []cases.Outcome
	Expression []exprbench.Result
	ColdStart  []harness.Runs
	Check      *harness.Runs
	CheckFlows int
	Store      []cases.StoreOutcome
	HTTP       []cases.HTTPOutcome
	Services   []cases.HTTPOutcome
	// Skipped lists the cases that could not be measured, with the reason.
	Skipped []string
}

// Write writes the report as markdown.
func (r Results) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Machine: %s. %d rounds, taking turns; median (smallest to largest).\n", r.Machine, r.Rounds)
	if len(r.Throughput) > 0 {
		r.throughput(&b)
	}
	if len(r.Expression) > 0 {
		r.expression(&b)
	}
	if len(r.ColdStart) > 0 {
		b.WriteString("\n### Cold start to the first message\n\n| program | ms | of 150 ms |\n|---|---|---|\n")
		for _, runs := range r.ColdStart {
			s := runs.Over(func(m harness.Measurement) float64 { return m.FirstLine.Seconds() * 1e3 })
			fmt.Fprintf(&b, "| %s | %s | %s |\n", runs.Side, spread(s, "%.0f"), ours(runs.Side, atMost(s.Median, 150)))
		}
	}
	if r.Check != nil {
		s := r.Check.Over(func(m harness.Measurement) float64 { return m.Wall.Seconds() })
		fmt.Fprintf(&b, "\n### `penstock check` of %d flows\n\n%s s: %s (bar: 2 s)\n", r.CheckFlows, spread(s, "%.2f"), atMost(s.Median, 2))
	}
	if len(r.Store) > 0 {
		store(&b, r.Store)
	}
	if len(r.HTTP) > 0 {
		http(&b, "HTTP: 64 connections, each with one request at a time", r.HTTP)
	}
	if len(r.Services) > 0 {
		http(&b, "Services", r.Services)
	}
	if len(r.Skipped) > 0 {
		b.WriteString("\n### Not measured\n\n")
		for _, s := range r.Skipped {
			fmt.Fprintf(&b, "- %s\n", s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Results) throughput(b *strings.Builder) {
	b.WriteString("\n| case | program | messages/s | MB/s | CPU µs a message | max RSS MB |\n|---|---|---|---|---|---|\n")
	for _, o := range r.Throughput {
		for i, runs := range o.Runs {
			name, side := "", runs.Side
			if i == 0 {
				name = o.Case.Title
			}
			if side == cases.Control {
				side = o.Runs[0].Side + " again (control)"
			}
			mb := "–"
			if o.Bytes > 0 {
				mb = spread(perSecond(runs, float64(o.Bytes)/1e6), "%.0f")
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", name, side, spread(perSecond(runs, float64(o.Messages)), "%.0f"), mb,
				spread(cpu(o, runs), "%.2f"), r.rss(runs))
		}
		if r.Paired {
			continue
		}
		for _, rec := range recorded[o.Case.Name] {
			fmt.Fprintf(b, "| | peer, %s, *not paired* | %.0f | – | %s | – |\n", rec.From, rec.PerSecond, rec.CPU)
		}
	}
	if !r.Paired {
		fmt.Fprintf(b, "\nRecorded: %s.\n", RecordedOn)
	}
	fmt.Fprintf(b, "\nRSS as the system reports it; the harness itself peaked at %.0f MB, and a reading not above that is marked ≤.\n", float64(r.OwnPeak)/1e6)
	b.WriteString("\n| case | held to | measured | |\n|---|---|---|---|\n")
	for _, o := range r.Throughput {
		r.verdicts(b, o)
	}
}

// verdicts writes one line for the control and one for each bar of a case.
func (r Results) verdicts(b *strings.Builder, o cases.Outcome) {
	line := func(held, measured, verdict string) {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", o.Case.Name, held, measured, verdict)
	}
	rate := func(runs harness.Runs) float64 { return perSecond(runs, float64(o.Messages)).Median }
	first, last := o.Runs[0], o.Runs[len(o.Runs)-1]
	if rate(first) > 0 && last.Side == cases.Control {
		line("control: the same program twice", fmt.Sprintf("%.3f ×", rate(last)/rate(first)), "the noise")
	}
	if first.Side != "penstock" {
		return
	}
	bars := o.Case.Bars
	if bars.Times > 0 {
		held := fmt.Sprintf("%.0f × the peer, goal %.0f ×", bars.Times, bars.TimesGoal)
		for _, runs := range o.Runs[1:] {
			if runs.Side == cases.Control {
				continue
			}
			x := rate(first) / rate(runs)
			line(held+" ("+runs.Side+")", fmt.Sprintf("%.1f ×", x), atLeast(x, bars.Times, bars.TimesGoal))
		}
		for _, rec := range recorded[o.Case.Name] {
			if r.Paired {
				break
			}
			x := rate(first) / rec.PerSecond
			line(held+" ("+rec.From+")", fmt.Sprintf("%.1f ×", x), "*not paired*: "+atLeast(x, bars.Times, bars.TimesGoal))
		}
	}
	if bars.CPU > 0 {
		c := cpu(o, first).Median
		line(fmt.Sprintf("≤ %.1f µs CPU a message, goal %.1f", bars.CPU, bars.CPUGoal), fmt.Sprintf("%.2f µs", c), atMostGoal(c, bars.CPU, bars.CPUGoal))
	}
	for _, runs := range o.Runs[1:] {
		if bars.Traced > 0 && runs.Side == cases.Traced {
			x := rate(runs) / rate(first)
			line(fmt.Sprintf("%.2f × what it is without traces", bars.Traced), fmt.Sprintf("%.3f ×", x), atLeast(x, bars.Traced, 2))
		}
	}
	if bars.RSS > 0 {
		top := first.Over(func(m harness.Measurement) float64 { return float64(m.MaxRSS) }).Max
		line(fmt.Sprintf("≤ %d MB RSS", bars.RSS/1e6), fmt.Sprintf("%.0f MB", top/1e6), atMost(top, float64(bars.RSS)))
	}
	for _, other := range r.Throughput {
		if bars.MBRate > 0 && other.Case.Name == bars.BeatsMB && other.Runs[0].Side == first.Side {
			x := perSecond(first, float64(o.Bytes)).Median / perSecond(other.Runs[0], float64(other.Bytes)).Median
			line(fmt.Sprintf("%.1f × the MB/s of %s, goal %.1f ×", bars.MBRate, bars.BeatsMB, bars.MBRateGoal), fmt.Sprintf("%.2f ×", x),
				atLeast(x, bars.MBRate, bars.MBRateGoal))
		}
	}
}

func (r Results) expression(b *strings.Builder) {
	fmt.Fprintf(b, "\n### Expression on %d bytes of JSON: `%s`\n\n| evaluator | ns | allocations | of 1200 ns and 0, goal 600 ns |\n|---|---|---|---|\n",
		len(exprbench.Message), exprbench.Source)
	var names []string
	times, allocs := map[string][]float64{}, map[string]int64{}
	for _, e := range r.Expression {
		if times[e.Name] == nil {
			names = append(names, e.Name)
		}
		times[e.Name] = append(times[e.Name], float64(e.Per.Nanoseconds()))
		allocs[e.Name] = max(allocs[e.Name], e.Allocs)
	}
	for _, name := range names {
		s := harness.SpreadOf(times[name])
		verdict := atMostGoal(s.Median, 1200, 600)
		if allocs[name] > 0 {
			verdict = "missed"
		}
		fmt.Fprintf(b, "| %s | %s | %d | %s |\n", name, spread(s, "%.0f"), allocs[name], ours(name, verdict))
	}
}

func (r Results) rss(runs harness.Runs) string {
	s := runs.Over(func(m harness.Measurement) float64 { return float64(m.MaxRSS) / 1e6 })
	mark := ""
	if s.Max*1e6 <= float64(r.OwnPeak) {
		mark = "≤ "
	}
	return mark + spread(s, "%.0f")
}

func perSecond(runs harness.Runs, amount float64) harness.Spread {
	return runs.Over(func(m harness.Measurement) float64 { return amount / m.Wall.Seconds() })
}

func cpu(o cases.Outcome, runs harness.Runs) harness.Spread {
	return runs.Over(func(m harness.Measurement) float64 { return m.CPU.Seconds() * 1e6 / float64(o.Messages) })
}

func spread(s harness.Spread, format string) string {
	return fmt.Sprintf(format+" ("+format+" to "+format+")", s.Median, s.Min, s.Max)
}

// ours leaves a verdict out where the line is not Penstock's.
func ours(name, verdict string) string {
	if strings.HasPrefix(name, "penstock") {
		return verdict
	}
	return ""
}

func atMost(value, bar float64) string {
	if value <= bar {
		return "met"
	}
	return "missed"
}

func atMostGoal(value, bar, goal float64) string {
	if value <= goal {
		return "goal met"
	}
	return atMost(value, bar)
}

func atLeast(value, bar, goal float64) string {
	switch {
	case value >= goal:
		return "goal met"
	case value >= bar:
		return "met"
	}
	return "missed"
}
