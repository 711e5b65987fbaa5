package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"penstock.dev/penstock/internal/control"
)

// choice is a flag that is one of a few words.
type choice struct {
	value   string
	options []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.options, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.options, s) {
		return fmt.Errorf("it is one of %s", strings.Join(c.options, ", "))
	}
	c.value = s
	return nil
}

// choiceFlag adds a flag that is one of options; the first is the default.
func choiceFlag(cmd *cobra.Command, name, short, usage string, options ...string) *choice {
	c := &choice{value: options[0], options: options}
	cmd.Flags().VarP(c, name, short, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(options, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	return c
}

// projectFlags are the flags that say which configuration is meant.
type projectFlags struct {
	overlay     string
	params      []string
	files       []string
	integration string
	allowExec   []string
}

func (f *projectFlags) add(cmd *cobra.Command, p *Program) {
	cmd.Flags().StringVarP(&f.overlay, "kustomize", "k", "", "`folder` of an overlay: a kustomization, which says by itself what it is laid over, or resources that are laid over those of the paths")
	_ = cmd.MarkFlagDirname("kustomize") // fails only for a flag that is not there
	cmd.Flags().StringArrayVar(&f.params, "param", nil, "value of a parameter, as `name=value`; may be given many times")
	cmd.Flags().StringArrayVar(&f.files, "params", nil, "YAML `file` of parameter values; later files win, and --param wins over all")
	cmd.Flags().StringVar(&f.integration, "integration", "", "the Integration `name` that is meant, where the files hold several")
	cmd.Flags().StringArrayVar(&f.allowExec, "allow-exec", nil, "`program`, by its absolute path, that the exec connector may start beside those that the Integration allows; may be given many times")
	_ = cmd.MarkFlagFilename("allow-exec") // fails only for a flag that is not there
	p.completeWith(cmd, "param", func(n control.Names) []string {
		for i := range n.Params {
			n.Params[i] += "="
		}
		return n.Params
	}, cobra.ShellCompDirectiveNoSpace)
}

// project reads what the flags and arguments say.
func (f *projectFlags) project(args []string) (control.Project, error) {
	pr := control.Project{Paths: args, Overlay: f.overlay, ParamFiles: f.files, Integration: f.integration, AllowExec: f.allowExec}
	for _, kv := range f.params {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return pr, usagef("write it as --param drop=./data", "--param %s has no value", kv)
		}
		if pr.Params == nil {
			pr.Params = map[string]string{}
		}
		pr.Params[name] = value
	}
	return pr, nil
}

// completeWith completes a flag with names out of the configuration that the arguments name.
func (p *Program) completeWith(cmd *cobra.Command, flag string, pick func(control.Names) []string, d cobra.ShellCompDirective) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) { // fails only for a flag that is not there
		return pick(p.Service.Names(control.Project{Paths: args})), cobra.ShellCompDirectiveNoFileComp | d
	})
}

// yamlFiles completes arguments that are configuration files or folders.
func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

func flagNames(cmd *cobra.Command) []string {
	var out []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			out = append(out, f.Name)
		}
	})
	return out
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("see "+cmd.CommandPath()+" --help", "%s takes no argument, and here is %q", cmd.CommandPath(), args[0])
	}
	return nil
}
