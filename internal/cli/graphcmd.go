package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) graphCommand() *cobra.Command {
	var flags projectFlags
	var flows []string
	var file string
	cmd := &cobra.Command{
		Use:   "graph [paths…]",
		Short: "Draw the flows",
		Long: `Draws the flows of the configuration in files and folders (default: the current folder):
as Mermaid text, which code hosts show in Markdown, as an SVG picture, or as data.`,
		Example:           "  penstock graph\n  penstock graph --out flows.svg\n  penstock graph -o json | jq .edges",
		ValidArgsFunction: yamlFiles,
	}
	flags.add(cmd, p)
	cmd.Flags().StringArrayVar(&flows, "flow", nil, "draw only the flow of this `name`, and those that it feeds; may be given many times")
	cmd.Flags().StringVar(&file, "out", "", "`file` that is written (default: standard output); .svg, .mmd or .json says the format")
	p.completeWith(cmd, "flow", func(n control.Names) []string { return n.Flows }, cobra.ShellCompDirectiveDefault)
	out := choiceFlag(cmd, "output", "o", "what is written", "mermaid", "svg", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		format := out.value
		if !cmd.Flags().Changed("output") {
			switch strings.ToLower(filepath.Ext(file)) {
			case ".svg":
				format = "svg"
			case ".json":
				format = "json"
			case "", ".mmd", ".mermaid", ".md":
			default:
				return usagef("call it .svg, .mmd or .json, or say the format with -o", "the name of %s says no format", file)
			}
		}
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		c := p.Service.Check(pr, false)
		if c.Errors > 0 {
			showFindings(p.Stderr, p.color, &sources{}, c.Findings)
			p.printf("%s; nothing was drawn\n", p.color.red(tally(c.Errors, c.Warnings)))
			return exitWith(ExitConfig)
		}
		text, err := c.Graph(format, flows)
		if err != nil {
			return err
		}
		return p.writeResult(file, text)
	}
	return cmd
}
