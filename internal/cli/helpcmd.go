package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Say what a command does",
		GroupID: "about",
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return commandNames(cmd.Root()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				hint := "there are " + strings.Join(commandNames(cmd.Root()), ", ")
				if near := control.Nearest(args[0], commandNames(cmd.Root())); near != "" {
					hint = "did you mean penstock help " + near + "?"
				}
				return usagef(hint, "there is no command called %q", strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
