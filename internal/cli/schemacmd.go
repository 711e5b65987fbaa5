package cli

import "github.com/spf13/cobra"

func (p *Program) schemaCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Write the JSON Schema of the language, for editors",
		Long: `Writes one JSON Schema of all kinds, with the connectors and codecs of this program.
Editors complete and check with it: put this line at the top of a file

  # yaml-language-server: $schema=penstock.schema.json`,
		Example: "  penstock schema -o penstock.schema.json",
		Args:    noArgs,
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` that is written (default: standard output)")
	cmd.RunE = func(*cobra.Command, []string) error {
		text, err := p.Service.Schema()
		if err != nil {
			return err
		}
		return p.writeResult(file, text)
	}
	return cmd
}
