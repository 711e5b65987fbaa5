package cli

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) storeDropCommand() *cobra.Command {
	f := &placeFlags{}
	var yes bool
	cmd := &cobra.Command{
		Use:   "drop FLOW/STEP",
		Short: "Give up what a durable step has left",
		Long: `Gives up what a durable step has in the store: its state (open groups, keys, what is held
back), and the messages that have left it and are not done behind it. A run refuses to start
on what a step has left that is gone, or is keyed in another way now: this is one answer, and
penstock store rename the other.

Asks before it does so. It is refused while a process runs the step. Who did it, and when, is
written down in the channel #audit. Where it is interrupted, the same command goes on.`,
		Example: "  penstock store drop orders/invoice",
		Args:    exactlyOne("a durable step, as flow/step"),
	}
	f.add(cmd, p)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			if !yes {
				what, err := p.leftOf(ctx, ops, args[0])
				if err != nil {
					return err
				}
				if what != "" {
					if ok, err := p.confirm("give up " + what + " of " + args[0] + " for good?"); err != nil || !ok {
						return err
					}
				}
			}
			m, err := ops.Remains.DropStep(ctx, operate.StepDrop{Step: args[0], Who: userName()})
			if err != nil {
				return err
			}
			return p.showMoved(m)
		})
	}
	return cmd
}

func (p *Program) storeRenameCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:   "rename FLOW/STEP FLOW/STEP",
		Short: "Give what a durable step has left to its new name",
		Long: `Gives what a durable step has in the store to the name that it has now: its state, and the
messages that have left it and are not done behind it, in their order. It is refused where
the new name has something of its own, and while a process runs either step. What the state
is keyed by stays as it is: a run compares it with what the step says now.

Dead letters that are to go on behind the step know it by its old name: redrive or drop them
before. Who did it, and when, is written down in the channel #audit. Where it is interrupted,
the same command goes on.`,
		Example: "  penstock store rename orders/invoice orders/by-invoice",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("see "+cmd.CommandPath()+" --help", "%s wants the old and the new name of a step, as flow/step", cmd.CommandPath())
			}
			return nil
		},
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			m, err := ops.Remains.RenameStep(ctx, operate.StepRename{Step: args[0], To: args[1], Who: userName()})
			if err != nil {
				return err
			}
			return p.showMoved(m)
		})
	}
	return cmd
}

func (p *Program) storeForgetCommand() *cobra.Command {
	f := &placeFlags{}
	var yes bool
	cmd := &cobra.Command{
		Use:   "forget CHANNEL GROUP",
		Short: "Forget a group of readers that is gone",
		Long: `A channel keeps each message until all its groups of readers have it. A group that no flow reads
any more (its flow is gone, or has another name) keeps them for good: this forgets it. A
group of that name which comes later begins with the oldest message that is there.

Asks before it does so. It is refused where a flow of the configuration reads the group. Who
did it, and when, is written down in the channel #audit.`,
		Example: "  penstock store forget orders billing/from",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("penstock store info shows them", "%s wants a channel and a group", cmd.CommandPath())
			}
			return nil
		},
	}
	f.add(cmd, p)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			if !yes {
				if ok, err := p.confirm("forget what " + args[1] + " has read of " + args[0] + "?"); err != nil || !ok {
					return err
				}
			}
			g, err := ops.Remains.Forget(ctx, operate.GroupForget{Channel: args[0], Group: args[1], Who: userName()})
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, g)
			}
			_, err = fmt.Fprintf(p.Stdout, "%s of %s is forgotten, with %s that it had not read\n", g.Group, g.Channel, plural(int(g.Lag), "message", "messages"))
			return err
		})
	}
	return cmd
}

// leftOf says what a step has in the store; "" where the store does not know it.
func (p *Program) leftOf(ctx context.Context, ops *operate.Operations, step string) (string, error) {
	i, err := ops.Store.Info(ctx)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(i.Steps, func(s operate.StepInfo) bool { return s.Step == step })
	if at < 0 {
		return "", nil
	}
	return remains(i.Steps[at].Entries, i.Steps[at].Waiting), nil
}

func remains(entries, messages int64) string {
	return plural(int(entries), "entry", "entries") + " of state and " + plural(int(messages), "message", "messages")
}

// confirm asks; no answer is no.
func (p *Program) confirm(question string) (bool, error) {
	if !isTerminal(p.Stdin) {
		return false, usagef("say --yes, or ask on a terminal", "this is for good, and nobody can be asked here")
	}
	p.printf("%s [y/N] ", question)
	line, err := bufio.NewReader(p.Stdin).ReadString('\n')
	if err != nil {
		return false, nil //nolint:nilerr // no answer is no
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	p.printf("nothing was done\n")
	return false, nil
}

func (p *Program) showMoved(m *operate.StepMoved) error {
	if p.asJSON {
		return writeJSON(p.Stdout, m)
	}
	line := fmt.Sprintf("%s of %s dropped", remains(m.Entries, m.Messages), m.Step)
	if m.To != "" {
		line = fmt.Sprintf("%s of %s belong to %s now", remains(m.Entries, m.Messages), m.Step, m.To)
	}
	_, err := fmt.Fprintln(p.Stdout, line)
	return err
}
