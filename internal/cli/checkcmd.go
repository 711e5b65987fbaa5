package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) checkCommand() *cobra.Command {
	var flags projectFlags
	var strict, verbose, online bool
	cmd := &cobra.Command{
		Use:   "check [paths…]",
		Short: "Find what is wrong before it runs",
		Long: `Reads and compiles the configuration in files and folders (default: the current folder)
and shows everything that is wrong with it, all at once: place, line, and what to do.
Then it says, for each flow, what it gives: how often an effect of a message may happen
and what order the output has, derived from its sources, steps and sinks; and how many
of the paths that its expressions read have a static type. Where that is less than what
the flow declares, or with --verbose, it says why, and with --verbose what would mend it.

It asks nobody else, but with --online: then the registries of schemas say whether what the formats write is compatible
with what was written under the same subjects before, and the store whether the schemas of events go with the events that it has.

Exit code 0 if it can run, 2 if it can't.`,
		Example:           "  penstock check\n  penstock check --verbose\n  penstock check flows/ -o json\n  penstock check -o sarif > penstock.sarif\n  penstock check --strict --param drop=./data",
		ValidArgsFunction: yamlFiles,
	}
	flags.add(cmd, p)
	cmd.Flags().BoolVar(&strict, "strict", false, "reading an optional or nullable field bare is an error, and any warning fails the check")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "say of every flow why it gives what it gives")
	cmd.Flags().BoolVar(&online, "online", false, "ask the registries of schemas and the store, too")
	out := choiceFlag(cmd, "output", "o", "what is written; sarif is SARIF 2.1.0, which code hosts show beside the lines of a change", "text", "json", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value != "text"
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		c := p.Service.Check(pr, strict)
		if online {
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			if err := p.Service.CheckOnline(ctx, c); err != nil {
				return err
			}
		}
		switch out.value {
		case "json":
			err = writeJSON(p.Stdout, c)
		case "sarif":
			err = writeJSON(p.Stdout, sarifOf(c, p.Version.Version))
		default:
			err = p.showChecked(c, verbose)
		}
		if err == nil && !c.OK {
			err = exitWith(ExitConfig)
		}
		return err
	}
	return cmd
}

func (p *Program) showChecked(c *control.Checked, verbose bool) error {
	color := newStyles(p.Stdout, p.Getenv)
	showFindings(p.Stdout, color, &sources{}, c.Findings)
	if len(c.Findings) > 0 && len(c.Flows) > 0 {
		_, _ = fmt.Fprintln(p.Stdout)
	}
	for _, f := range c.Flows {
		p.showFlow(color, f, verbose)
	}
	verdict := color.green("all is well")
	switch t := tally(c.Errors, c.Warnings); {
	case c.Errors > 0:
		verdict = color.red(t)
	case !c.OK:
		verdict = color.red(t + ", and --strict lets none pass")
	case c.Warnings > 0:
		verdict = color.yellow(t)
	}
	_, err := fmt.Fprintln(p.Stdout, verdict)
	return err
}

// showFlow writes what a flow gives and how much of it is typed: "orders: at-least-once, order per-key, 41 of 44 paths typed (93%)";
// below it why it is less than what is declared, or with verbose why it is as it is.
func (p *Program) showFlow(color styles, f control.FlowFact, verbose bool) {
	delivery, order := f.Delivery, "order "+f.Order
	if f.Within != "" {
		delivery += " within " + f.Within
	}
	var less [2]bool // of delivery, of order
	for _, r := range f.Reasons {
		less[0], less[1] = less[0] || r.Breaks && r.Delivery != "", less[1] || r.Breaks && r.Order != ""
	}
	if less[0] {
		delivery = color.yellow(delivery + ", not " + f.Declared)
	}
	if less[1] && f.Order != f.Asked {
		order = color.yellow(order + ", not " + f.Asked)
	}
	_, _ = fmt.Fprintf(p.Stdout, "%s: %s, %s, %s\n", f.Flow, delivery, order, coverage(f))
	for _, r := range f.Reasons {
		if verbose || r.Breaks {
			_, _ = fmt.Fprintf(p.Stdout, "    %s: %s\n", color.bold(r.Step), r.Text)
		}
		if verbose && r.Hint != "" {
			_, _ = fmt.Fprintf(p.Stdout, "        %s %s\n", color.dim("hint:"), r.Hint)
		}
	}
}

// coverage is like "41 of 44 paths typed (93%)".
func coverage(f control.FlowFact) string {
	if f.Total == 0 {
		return "reads no paths"
	}
	return fmt.Sprintf("%s of %s typed (%d%%)", count(int64(f.Typed)), plural(f.Total, "path", "paths"), f.Percent)
}
