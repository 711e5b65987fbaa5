package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (p *Program) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  noArgs,
	}
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		v := p.Version
		if out.value == "json" {
			return writeJSON(p.Stdout, v)
		}
		line := "penstock " + v.Version
		if v.Commit != "" {
			line += " (" + clip(v.Commit, 13)
			if v.Modified {
				line += ", modified"
			}
			line += ")"
		}
		_, err := fmt.Fprintf(p.Stdout, "%s\nlanguage %s\n%s %s\n", line, v.Language, v.Go, v.Platform)
		return err
	}
	return cmd
}
