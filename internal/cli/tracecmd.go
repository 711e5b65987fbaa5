package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) traceCommand() *cobra.Command {
	f := &placeFlags{}
	var q operate.TraceQuery
	cmd := &cobra.Command{
		Use:   "trace [ID]",
		Short: "Say where a message went",
		Long: `Shows the way of a message through flows and channels: what it was made of, what became of
it in each flow, and where what was made of it went. A message is named by where it came
from: a line of a file (orders.csv:17), or a position in a channel (orders@123). --key shows
the messages that had a key.

It is read from a journal in the store, which is bounded (store: {journal: 64Mi}): what is
older than it reaches back is not known. Only flows that keep state write it.`,
		Example: "  penstock trace orders.csv:17\n  penstock trace orders@123\n  penstock trace --key 536365",
		Args:    atMostOne("the id of one message"),
	}
	f.add(cmd, p)
	cmd.Flags().StringVar(&q.Key, "key", "", "show messages with this `key`")
	cmd.Flags().IntVar(&q.Limit, "limit", 1000, "show at most `n` hops")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		q.ID = first(args)
		if (q.ID == "") == (q.Key == "") {
			return usagef("write it as penstock trace orders.csv:17", "trace wants the id of a message, or --key")
		}
		if q.Limit <= 0 {
			return usagef("write it as --limit 100", "--limit must be above zero")
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			t, err := ops.Journal.Trace(ctx, q)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, t)
			}
			return p.showTrace(q, t)
		})
	}
	return cmd
}

func (p *Program) showTrace(q operate.TraceQuery, t *operate.Trace) error {
	col := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	if len(t.Hops) == 0 {
		what := q.ID
		if what == "" {
			what = "key " + q.Key
		}
		switch {
		case t.Since.IsZero():
			fmt.Fprintf(&b, "the journal is empty: no flow that keeps state has run on this store, or it keeps no journal\n")
		default:
			fmt.Fprintf(&b, "the journal knows nothing of %s; it reaches back to %s\n", what, stamp(t.Since))
		}
		_, err := io.WriteString(p.Stdout, b.String())
		return err
	}
	rows := [][]string{{"time", "flow", "message", "key", "what", "to"}}
	for _, h := range t.Hops {
		to := strings.Join(h.To, ", ")
		if h.From != "" {
			to = "made of " + h.From
		}
		rows = append(rows, []string{h.Time.UTC().Format("2006-01-02 15:04:05.000Z"), h.Flow, h.ID, h.Key, h.Fate, to})
	}
	for i, line := range table(rows, nil) {
		if i == 0 {
			line = col.bold(line)
		} else if t.Hops[i-1].Fate == "dead" {
			line = col.yellow(line)
		}
		b.WriteString(line + "\n")
	}
	if t.More {
		b.WriteString(col.dim("there is more; --limit shows it") + "\n")
	}
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}
