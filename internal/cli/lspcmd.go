package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/lsp"
)

func (p *Program) lspCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lsp",
		Short: "Serve an editor: findings, completion, types",
		Long: `Speaks the Language Server Protocol over standard input and output. Editors start it: it
shows what check finds while one types, completes words of the language, names and the
paths of expressions, tells the type of what the cursor is on, and goes to where a
resource is declared.

A file belongs to the nearest folder above it that holds an Integration, inside the
workspace; without one, to its own folder. docs/editors.md has settings for VS Code,
Neovim and Helix.`,
		Example: "  penstock lsp",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			return lsp.Serve(ctx, p.Service, p.Version.Version, io.NopCloser(p.Stdin), nopCloser{p.Stdout})
		},
	}
}

type nopCloser struct{ io.Writer }

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }
