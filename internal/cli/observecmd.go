package cli

import (
	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) observeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Write what others watch flows with: alerts and dashboards",
		Long: `Writes files for Prometheus and Grafana, made of the configuration. The metrics that they
speak of are those of penstock run --control.`,
	}
	cmd.AddCommand(
		p.observeFile("rules", "Write alerts for Prometheus, of what policies expect of flows", `Writes the recording and alerting rules of the service level objectives that policies set
(slo), as a rule file of Prometheus: an alert when the error budget is used up too fast,
over a long and a short window each. promtool check rules reads it.`,
			"  penstock observe rules -o rules.yml\n  promtool check rules rules.yml", (*control.Checked).Rules),
		p.observeFile("dashboard", "Write a dashboard for Grafana", `Writes a dashboard of all flows, as JSON that Grafana imports or is provisioned with: of
each flow its rates, errors and latency, its objectives, the lag of what it reads, dead
letters and breakers.`,
			"  penstock observe dashboard -o shop.json", (*control.Checked).Dashboard),
	)
	return cmd
}

func (p *Program) observeFile(name, short, long, example string, write func(*control.Checked) ([]byte, error)) *cobra.Command {
	var flags projectFlags
	var file string
	cmd := &cobra.Command{Use: name + " [paths…]", Short: short, Long: long, Example: example, ValidArgsFunction: yamlFiles}
	flags.add(cmd, p)
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` that is written (default: standard output)")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		c := p.Service.Check(pr, false)
		if c.Errors > 0 {
			showFindings(p.Stderr, p.color, &sources{}, c.Findings)
			p.printf("%s; nothing was written\n", p.color.red(tally(c.Errors, c.Warnings)))
			return exitWith(ExitConfig)
		}
		text, err := write(c)
		if err != nil {
			return err
		}
		return p.writeResult(file, text)
	}
	return cmd
}
