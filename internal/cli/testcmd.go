package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) testCommand() *cobra.Command {
	var flags projectFlags
	var o control.TestOptions
	cmd := &cobra.Command{
		Use:   "test [paths…]",
		Short: "Run the tests of flows",
		Long: `Runs the Test resources of the configuration in files and folders (default: the current
folder): whole flows with given messages, mocks and a clock of their own, so that a day
passes in no time. Nothing outside is touched.

Exit code 0 if all tests passed, 1 if one failed, 2 if the configuration is wrong.`,
		Example:           "  penstock test\n  penstock test --run 'large|late'\n  penstock test --update\n  penstock test -o junit > report.xml",
		ValidArgsFunction: yamlFiles,
	}
	flags.add(cmd, p)
	cmd.Flags().StringVar(&o.Run, "run", "", "run only tests whose name matches this `regexp`")
	cmd.Flags().BoolVar(&o.Update, "update", false, "rewrite golden files, and lists of messages that are expected exactly, with what was found")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json", "junit")
	p.completeWith(cmd, "run", func(n control.Names) []string { return n.Tests }, cobra.ShellCompDirectiveDefault)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		r, err := p.Service.Test(ctx, pr, o)
		var invalid *control.InvalidConfig
		switch {
		case errors.As(err, &invalid):
			if p.asJSON {
				return errors.Join(writeJSON(p.Stdout, &control.Checked{Errors: invalid.Errors, Warnings: invalid.Warnings, Findings: invalid.Findings, Flows: []control.FlowFact{}}), exitWith(ExitConfig))
			}
			showFindings(p.Stderr, p.color, &sources{}, invalid.Findings)
			p.printf("%s; nothing was tested\n", p.color.red(tally(invalid.Errors, invalid.Warnings)))
			return exitWith(ExitConfig)
		case err != nil:
			return err
		}
		switch out.value {
		case "json":
			err = r.WriteJSON(p.Stdout)
		case "junit":
			err = r.WriteJUnit(p.Stdout)
		default:
			err = r.WriteText(p.Stdout)
		}
		if err == nil && !r.Passed() {
			err = exitWith(ExitFailed)
		}
		return err
	}
	return cmd
}
