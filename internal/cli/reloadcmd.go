package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) reloadCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running process do what its files say now",
		Long: `Has the process that runs on the store read its configuration again, as it does with SIGHUP and,
with run --watch, by itself. Flows that are the same go on and don't notice. Of those that are not, what is in
flight finishes, and then others go on in their place. Where the new configuration is wrong, or can't be brought
to run, it is refused as a whole: what runs goes on as it was.

What changed is printed. Where it was refused, the exit code is 2.`,
		Args: noArgs,
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			r, err := ops.Flows.Reload(ctx)
			if err != nil {
				return err
			}
			switch {
			case p.asJSON:
				err = writeJSON(p.Stdout, r)
			case !r.Running:
				_, err = fmt.Fprintln(p.Stdout, "no process runs here: there is nothing to reload")
			default:
				showReloaded(p.Stdout, newStyles(p.Stdout, p.Getenv), r)
			}
			if err == nil && r.Running && !r.OK {
				return exitWith(ExitConfig)
			}
			return err
		})
	}
	return cmd
}

func (p *Program) pauseCommand() *cobra.Command {
	return p.pausing("pause", "Have a flow read no more, until it is resumed",
		`Has a flow of the process that runs on the store read no more. What it has read goes on to its end; what
calls it over HTTP is answered 503, with Retry-After. Other flows go on. It stays paused over reloads, and reads again
after penstock resume, or at the next start.`,
		func(ops *operate.Operations) func(context.Context, string) (*operate.Paused, error) {
			return ops.Flows.Pause
		})
}

func (p *Program) resumeCommand() *cobra.Command {
	return p.pausing("resume", "Have a paused flow read on", `Has a flow read on that was paused.`,
		func(ops *operate.Operations) func(context.Context, string) (*operate.Paused, error) {
			return ops.Flows.Resume
		})
}

func (p *Program) pausing(verb, short, long string, do func(*operate.Operations) func(context.Context, string) (*operate.Paused, error)) *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use: verb + " <flow>", Short: short, Long: long,
		Args:              exactlyOne("the name of a flow"),
		ValidArgsFunction: f.flows(p),
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			r, err := do(ops)(ctx, args[0])
			switch {
			case err != nil:
				return err
			case p.asJSON:
				return writeJSON(p.Stdout, r)
			case !r.Running:
				_, err = fmt.Fprintf(p.Stdout, "no process runs here: there is nothing to %s\n", verb)
			case r.Ended:
				_, err = fmt.Fprintf(p.Stdout, "%s has ended, and reads nothing\n", r.Flow)
			case r.Paused:
				_, err = fmt.Fprintf(p.Stdout, "%s is paused; penstock resume %s lets it read on\n", r.Flow, r.Flow)
			default:
				_, err = fmt.Fprintf(p.Stdout, "%s reads on\n", r.Flow)
			}
			return err
		})
	}
	return cmd
}

// reloadLine is a line of run -o json.
type reloadLine struct {
	Type string `json:"type"` // reload
	*control.Reloaded
}

// showReloaded says what a reload has done, or why it was refused.
func showReloaded(w io.Writer, c styles, r *control.Reloaded) {
	var b strings.Builder
	switch {
	case r.Empty():
		fmt.Fprintf(&b, "%s\n", c.dim("reloaded: nothing has changed for the flows that run"))
	case r.OK:
		fmt.Fprintf(&b, "%s in %s%s\n", c.green("reloaded"), milliseconds(r.Seconds), c.dim(unchanged(r)))
		for _, ch := range r.Changed {
			fmt.Fprintf(&b, "  %s %s\n", c.yellow("~"), c.bold(ch.Flow))
			for _, what := range ch.What {
				fmt.Fprintf(&b, "      %s\n", printable([]rune(what)))
			}
		}
		for _, name := range r.Added {
			fmt.Fprintf(&b, "  %s %s\n", c.green("+"), c.bold(name))
		}
		for _, name := range r.Removed {
			fmt.Fprintf(&b, "  %s %s\n", c.red("-"), c.bold(name))
		}
		for _, name := range r.Again {
			fmt.Fprintf(&b, "  %s %s begins again, with what feeds it\n", c.yellow("~"), c.bold(name))
		}
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "  %s %s: %s\n", c.dim("note:"), n.Flow, n.Text)
		}
	}
	if len(r.Findings) > 0 {
		showFindings(&b, c, &sources{}, r.Findings)
	}
	switch {
	case r.OK:
	case r.Error != nil:
		fmt.Fprintf(&b, "%s: %s\n", c.red("not reloaded"), visible(r.Error.Message))
		if r.Error.Hint != "" {
			fmt.Fprintf(&b, "        %s %s\n", c.dim("hint:"), r.Error.Hint)
		}
	default:
		fmt.Fprintf(&b, "%s: %s\n", c.red("not reloaded"), tally(r.Errors, r.Warnings))
	}
	if !r.OK {
		b.WriteString(c.dim("what runs goes on as it was") + "\n")
	}
	_, _ = io.WriteString(w, b.String()) // where nobody listens there is nobody to tell
}

func unchanged(r *control.Reloaded) string {
	if n := len(r.Unchanged); n > 0 {
		return fmt.Sprintf("; %s not touched", plural(n, "flow was", "flows were"))
	}
	return ""
}

func milliseconds(seconds float64) string {
	return (time.Duration(seconds*1e3+0.5) * time.Millisecond).String()
}

// hangups starts delivery of what asks for a reload. In a terminal a hang-up is the end of that, and stops the run as ever.
func (p *Program) hangups() (<-chan os.Signal, func()) {
	if p.Hangups != nil {
		return p.Hangups()
	}
	if isTerminal(p.Stderr) {
		return nil, func() {}
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
