package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

// placeFlags say which store is meant, and which configuration goes with it.
type placeFlags struct {
	projectFlags
	store string
	paths []string
}

func (f *placeFlags) add(cmd *cobra.Command, p *Program) {
	f.projectFlags.add(cmd, p)
	cmd.Flags().StringVar(&f.store, "store", "", "path of the store's `file` (default: the Integration's, or .penstock/store.db)")
	cmd.Flags().StringArrayVarP(&f.paths, "file", "f", nil, "`path` of a file or folder of the configuration (default: the current folder); may be given many times")
	_ = cmd.MarkFlagFilename("store", "db")         // fails only for a flag that is not there
	_ = cmd.MarkFlagFilename("file", "yaml", "yml") // the same
}

func (f *placeFlags) place() (control.Place, error) {
	pr, err := f.project(f.paths)
	return control.Place{Store: f.store, Project: pr}, err
}

// flows completes the names of flows.
func (f *placeFlags) flows(p *Program) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return p.Service.Names(control.Project{Paths: f.paths}).Flows, cobra.ShellCompDirectiveNoFileComp
	}
}

// operate opens the operations of a place, does something with them, and closes them.
func (p *Program) operate(cmd *cobra.Command, f *placeFlags, do func(ctx context.Context, ops *operate.Operations) error) error {
	at, err := f.place()
	if err != nil {
		return err
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	ops, err := p.Service.Operate(ctx, at)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, ops), ops.Close())
}

// interruptible makes a context that ends with an interrupt.
func (p *Program) interruptible(parent context.Context) (context.Context, func()) {
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithCancelCause(parent)
	signals, release := p.Signals()
	quit := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(control.ErrInterrupted)
		case <-quit:
		}
	}()
	return ctx, func() {
		release()
		close(quit)
		cancel(nil)
	}
}

// group makes a command of the commands below it. Alone it is a wrong command line.
func (p *Program) group(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(below...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, c := range below {
			names = append(names, c.Name())
		}
		if len(args) == 0 {
			return usagef("see "+cmd.CommandPath()+" --help", "%s wants one of %s", cmd.CommandPath(), strings.Join(names, ", "))
		}
		hint := "there are " + strings.Join(names, ", ")
		if near := control.Nearest(args[0], names); near != "" {
			hint = "did you mean " + cmd.CommandPath() + " " + near + "?"
		}
		return usagef(hint, "%s has no command called %q", cmd.CommandPath(), args[0])
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args lets nothing through
	return cmd
}

// exactlyOne wants one argument.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("see "+cmd.CommandPath()+" --help", "%s wants %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

// atMostOne wants one argument or none.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("see "+cmd.CommandPath()+" --help", "%s wants at most %s, and here is also %q", cmd.CommandPath(), what, args[1])
		}
		return nil
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// size writes a number of bytes: 812 B, 3.4 MiB.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	unit := ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f /= 1024; f < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// stamp writes a time of day with its date.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// ago writes an age, where there is one.
func ago(seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	if seconds >= 48*3600 {
		return fmt.Sprintf("%dd", int(seconds/86400))
	}
	return elapsed(seconds)
}

// transient shows a line that is written over by the next one, on a terminal; elsewhere nothing.
func (p *Program) transient() (show func(format string, args ...any), done func()) {
	if p.asJSON || !isTerminal(p.Stderr) || p.Getenv("TERM") == "dumb" {
		return func(string, ...any) {}, func() {}
	}
	scr := &screen{w: p.Stderr}
	return func(format string, args ...any) {
		width, _ := terminalSize(p.Stderr)
		scr.show([]string{clip(fmt.Sprintf(format, args...), width-1)})
	}, func() { scr.show(nil) }
}
