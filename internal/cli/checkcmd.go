package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) checkCommand() *cobra.Command {
	var flags projectFlags
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [paths…]",
		Short: "Find what is wrong before it runs",
		Long: `Reads and compiles the configuration in files and folders (default: the current folder)
and shows everything that is wrong with it, all at once: place, line, and what to do.
Then it says, for each flow, how many of the paths that its expressions read have a
static type.

Exit code 0 if it can run, 2 if it can't.`,
		Example:           "  penstock check\n  penstock check flows/ -o json\n  penstock check --strict --param drop=./data",
		ValidArgsFunction: yamlFiles,
	}
	flags.add(cmd, p)
	cmd.Flags().BoolVar(&strict, "strict", false, "reading an optional or nullable field bare is an error, and any warning fails the check")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		c := p.Service.Check(pr, strict)
		if p.asJSON {
			err = writeJSON(p.Stdout, c)
		} else {
			err = p.showChecked(c)
		}
		if err == nil && !c.OK {
			err = exitWith(ExitConfig)
		}
		return err
	}
	return cmd
}

func (p *Program) showChecked(c *control.Checked) error {
	color := newStyles(p.Stdout, p.Getenv)
	showFindings(p.Stdout, color, &sources{}, c.Findings)
	if len(c.Findings) > 0 && len(c.Flows) > 0 {
		_, _ = fmt.Fprintln(p.Stdout)
	}
	for _, f := range c.Flows {
		_, _ = fmt.Fprintln(p.Stdout, coverage(f))
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

// coverage is a line like "orders: 41 of 44 paths typed (93%)".
func coverage(f control.FlowCoverage) string {
	if f.Total == 0 {
		return f.Flow + ": reads no paths"
	}
	return fmt.Sprintf("%s: %s of %s typed (%d%%)", f.Flow, count(int64(f.Typed)), plural(f.Total, "path", "paths"), f.Percent)
}
