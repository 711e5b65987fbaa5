package cli

import (
	"bufio"
	"context"
	"fmt"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
)

// dlqActCommand is redrive and drop.
func (p *Program) dlqActCommand(verb operate.Verb) *cobra.Command {
	f, sel := &placeFlags{}, &selectFlags{}
	var perSecond string
	var yes bool
	cmd := &cobra.Command{Args: atMostOne("one flow")}
	switch verb {
	case operate.Redrive:
		cmd.Use = "redrive FLOW"
		cmd.Short = "Give dead letters to their flow again"
		cmd.Long = `Gives open dead letters to their flow again, in the order in which they died: into its
source, or behind the durable step that they had come through. Those of a portion are given
to the flow and marked as done in one transaction, so that none is given twice, whatever
happens in between; a redrive that was interrupted is simply repeated. Who did it, when and
with which of them is written down in the channel #audit.

What fails again is a new dead letter.`
		cmd.Example = "  penstock dlq redrive orders\n  penstock dlq redrive orders --where 'error.step == \"country\"' --rate 100/s\n  penstock dlq redrive orders --id orders.dead@17"
		cmd.Flags().StringVar(&perSecond, "rate", "", "how many at most, as `100/s` (default: as fast as the store)")
	case operate.Drop:
		cmd.Use = "drop FLOW"
		cmd.Short = "Give dead letters up for good"
		cmd.Long = `Gives open dead letters up: they are not shown nor redriven any more, and their space is used
again. Asks before it does so. Who did it, when and with which of them is written down in
the channel #audit.`
		cmd.Example = "  penstock dlq drop orders --where 'error.code == \"invalid\"'\n  penstock dlq export orders --to dead.jsonl && penstock dlq drop orders --yes"
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	f.add(cmd, p)
	sel.add(cmd)
	cmd.ValidArgsFunction = f.flows(p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		s, err := sel.selection(first(args))
		if err != nil {
			return err
		}
		if s.Flow == "" {
			return usagef(fmt.Sprintf("write it as penstock dlq %s orders", verb), "%s wants a flow, or --id", cmd.CommandPath())
		}
		a := operate.Action{Selection: s, Verb: verb, Who: userName()}
		if perSecond != "" {
			r, err := penstock.ParseRate(perSecond)
			if err != nil {
				return usagef("write it as --rate 100/s", "--rate %s is no rate", perSecond)
			}
			a.Rate = r.PerSecond()
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			if verb == operate.Drop && !yes {
				if ok, err := p.confirmDrop(ctx, ops, a.Selection); err != nil || !ok {
					return err
				}
			}
			return p.act(ctx, ops, a)
		})
	}
	return cmd
}

func (p *Program) act(ctx context.Context, ops *operate.Operations, a operate.Action) error {
	show, done := p.transient()
	res, err := ops.Dead.Act(ctx, a, func(n operate.Acted) error {
		show("%s %s, %s left", count(n.Count), past(a.Verb), count(n.Left))
		return nil
	})
	done()
	if err != nil {
		return err
	}
	if p.asJSON {
		return writeJSON(p.Stdout, res)
	}
	line := fmt.Sprintf("%s of %s %s", plural(int(res.Count), "dead letter", "dead letters"), res.Flow, past(a.Verb))
	switch {
	case res.Count == 0 && res.Left == 0:
		line = "there are no open dead letters of flow " + res.Flow
	case res.Count == 0:
		line = fmt.Sprintf("none of the %s of %s is meant: nothing %s", plural(int(res.Left), "dead letter", "dead letters"), res.Flow, past(a.Verb))
	case res.Left > 0:
		line += "; " + plural(int(res.Left), "is", "are") + " left"
	}
	if res.Count > 0 && a.Verb == operate.Redrive && !ops.Remote {
		line += "; they are worked on when the flow runs next"
	}
	_, err = fmt.Fprintln(p.Stdout, line)
	return err
}

func past(v operate.Verb) string {
	if v == operate.Drop {
		return "dropped"
	}
	return "redriven"
}

// confirmDrop asks whether so many shall be dropped.
func (p *Program) confirmDrop(ctx context.Context, ops *operate.Operations, s operate.Selection) (bool, error) {
	if !isTerminal(p.Stdin) {
		return false, usagef("say --yes, or ask on a terminal", "dropping dead letters is for good, and nobody can be asked here")
	}
	n := 0
	if err := ops.Dead.Each(ctx, s, func(*operate.DeadLetter) error { n++; return nil }); err != nil {
		return false, err
	}
	if n == 0 {
		return true, nil // says so
	}
	p.printf("drop %s of %s for good? [y/N] ", plural(n, "dead letter", "dead letters"), s.Flow)
	line, err := bufio.NewReader(p.Stdin).ReadString('\n')
	if err != nil {
		return false, nil //nolint:nilerr // no answer is no
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	p.printf("nothing was dropped\n")
	return false, nil
}

// userName is who is written down.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

func (p *Program) dlqTryCommand() *cobra.Command {
	f, sel := &placeFlags{}, &selectFlags{}
	cmd := &cobra.Command{
		Use:   "try [flow]",
		Short: "Say how many dead letters would pass now",
		Long: `Runs the flows of the configuration as it is now over their open dead letters, without any
effect: sinks write nothing, the store is not touched, and a call that would leave this
program is not made: what comes to one is counted there. So a fix is tried before it is put
to work.`,
		Example: "  penstock dlq try\n  penstock dlq try orders -f flows/ --param drop=./data",
		Args:    atMostOne("one flow"),
	}
	f.add(cmd, p)
	sel.add(cmd)
	cmd.ValidArgsFunction = f.flows(p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		s, err := sel.selection(first(args))
		if err != nil {
			return err
		}
		at, err := f.place(p.Getenv)
		if err != nil {
			return err
		}
		c := p.Service.Check(at.Project, false)
		if !c.OK {
			p.showRunFindings(c)
			return exitWith(ExitConfig)
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			show, done := p.transient()
			res, err := p.Service.Try(ctx, c, ops.Dead, s, func(n int64) {
				if n%100 == 0 {
					show("%s tried", count(n))
				}
			})
			done()
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, res)
			}
			return p.showTried(res)
		})
	}
	return cmd
}

func (p *Program) showTried(t *operate.Tried) error {
	col := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	if len(t.Flows) == 0 {
		b.WriteString("there are no open dead letters\n")
	}
	for i := range t.Flows {
		f := &t.Flows[i]
		if i > 0 {
			b.WriteByte('\n')
		}
		if f.Gone {
			fmt.Fprintf(&b, "%s: the configuration has no such flow any more; its %s can be exported or dropped\n", col.bold(f.Flow), plural(int(f.Count), "dead letter", "dead letters"))
			continue
		}
		verdict := fmt.Sprintf("%s of %s would pass now", count(f.Pass), count(f.Count))
		if f.Pass == f.Count {
			verdict = col.green(verdict)
		}
		fmt.Fprintf(&b, "%s: %s\n", col.bold(f.Flow), verdict)
		for _, c := range f.Calls {
			fmt.Fprintf(&b, "  %s reached step %s, which is not done in a trial\n", count(c.Count), c.Step)
		}
		if len(f.Rest) > 0 {
			b.WriteByte('\n')
			writeClusters(&b, col, f.Rest)
		}
	}
	_, err := fmt.Fprint(p.Stdout, b.String())
	return err
}
