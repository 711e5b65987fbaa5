package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) topCommand() *cobra.Command {
	f := &placeFlags{}
	var every time.Duration
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch rates, latencies, lag and errors",
		Long: `Shows, again and again, what the flows of a running process do: how fast each reads now, how
long half and 99 of 100 of its messages took (since the process started), how many are on
their way, wait for it (lag) and since when, how many failed or were tried again, and how
many dead letters are open. Below, the same for the queues of jobs: how many of them are where, how
many were done and failed each second since the table was shown before, how long they waited for a
worker and how long they took; and the views: how far they are behind, and how many events a second they fold. It ends with an interrupt, or with the process.

Where standard output is no terminal it writes the table once.`,
		Example: "  penstock top\n  penstock top --every 5s --server https://penstock.example.com:9090",
		Args:    noArgs,
	}
	f.add(cmd, p)
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often it is looked at")
	cmd.Flags().BoolVar(&once, "once", false, "show it once, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond {
			return usagef("write it as --every 1s", "--every is at least 100ms")
		}
		once = once || !isTerminal(p.Stdout) || p.Getenv("TERM") == "dumb"
		err := p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			scr := &screen{w: p.Stdout}
			tick := time.NewTicker(every)
			defer tick.Stop()
			var before *operate.Status
			for {
				st, err := ops.Flows.Status(ctx)
				if err != nil {
					return err
				}
				c := newStyles(p.Stdout, p.Getenv)
				lines := slices.Concat(topLines(c, st), topQueues(c, st, before), topViews(c, st, before))
				before = st
				if once {
					_, err := io.WriteString(p.Stdout, strings.Join(lines, "\n")+"\n")
					return err
				}
				width, height := terminalSize(p.Stdout)
				if len(lines) > height-1 {
					lines = append(lines[:max(height-2, 1):max(height-2, 1)], "…")
				}
				for i := range lines {
					lines[i] = clipStyled(lines[i], width-1)
				}
				scr.show(lines)
				if !st.Running {
					return nil
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
		if errors.Is(err, control.ErrInterrupted) {
			return nil // that is how one ends it
		}
		return err
	}
	return cmd
}

// topLines is the table, with what is bad in colour.
func topLines(c styles, st *operate.Status) []string {
	head := c.dim("no process runs here")
	if st.Running {
		head = fmt.Sprintf("process %d, since %s", st.PID, elapsed(st.Seconds))
		if st.Stopping {
			head += c.yellow(", finishing what is in flight")
		}
	}
	rows := [][]string{{"flow", "state", "rate", "p50", "p99", "in flight", "lag", "oldest", "failed", "retries", "dead"}}
	for _, f := range st.Flows {
		rows = append(rows, []string{f.Flow, f.State, rate(f.Rate), latency(f.P50), latency(f.P99), count(f.Unsettled), count(f.Lag), ago(f.Age), count(f.Failed + f.Died), count(f.Retries), count(f.Dead)})
	}
	out := []string{head, ""}
	for i, line := range table(rows, []bool{false, false, true, true, true, true, true, true, true, true, true}) {
		switch {
		case i == 0:
			line = c.bold(line)
		case st.Flows[i-1].Dead > 0:
			line = c.red(line)
		case st.Flows[i-1].Failed+st.Flows[i-1].Died > 0 || st.Flows[i-1].State != operate.StateRunning:
			line = c.yellow(line)
		}
		out = append(out, line)
	}
	return append(out, blockedLines(c, st)...)
}

// latency writes seconds as one reads them: 830µs, 4.2ms, 1.3s.
func latency(s float64) string {
	if s <= 0 {
		return "-"
	}
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// clipStyled cuts a line to a width, not counting what only sets a style.
func clipStyled(line string, width int) string {
	seen := 0
	for i := 0; i < len(line); {
		if line[i] == 0x1b {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				return line[:i]
			}
			i += end + 1
			continue
		}
		if seen == width {
			return line[:i] + "\x1b[0m"
		}
		n := 1
		for i+n < len(line) && line[i+n]&0xc0 == 0x80 {
			n++
		}
		i += n
		seen++
	}
	return line
}
