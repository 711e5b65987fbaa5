package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/jobs"
)

func (p *Program) jobsCommand() *cobra.Command {
	return p.group(&cobra.Command{
		Use:   "jobs",
		Short: "Look into queues of jobs, cancel jobs, have them tried again, pause queues",
		Long: `Jobs of a JobQueue wait in the store until a worker has done them. These commands ask the
process that runs on the store, or open the store themselves. Jobs that failed for good are dead
letters of their queue: penstock dlq shows and redrives them.

  penstock jobs ls                    queues, and how many jobs stand where
  penstock jobs ls labels             jobs of a queue
  penstock jobs show labels ID        one of them, with its data and its last error
  penstock jobs cancel labels ID      take it out; who works on it is refused when he is done
  penstock jobs retry labels ID       have it tried at once, though its pause is not over
  penstock jobs pause labels          give no more jobs away; penstock jobs resume lets it go on`,
	}, p.jobsListCommand(), p.jobsShowCommand(),
		p.jobsActCommand("cancel", "Take a job out", operate.CancelJob, true),
		p.jobsActCommand("retry", "Have a job tried at once that waits for its time", operate.RetryJob, true),
		p.jobsActCommand("pause", "Give no more jobs of a queue away", operate.PauseQueue, false),
		p.jobsActCommand("resume", "Give jobs of a paused queue away again", operate.LetQueueGo, false))
}

func (p *Program) jobsListCommand() *cobra.Command {
	f := &placeFlags{}
	var q operate.JobQuery
	cmd := &cobra.Command{
		Use:   "ls [queue]",
		Short: "List queues, or the jobs of one",
		Long: `Without a queue: how many jobs of each are ready, delayed (for a time, or until their next try), blocked
behind the bounds of their key, and leased to workers; and how many were ever completed, failed and
died. With one: its jobs, those that are ready in the order in which they will be begun.`,
		Example: "  penstock jobs ls\n  penstock jobs ls labels --state leased\n  penstock jobs ls labels -o json",
		Args:    atMostOne("one queue"),
	}
	f.add(cmd, p)
	state := choiceFlag(cmd, "state", "", "only jobs that stand there; waiting is all that are not over", "waiting", "ready", "delayed", "blocked", "leased", "done", "dead")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "at most `n` jobs of each state")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		q.Queue = first(args)
		if state.value != "waiting" {
			q.State = jobs.State(state.value)
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			if q.Queue == "" {
				l, err := ops.Jobs.Queues(ctx, q)
				if err != nil {
					return err
				}
				if p.asJSON {
					return writeJSON(p.Stdout, l)
				}
				return p.showQueues(l)
			}
			l, err := ops.Jobs.Jobs(ctx, q)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, l)
			}
			return p.showJobs(l)
		})
	}
	return cmd
}

func (p *Program) showQueues(l *operate.JobQueues) error {
	if len(l.Queues) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "there are no queues of jobs")
		return err
	}
	rows := [][]string{{"queue", "ready", "oldest", "leased", "delayed", "blocked", "completed", "failed", "dead", ""}}
	for _, q := range l.Queues {
		oldest, note := "-", ""
		if q.Ready > 0 {
			oldest = (time.Duration(q.OldestSeconds * float64(time.Second))).Round(time.Second).String()
		}
		if q.Paused {
			note = "paused"
		}
		rows = append(rows, []string{q.Queue, count(q.Ready), oldest, count(q.Leased), count(q.Delayed), count(q.Blocked), count(q.Completed), count(q.Failed), count(q.Dead), note})
	}
	_, err := io.WriteString(p.Stdout, strings.Join(table(rows, []bool{false, true, true, true, true, true, true, true, true, false}), "\n")+"\n")
	return err
}

func (p *Program) showJobs(l *operate.JobList) error {
	if len(l.Jobs) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "there are no such jobs")
		return err
	}
	rows := [][]string{{"job", "state", "priority", "key", "tries", "when", "worker"}}
	for _, j := range l.Jobs {
		when := j.At
		if j.State == jobs.Leased {
			when = j.Lease
		}
		at := "-"
		if !when.IsZero() {
			at = when.Format("2006-01-02 15:04:05Z")
		}
		rows = append(rows, []string{j.ID, string(j.State), fmt.Sprint(j.Priority), j.Key, fmt.Sprint(j.Attempts), at, j.Worker})
	}
	_, err := io.WriteString(p.Stdout, strings.Join(table(rows, []bool{false, false, true, false, true, false, false}), "\n")+"\n")
	return err
}

// queueAndJob wants a queue and a job.
func queueAndJob(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usagef("see "+cmd.CommandPath()+" --help", "%s wants a queue and the id of a job", cmd.CommandPath())
	}
	return nil
}

func (p *Program) jobsShowCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:     "show <queue> <id>",
		Short:   "Show a job as JSON: where it stands, its data, its last error, its result",
		Example: "  penstock jobs show labels 1d6f6f0a-6f0c-4c8e-9a55-0a5f3b1f6e52",
		Args:    queueAndJob,
	}
	f.add(cmd, p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = true
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			l, err := ops.Jobs.Jobs(ctx, operate.JobQuery{Queue: args[0], ID: args[1]})
			if err != nil {
				return err
			}
			return writeJSON(p.Stdout, l.Jobs[0])
		})
	}
	return cmd
}

func (p *Program) jobsActCommand(use, short string, verb operate.Verb, one bool) *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{Use: use + " <queue>", Short: short, Args: exactlyOne("a queue"), Example: "  penstock jobs " + use + " labels"}
	if one {
		cmd.Use, cmd.Args = use+" <queue> <id>", queueAndJob
		cmd.Example += " 1d6f6f0a-6f0c-4c8e-9a55-0a5f3b1f6e52"
	}
	f.add(cmd, p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a := operate.JobAction{Verb: verb, Queue: args[0], Who: userName()}
		if one {
			a.ID = args[1]
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			if _, err := ops.Jobs.ActOnJobs(ctx, a); err != nil {
				return err
			}
			what := "queue " + a.Queue
			if one {
				what = "job " + a.ID
			}
			_, err := fmt.Fprintln(p.Stdout, what+": "+map[string]string{"cancel": "cancelled", "retry": "will be tried at once", "pause": "paused", "resume": "goes on"}[use])
			return err
		})
	}
	return cmd
}
