package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) connectorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connector",
		Short: "Write a connector of your own",
		Long: `Penstock's own connectors stand on the same public packages that a connector of yours would, and pass the
same suites. A connector is a Go module; penstock build makes a program that contains it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.connectorNewCommand())
	return cmd
}

func (p *Program) connectorNewCommand() *cobra.Command {
	var o control.ConnectorOptions
	cmd := &cobra.Command{
		Use:   "new <name>",
		Short: "Write the module of a connector: source, sink, tests, page and example",
		Long: `Writes a Go module with a source and a sink that work as they are, over a file with a document a line (a journal), the
test that runs the suites which every connector passes, a page and an example. Replace the journal by your system.
It overwrites nothing.

The module requires Penstock in the version of this program. Where that is no release, name a clone of its source.`,
		Example: "  penstock connector new acme --module github.com/acme/penstock-acme\n  penstock connector new acme --source ../penstock",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("write penstock connector new acme", "connector new takes one name, and here are %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&o.Module, "module", "", "`path` of the Go module (default: example.com/<name>)")
	f.StringVar(&o.Dir, "dir", "", "`folder` that is written (default: called like the connector)")
	f.StringVar(&o.Source, "source", "", "`folder` with the source of Penstock, where it is not taken from a release")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		o.Name, o.Version = args[0], p.release()
		made, err := p.Service.NewConnector(o)
		if err != nil {
			return err
		}
		if p.asJSON {
			return writeJSON(p.Stdout, made)
		}
		var b strings.Builder
		for _, name := range made.Files {
			fmt.Fprintf(&b, "wrote %s\n", filepath.Join(made.Dir, name))
		}
		module, source := o.Module, ""
		if module == "" {
			module = "example.com/" + o.Name
		}
		if o.Source != "" {
			source = " --source " + o.Source
		}
		if o.Source == "" && o.Version == "" {
			fmt.Fprintf(&b, "\nThis Penstock is no release, so that the Go tool finds nothing of the version that %s requires.\nName a clone of its source: --source <folder>, here and for penstock build; or (cd %s && go mod edit -replace penstock.dev/penstock=<folder>)\n",
				filepath.Join(made.Dir, "go.mod"), made.Dir)
			source = " --source <folder>"
		}
		fmt.Fprintf(&b, "\nnow try:\n  (cd %s && go mod tidy && go test ./...)\n  penstock build --with %s=%s%s -o penstock-%s\n  cd %s/example && ../../penstock-%s run --once\n",
			made.Dir, module, made.Dir, source, o.Name, made.Dir, o.Name)
		_, err = fmt.Fprint(p.Stdout, b.String())
		return err
	}
	return cmd
}

// release is the version of this program, if it is one; else "".
func (p *Program) release() string {
	if strings.HasPrefix(p.Version.Version, "v") && !strings.Contains(p.Version.Version, "-0.") && !strings.Contains(p.Version.Version, "+") {
		return p.Version.Version
	}
	return ""
}

func (p *Program) buildCommand() *cobra.Command {
	o := control.BuildOptions{}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a program that has connectors of other modules, too",
		Long: `Builds a Penstock with everything that the standard edition has, and the connectors, codecs or secret providers of
other Go modules. It needs the Go tool, and nothing of it stays but the program.

A module is written as module (the newest version), module@version, or module=path for a folder.`,
		Example: "  penstock build --with github.com/acme/penstock-acme@v1.2.3 -o penstock-acme\n  penstock build --with example.com/acme=./acme",
		Args:    noArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.With, "with", nil, "`module`[@version | =path] whose drivers are added; repeatable")
	f.StringVar(&o.Version, "version", "", "`version` of Penstock (default: that of this program)")
	f.StringVar(&o.Source, "source", "", "`folder` with the source of Penstock, in place of a release")
	f.StringArrayVar(&o.Replace, "replace", nil, "`module=path`: take a module that others require from a folder; repeatable")
	f.StringVarP(&o.Output, "output", "o", "penstock", "`file` that is written")
	asJSON := f.Bool("json", false, "say as JSON what was built")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = *asJSON
		if o.Version == "" {
			o.Version = p.release()
		}
		o.Log = p.Stderr
		built, err := p.Service.Build(cmd.Context(), o)
		if err != nil {
			return err
		}
		if p.asJSON {
			return writeJSON(p.Stdout, built)
		}
		_, err = fmt.Fprintf(p.Stdout, "built %s (%.1f MiB)\n", built.File, float64(built.Size)/(1<<20))
		return err
	}
	return cmd
}
