package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

func (p *Program) planCommand() *cobra.Command {
	var flags projectFlags
	var flows []string
	var all, failOnChange bool
	cmd := &cobra.Command{
		Use:   "plan [paths…]",
		Short: "Show what would be made on brokers",
		Long: `Asks the brokers that the configuration names how everything stands that its channels and flows need there
(topics, streams, queues, and who reads them), and shows what penstock run would make or change before it begins. Nothing is
changed by it.

  + is not there and will be made      ! is otherwise than it should be, or may not be made: a person decides
  ~ will be changed, losing nothing    = is as it should be (with --all)

Nothing is ever deleted, by penstock plan or by penstock run. What is in conflict stops a run before it reads anything, and so does
an event of an entity whose schema was changed, and its version not, where the store has such events that may not fit.

Exit code 0 if a run could begin, 1 if a broker could not be asked, 2 if something is in conflict or the configuration is wrong,
and with --fail-on-change 4 if there is something to make or change.`,
		Example:           "  penstock plan\n  penstock plan -k overlays/production\n  penstock plan flows/ -o json --fail-on-change",
		ValidArgsFunction: yamlFiles,
	}
	flags.add(cmd, p)
	cmd.Flags().StringArrayVar(&flows, "flow", nil, "only what the flow of this `name` needs, and those that it feeds; may be given many times")
	cmd.Flags().BoolVar(&all, "all", false, "show also what is as it should be")
	cmd.Flags().BoolVar(&failOnChange, "fail-on-change", false, "exit code 4 if there is something to make or change")
	p.completeWith(cmd, "flow", func(n control.Names) []string { return n.Flows }, 0)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		c := p.Service.Check(pr, false)
		if !c.OK {
			showFindings(p.Stderr, p.color, &sources{}, c.Findings)
			return exitWith(ExitConfig)
		}
		ctx, stop := p.interruptible(cmd.Context())
		defer stop()
		if err := p.Service.CheckHistory(ctx, c); err != nil {
			return err
		}
		if !c.OK {
			showFindings(p.Stderr, p.color, &sources{}, c.Findings)
			return exitWith(ExitConfig)
		}
		pl, err := p.Service.Plan(ctx, c, flows)
		if err != nil {
			return err
		}
		if p.asJSON {
			err = writeJSON(p.Stdout, pl)
		} else {
			err = p.showPlan(pl, all)
		}
		switch {
		case err != nil:
			return err
		case pl.Conflicts > 0:
			return exitWith(ExitConfig)
		case !pl.OK:
			return exitWith(ExitFailed)
		case failOnChange && pl.Creates+pl.Changes > 0:
			return exitWith(ExitChanges)
		}
		return nil
	}
	return cmd
}

// showPlan writes a plan for people.
func (p *Program) showPlan(pl *control.BrokerPlan, all bool) error {
	var b strings.Builder
	c := newStyles(p.Stdout, p.Getenv)
	for _, n := range pl.Needs {
		lines := planLines(c, n, all)
		if len(lines) == 0 {
			continue
		}
		who := n.Endpoint
		if n.Channel != "" {
			who = "channel " + n.Channel
		}
		at := ""
		if n.Connection != "" {
			at = c.dim(" by connection " + n.Connection)
		}
		fmt.Fprintf(&b, "%s on %s%s\n%s", c.bold(who), n.Broker, at, strings.Join(lines, ""))
	}
	switch {
	case len(pl.Needs) == 0:
		b.WriteString("nothing here needs anything on a broker\n")
	case pl.OK && pl.Creates+pl.Changes == 0:
		b.WriteString(c.green("everything is as it should be") + "\n")
	default:
		parts := []string{fmt.Sprintf("%d to create", pl.Creates), fmt.Sprintf("%d to change", pl.Changes)}
		if pl.Conflicts > 0 {
			parts = append(parts, c.red(plural(pl.Conflicts, "conflict", "conflicts")))
		}
		if pl.Failures > 0 {
			parts = append(parts, c.red(plural(pl.Failures, "failure", "failures")))
		}
		b.WriteString(strings.Join(parts, ", ") + "\n")
	}
	_, err := p.Stdout.Write([]byte(b.String()))
	return err
}

// planLines say what would become of what one channel or endpoint needs.
func planLines(c styles, n control.BrokerNeed, all bool) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if n.Error != nil {
		add("  %s %s\n", c.red("!"), visible(n.Error.Message))
		if n.Error.Hint != "" {
			add("      %s %s\n", c.dim("hint:"), visible(n.Error.Hint))
		}
	}
	for _, o := range n.Objects {
		switch o.Action {
		case penstock.ObjectCreate:
			add("  %s %s %s%s\n", c.green("+"), o.Kind, visible(o.Name), settings(o.Settings, false))
		case penstock.ObjectChange:
			add("  %s %s %s%s\n", c.yellow("~"), o.Kind, visible(o.Name), settings(o.Settings, true))
		case penstock.ObjectConflict:
			add("  %s %s\n", c.red("!"), visible(o.Text))
			if o.Hint != "" {
				add("      %s %s\n", c.dim("hint:"), visible(o.Hint))
			}
		case penstock.ObjectKeep:
			if all {
				add("  %s %s %s\n", c.dim("="), o.Kind, visible(o.Name))
			}
		}
	}
	return lines
}

func settings(all []penstock.ObjectSetting, was bool) string {
	var parts []string
	for _, s := range all {
		switch {
		case was && s.Is != "":
			parts = append(parts, s.Name+" "+visible(s.Is)+" → "+visible(s.Want))
		default:
			parts = append(parts, s.Name+" "+visible(s.Want))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}
