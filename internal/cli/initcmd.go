package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (p *Program) initCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "init [dir]",
		Short: "Write a first flow, with its schema, its tests and sample data",
		Long: `Writes a configuration that runs as it is into a folder (default: the current one): a flow
over sample data, its schema and its tests. It overwrites nothing.`,
		Example: "  penstock init hello\n  cd hello && penstock run",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("write penstock init hello", "init takes one folder, and here are %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`name` of the integration (default: that of the folder)")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		dir := "."
		if len(args) == 1 {
			dir = args[0]
		}
		made, err := p.Service.Initialize(dir, name)
		if err != nil {
			return err
		}
		if p.asJSON {
			return writeJSON(p.Stdout, made)
		}
		var b strings.Builder
		for _, f := range made.Files {
			fmt.Fprintf(&b, "wrote %s\n", filepath.Join(dir, f))
		}
		b.WriteString("\nnow try:\n")
		if dir != "." {
			fmt.Fprintf(&b, "  cd %s\n", dir)
		}
		b.WriteString("  penstock check\n  penstock test\n  penstock run\n")
		_, err = fmt.Fprint(p.Stdout, b.String())
		return err
	}
	return cmd
}
