package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"penstock.dev/penstock/internal/control"
)

// maxCauses is how many causes of dead letters are shown for a flow.
const maxCauses = 5

// showSummary writes what a run did, as a table and what should be looked at.
func showSummary(w io.Writer, c styles, s *control.Summary) {
	var b strings.Builder
	groups := slices.ContainsFunc(s.Flows, func(f control.FlowSummary) bool { return f.Grouped > 0 })
	called := slices.ContainsFunc(s.Flows, func(f control.FlowSummary) bool { return f.Called })
	row := func(name, read, done, filtered, grouped, failed, dead, sent, rate string) []string {
		out := []string{name, read, done, filtered}
		if groups {
			out = append(out, grouped)
		}
		if called {
			out = append(out, failed)
		}
		return append(out, dead, sent, rate)
	}
	rows := [][]string{row("flow", "read", "done", "filtered", "grouped", "failed", "dead", "sent", "rate")}
	for i := range s.Flows {
		f := &s.Flows[i]
		rows = append(rows, row(f.Name, count(f.Read), count(f.Done), count(f.Filtered), count(f.Grouped), count(f.Failed), count(f.Dead), count(f.Total()), overall(s, f)))
	}
	for i, line := range table(rows, []bool{false, true, true, true, true, true, true, true, true}) {
		if i == 0 {
			line = c.bold(line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(c.dim("in "+elapsed(s.Seconds)) + "\n")
	showSent(&b, c, s)
	showFailed(&b, c, s)
	showDead(&b, c, s)
	showNotes(&b, c, s)
	_, _ = io.WriteString(w, b.String())
}

// showSent writes what reached each endpoint.
func showSent(b *strings.Builder, c styles, s *control.Summary) {
	var rows [][]string
	for i := range s.Flows {
		f := &s.Flows[i]
		for _, to := range f.Sent {
			row := []string{"  " + f.Name, count(to.Count), "→ " + to.Label}
			if len(s.Flows) == 1 {
				row = []string{"  " + count(to.Count), "→ " + to.Label}
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return
	}
	right := []bool{false, true, false}
	if len(s.Flows) == 1 {
		right = []bool{true, false}
	}
	b.WriteString("\n" + c.bold("sent") + "\n" + strings.Join(table(rows, right), "\n") + "\n")
}

// overall is the rate of the whole run, where it lasted long enough to have one.
func overall(s *control.Summary, f *control.FlowSummary) string {
	if s.Seconds < 0.1 {
		return "-"
	}
	return rate(f.Rate)
}

// otherCauses is what the engine calls the kinds of failure beyond those that it tells apart.
const otherCauses = "(other)"

// showFailed says what requests were answered with that failed.
func showFailed(b *strings.Builder, c styles, s *control.Summary) {
	if !slices.ContainsFunc(s.Flows, func(f control.FlowSummary) bool { return f.Failed > 0 }) {
		return
	}
	title := "failed jobs"
	if slices.ContainsFunc(s.Flows, func(f control.FlowSummary) bool { return f.Failed > 0 && f.Called }) {
		title = "failed requests"
	}
	b.WriteString("\n" + c.bold(title) + "\n")
	for i := range s.Flows {
		if f := &s.Flows[i]; f.Failed > 0 {
			to := "→ the callers of " + f.Name
			if !f.Called {
				to = "→ back to the queue that " + f.Name + " reads"
			}
			showCauses(b, c, f, true, f.Failed, to)
		}
	}
}

// showCauses writes the causes of dead letters, or of failed requests, of which there are n.
func showCauses(b *strings.Builder, c styles, f *control.FlowSummary, refused bool, n int64, to string) {
	shown, lines := int64(0), 0
	for _, cause := range f.Causes {
		if cause.Refused != refused || lines >= maxCauses || cause.Message == otherCauses {
			continue
		}
		lines++
		shown += cause.Count
		fmt.Fprintf(b, "  %s %s (step %s) %s\n", c.yellow(count(cause.Count)+" ×"), firstLine(cause.Message), cause.Step, to)
	}
	if rest := n - shown; rest > 0 {
		fmt.Fprintf(b, "  %s for other reasons %s\n", c.yellow(count(rest)+" ×"), to)
	}
}

func showDead(b *strings.Builder, c styles, s *control.Summary) {
	if s.Dead() == 0 {
		return
	}
	b.WriteString("\n" + c.bold("dead letters") + "\n")
	for i := range s.Flows {
		f := &s.Flows[i]
		if f.Dead > 0 {
			showCauses(b, c, f, false, f.Dead, "→ "+f.DeadLetter)
		}
	}
	if slices.ContainsFunc(s.Flows, func(f control.FlowSummary) bool { return f.Kept }) {
		b.WriteString(c.dim("  penstock dlq ls looks into them") + "\n")
	}
}

// showNotes says what does not go without saying, and whether all is accounted for.
func showNotes(b *strings.Builder, c styles, s *control.Summary) {
	var notes []string
	var read int64
	settled := true
	for i := range s.Flows {
		f := &s.Flows[i]
		read += f.Read
		if f.Read > 0 && f.Dead == f.Read {
			notes = append(notes, fmt.Sprintf("%s: nothing got through: %s dead-lettered", f.Name, plural(int(f.Dead), "message was", "messages were")))
		}
		if f.Unsettled > 0 {
			settled = false
			notes = append(notes, fmt.Sprintf("%s: %s were not settled; they are read again at the next start, where the source can", f.Name, plural(int(f.Unsettled), "message", "messages")))
		}
		for _, at := range f.Blocked {
			notes = append(notes, fmt.Sprintf("%s: it stands at %s", f.Name, blockedAt(&at)))
		}
		if f.Bound > 0 {
			notes = append(notes, fmt.Sprintf("%s: %s completed early, because the bound of open groups or of their memory was reached", f.Name, plural(int(f.Bound), "group was", "groups were")))
		}
		if f.Late > 0 {
			notes = append(notes, fmt.Sprintf("%s: %s after the group was complete", f.Name, plural(int(f.Late), "message came", "messages came")))
		}
		if f.Lost > 0 {
			notes = append(notes, fmt.Sprintf("%s: %s not sent by steps with wait: false", f.Name, plural(int(f.Lost), "message was", "messages were")))
		}
	}
	for _, ch := range s.Channels {
		if ch.Lost > 0 {
			notes = append(notes, fmt.Sprintf("channel %s: %s left in memory and lost", ch.Name, plural(int(ch.Lost), "message was", "messages were")))
		}
	}
	if s.Stopped && slices.ContainsFunc(s.Flows, func(f control.FlowSummary) bool { return !f.Called }) { // else there is nothing that could have ended
		notes = append(notes, "stopped before the sources had ended")
	}
	if len(notes) > 0 {
		b.WriteByte('\n')
	}
	for _, n := range notes {
		b.WriteString(c.yellow("! ") + n + "\n")
	}
	if settled && read > 0 {
		b.WriteString("\n" + c.green("every message is accounted for") + account(s) + "\n")
	}
}

// account is the sum that shows it, flow by flow, where a flow has one.
func account(s *control.Summary) string {
	var b strings.Builder
	for i := range s.Flows {
		f := &s.Flows[i]
		in := []addend{{f.Read, "read"}, {f.Redriven, "redriven"}, {f.Groups, "groups"}, {f.Split, "parts"}}
		out := []addend{{f.Done, "done"}, {f.Filtered, "filtered"}, {f.Grouped, "grouped"}, {f.Failed, "failed"}, {f.Dead, "dead"}, {splitUp(f), "split"}}
		if total(in) != total(out) { // late messages that were dropped are counted nowhere else; others are grouped or dead
			out = append(out, addend{f.Late, "late"})
		}
		if total(in) != total(out) { // what came again has no further effect
			out = append(out, addend{f.Again, "known"})
		}
		if total(in) == 0 || total(in) != total(out) {
			continue
		}
		b.WriteString("\n  " + f.Name + ": " + join(in) + " = " + join(out))
	}
	return b.String()
}

// splitUp is how many messages became parts.
func splitUp(f *control.FlowSummary) int64 {
	var n int64
	for _, s := range f.Steps {
		if s.Verb == "split" {
			n += s.In - s.Dropped - s.Errors
		}
	}
	return n
}

// addend is a part of a sum.
type addend struct {
	n    int64
	what string
}

func total(addends []addend) int64 {
	var n int64
	for _, t := range addends {
		n += t.n
	}
	return n
}

func join(addends []addend) string {
	var parts []string
	for _, t := range addends {
		if t.n > 0 {
			parts = append(parts, count(t.n)+" "+t.what)
		}
	}
	return strings.Join(parts, " + ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return clip(visible(line), 120)
}
