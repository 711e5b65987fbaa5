package report

import (
	"fmt"
	"math"
	"strings"

	"penstock.dev/penstock/bench/cases"
	"penstock.dev/penstock/bench/harness"
)

// PeerHTTPRecorded is what the peer did in http-reply in an earlier session on this kind of machine, in requests a second; it stands in the report where it
// did not run beside ours.
const PeerHTTPRecorded = 17_700

// http writes the cases of HTTP: a table of figures, and one of verdicts.
func http(b *strings.Builder, title string, all []cases.HTTPOutcome) {
	b.WriteString("\n### " + title + "\n\n| case | side | figures: median (smallest to largest) |\n|---|---|---|\n")
	for _, o := range all {
		title := o.Case.Title
		for _, s := range o.Sides {
			name := s.Name
			if name == cases.Control {
				name = o.Sides[0].Name + " again (control)"
			}
			var figures []string
			for _, f := range s.Figures {
				figures = append(figures, f.Name+" "+number(harness.SpreadOf(f.Of))+" "+f.Unit)
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", title, name, strings.Join(figures, "; "))
			title = ""
		}
	}
	b.WriteString("\n| case | held to | measured | |\n|---|---|---|---|\n")
	for _, o := range all {
		httpVerdicts(b, o)
	}
}

func httpVerdicts(b *strings.Builder, o cases.HTTPOutcome) {
	of := func(side, figure string) (harness.Spread, bool) {
		for _, s := range o.Sides {
			if s.Name == side {
				return s.Of(figure)
			}
		}
		return harness.Spread{}, false
	}
	if len(o.Sides[0].Figures) == 0 {
		return
	}
	first := o.Sides[0].Figures[0]
	if again, ok := of(cases.Control, first.Name); ok {
		fmt.Fprintf(b, "| %s | control: the same twice, %s | %.3f × | the noise |\n", o.Case.Name, first.Name, again.Median/harness.SpreadOf(first.Of).Median)
	}
	for _, bar := range o.Case.Bars {
		got, ok := o.Sides[0].Of(bar.Figure)
		if !ok {
			continue
		}
		value, unit, over := got.Median, " "+unitOf(o.Sides[0], bar.Figure), ""
		if bar.Over != "" {
			unit, over = " ×", ", in that of "+bar.Over
			other, there := of(bar.Over, bar.Figure)
			switch {
			case there && bar.Beyond:
				value, unit, over = value-other.Median, " "+unitOf(o.Sides[0], bar.Figure), ", more than that of "+bar.Over
			case there:
				value /= other.Median
			case o.Case.Name == "http-reply":
				value /= PeerHTTPRecorded
				over += " as recorded (" + thousands(PeerHTTPRecorded) + "/s), *not paired*"
			default:
				continue
			}
		}
		sign, verdict := "≥", atLeast(value, bar.Bar, orNever(bar.Goal, math.Inf(1)))
		if bar.Most {
			sign, verdict = "≤", atMostGoal(value, bar.Bar, orNever(bar.Goal, math.Inf(-1)))
		}
		held := fmt.Sprintf("%s %s %s%s%s", bar.Figure, sign, thousands(bar.Bar), unit, over)
		if bar.Goal != 0 {
			held += ", goal " + thousands(bar.Goal)
		}
		fmt.Fprintf(b, "| %s | %s | %s%s | %s |\n", o.Case.Name, held, thousands(value), unit, verdict)
	}
}
