package report

import (
	"fmt"
	"math"
	"strings"

	"penstock.dev/penstock/bench/cases"
	"penstock.dev/penstock/bench/harness"
)

// JetStreamRecorded is what JetStream did with a sync before every acknowledgement, in messages a second, however many publishers,
// in an earlier session on this kind of machine; it stands in the report where the peer did not run beside ours.
const JetStreamRecorded = 4200

// store writes the store's cases: a table of figures, each with the disk's fdatasync, and one of verdicts.
func store(b *strings.Builder, all []cases.StoreOutcome) {
	b.WriteString("\n### The store: messages of 300 bytes, durable before they are acknowledged\n\n" +
		"| case | side | fdatasync p50, ms | figures: median (smallest to largest) |\n|---|---|---|---|\n")
	for _, o := range all {
		title := o.Case.Title + ": " + o.Sizes
		for _, s := range o.Sides {
			name := s.Name
			if name == cases.Control {
				name = o.Sides[0].Name + " again (control)"
			}
			var figures []string
			for _, f := range s.Figures {
				figures = append(figures, f.Name+" "+number(harness.SpreadOf(f.Of))+" "+f.Unit)
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", title, name, number(harness.SpreadOf(s.Disk)), strings.Join(figures, "; "))
			title = ""
		}
	}
	b.WriteString("\n| case | held to | measured | fdatasync p50, ms | |\n|---|---|---|---|---|\n")
	for _, o := range all {
		storeVerdicts(b, o)
	}
}

func storeVerdicts(b *strings.Builder, o cases.StoreOutcome) {
	first := o.Sides[0]
	line := func(side cases.StoreSide, held, measured, verdict string) {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", o.Case.Name, held, measured, number(harness.SpreadOf(side.Disk)), verdict)
	}
	find := func(name string) (cases.StoreSide, bool) {
		for _, s := range o.Sides {
			if s.Name == name {
				return s, true
			}
		}
		return cases.StoreSide{}, false
	}
	if control, ok := find(cases.Control); ok && len(first.Figures) > 0 {
		f := first.Figures[0]
		if again, ok := control.Of(f.Name); ok {
			line(control, "control: the same twice, "+f.Name, fmt.Sprintf("%.3f ×", again.Median/harness.SpreadOf(f.Of).Median), "the noise")
		}
	}
	for _, bar := range o.Case.Bars {
		side, name := first, ""
		if bar.Side != "" {
			var ok bool
			if side, ok = find(bar.Side); !ok {
				continue
			}
			name = " (" + bar.Side + ")"
		}
		got, ok := side.Of(bar.Figure)
		if !ok {
			continue
		}
		value, unit, over := got.Median, unitOf(side, bar.Figure), ""
		if bar.Over != "" {
			unit, over = "×", ", in that of "+bar.Over
			other, there := find(bar.Over)
			of, ok := other.Of(bar.Figure)
			switch {
			case there && ok:
				value /= of.Median
			case o.Case.Name == "store-publishers":
				value /= JetStreamRecorded
				over += " as recorded (" + thousands(JetStreamRecorded) + "/s), *not paired*"
			default:
				continue
			}
		}
		sign, verdict := "≥", atLeast(value, bar.Bar, orNever(bar.Goal, math.Inf(1)))
		if bar.Most {
			sign, verdict = "≤", atMostGoal(value, bar.Bar, orNever(bar.Goal, math.Inf(-1)))
		}
		held := fmt.Sprintf("%s%s %s %s %s%s", bar.Figure, name, sign, thousands(bar.Bar), unit, over)
		if bar.Goal != 0 {
			held += ", goal " + thousands(bar.Goal)
		}
		line(side, held, thousands(value)+" "+unit, verdict)
	}
}

func orNever(goal, never float64) float64 {
	if goal == 0 {
		return never
	}
	return goal
}

func unitOf(s cases.StoreSide, figure string) string {
	for _, f := range s.Figures {
		if f.Name == figure {
			return f.Unit
		}
	}
	return ""
}

// number writes a spread with three digits that count.
func number(s harness.Spread) string {
	return thousands(s.Median) + " (" + thousands(s.Min) + " to " + thousands(s.Max) + ")"
}

// thousands writes a number with three digits that count, and commas between thousands.
func thousands(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		unit := math.Pow(10, math.Floor(math.Log10(a))-2)
		text := fmt.Sprintf("%.0f", math.Round(v/unit)*unit)
		for i := len(text) - 3; i > 0; i -= 3 {
			text = text[:i] + "," + text[i:]
		}
		return text
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1 || a == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
