package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) psCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "Show what flows do, and what waits for them",
		Long: `Asks the process that runs on the store: for each flow its state, what it has read since
the process started and how fast it reads now, how many messages are on their way
(unsettled), how many wait for it in channels (lag) and how long the oldest has waited,
and how many dead letters are open. A flow that stands at an event of an entity which it
can't read is blocked: the event and the reason stand below. Then the same for each group
of readers, and for each queue of jobs how many of them are where (see penstock jobs), and
each view how far it is behind its source, and why it has stopped (see penstock view).

Where processes share a store on PostgreSQL, it lists all of these replicas: which parts of the
store each drives, and which flows run there.

Where nothing runs, it says what the store knows.`,
		Example: "  penstock ps\n  penstock ps -o json\n  watch -n 2 penstock ps",
		Args:    noArgs,
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			st, err := ops.Flows.Status(ctx)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, st)
			}
			return p.showStatus(st)
		})
	}
	return cmd
}

func (p *Program) showStatus(st *operate.Status) error {
	c := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	if len(st.Flows) > 0 {
		failed := slices.ContainsFunc(st.Flows, func(f operate.FlowStatus) bool { return f.Failed > 0 })
		row := func(flow, state, read, speed, unsettled, refused, lag, oldest, dead string) []string {
			out := []string{flow, state, read, speed, unsettled}
			if failed {
				out = append(out, refused)
			}
			return append(out, lag, oldest, dead)
		}
		rows := [][]string{row("flow", "state", "read", "rate", "unsettled", "failed", "lag", "oldest", "dead")}
		for _, f := range st.Flows {
			read, speed, unsettled := count(f.Read), rate(f.Rate), count(f.Unsettled)
			if f.State == operate.StateStopped {
				read, speed, unsettled = "-", "-", "-"
			}
			rows = append(rows, row(f.Flow, f.State, read, speed, unsettled, count(f.Failed), count(f.Lag), ago(f.Age), count(f.Dead)))
		}
		for i, line := range table(rows, []bool{false, false, true, true, true, true, true, true, true}) {
			switch {
			case i == 0:
				line = c.bold(line)
			case st.Flows[i-1].Dead > 0 || len(st.Flows[i-1].Blocked) > 0:
				line = c.yellow(line)
			}
			b.WriteString(line + "\n")
		}
		for _, line := range blockedLines(c, st) {
			b.WriteString(line + "\n")
		}
	}
	if len(st.Channels) > 0 {
		rows := [][]string{{"channel", "read by", "lag", "oldest"}}
		for _, ch := range st.Channels {
			rows = append(rows, []string{ch.Channel, ch.Group, behind(ch.Lag, ch.Given), ago(ch.Age)})
		}
		b.WriteByte('\n')
		for i, line := range table(rows, []bool{false, false, true, true}) {
			if i == 0 {
				line = c.bold(line)
			}
			b.WriteString(line + "\n")
		}
	}
	showQueueStatus(&b, c, st.Queues)
	showViews(&b, c, st.Views)
	showReplicas(&b, c, st.Replicas)
	switch {
	case !st.Running:
		b.WriteString(c.dim("no process runs on " + st.Store))
	default:
		line := fmt.Sprintf("process %d, since %s", st.PID, elapsed(st.Seconds))
		if st.Stopping {
			line += ", finishing what is in flight"
		}
		if st.Store != "" {
			line += ", store " + st.Store
		}
		b.WriteString(c.dim(line))
	}
	_, err := fmt.Fprintln(p.Stdout, b.String())
	return err
}

// blockedLines says of each flow that is blocked where it stands.
func blockedLines(c styles, st *operate.Status) (out []string) {
	for _, f := range st.Flows {
		for i := range f.Blocked {
			out = append(out, c.yellow(f.Flow)+" stands at "+blockedAt(&f.Blocked[i]))
		}
	}
	return out
}

// blockedAt says at which event a flow stands, and why.
func blockedAt(b *operate.Blocked) string {
	return fmt.Sprintf("%s since %s: %s", visible(b.Event), b.Since.UTC().Format(time.RFC3339), visible(b.Message))
}

func (p *Program) drainCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Stop the running process without losing anything",
		Long: `Has the process that runs on the store stop reading, finish what is in flight, and end; waits
for that. What it had not read, or could not finish in time (see run --drain), is read at
the next start, where the source can.

Where nothing runs there is nothing to do.`,
		Args: noArgs,
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			show, done := p.transient()
			d, err := ops.Flows.Drain(ctx, func(d operate.Draining) error {
				show("%s in flight, since %s", plural(int(d.Unsettled), "message", "messages"), elapsed(d.Seconds))
				return nil
			})
			done()
			if err != nil {
				return err
			}
			return p.showDrained(d)
		})
	}
	return cmd
}

func (p *Program) showDrained(d *operate.Drained) error {
	var err error
	switch {
	case p.asJSON:
		err = writeJSON(p.Stdout, d)
	case !d.Running:
		_, err = fmt.Fprintln(p.Stdout, "no process runs here: there is nothing to drain")
	case d.Error != "":
		p.printf("%s process %d ended with an error: %s\n", p.color.red("penstock:"), d.PID, visible(d.Error))
	case d.Unsettled > 0:
		_, err = fmt.Fprintf(p.Stdout, "process %d ended after %s; %s not settled, and read again at the next start, where the source can\n", d.PID, elapsed(d.Seconds), plural(int(d.Unsettled), "message was", "messages were"))
	default:
		_, err = fmt.Fprintf(p.Stdout, "process %d finished what was in flight and ended, after %s\n", d.PID, elapsed(d.Seconds))
	}
	if err == nil && d.Error != "" {
		return exitWith(ExitFailed)
	}
	return err
}
