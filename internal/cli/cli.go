package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

// The exit codes. They are part of the interface: see [exitHelp].
const (
	ExitOK          = 0   // all went well
	ExitFailed      = 1   // a run, a test or an evaluation failed
	ExitConfig      = 2   // the configuration is wrong
	ExitDead        = 3   // messages were dead-lettered, with --fail-on-dead
	ExitChanges     = 4   // plan --fail-on-change: there is something to make or change
	ExitUsage       = 64  // the command line is wrong (EX_USAGE of sysexits.h)
	ExitInterrupted = 130 // interrupted twice, stopped at once (128 + SIGINT)
)

const exitHelp = `Exit codes:
    0  all went well
    1  the run failed, tests failed, an expression failed
    2  the configuration is wrong
    3  messages were dead-lettered, with --fail-on-dead
    4  brokers need something that is not there yet, with plan --fail-on-change
   64  the command line is wrong
  130  interrupted twice: stopped at once`

// Program is one invocation of the command line.
type Program struct {
	Service *control.Service
	Version control.Version
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string // nil: the process's environment
	// Signals starts delivery of interrupts and returns how to stop it; nil: SIGINT and SIGTERM.
	Signals func() (<-chan os.Signal, func())
	// Hangups starts delivery of what asks a run to reload and returns how to stop it; nil: SIGHUP, but in a terminal.
	Hangups func() (<-chan os.Signal, func())

	args    []string
	started bool // a command was found and its flags are right
	asJSON  bool // errors are written as JSON, to machine
	machine io.Writer
	color   styles
}

// Run executes the command that args (without the program's name) say, and returns the exit code.
func (p *Program) Run(args []string) (code int) {
	p.args = args
	if p.Getenv == nil {
		p.Getenv = os.Getenv
	}
	if p.Signals == nil {
		p.Signals = processSignals
	}
	p.color = newStyles(p.Stderr, p.Getenv)
	p.machine = p.Stdout
	defer func() {
		if v := recover(); v != nil {
			p.report(&penstock.Error{Code: penstock.Internal, Err: &control.Fault{Cause: v, Stack: debug.Stack()}, Hint: faultHint})
			code = ExitFailed
		}
	}()
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return ExitOK
	}
	if !p.started {
		err = p.usage(root, cmd, args, err)
	}
	return p.report(err)
}

const faultHint = "this is a fault of penstock itself, please report it; PENSTOCK_DEBUG=1 shows where it happened"

func processSignals() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c, func() { signal.Stop(c) }
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "Flows between applications, declared in YAML, proved before they run",
		Long: `Penstock runs the flow of data between applications: declared in YAML, proved before it
runs, and run by this one program.

A first flow:
  penstock init hello     writes a flow, its schema, its test and sample data
  cd hello
  penstock run            runs it
  penstock test           tests it

` + exitHelp,
		Version:                    p.Version.Version,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:           func(*cobra.Command, []string) { p.started = true },
	}
	root.SetVersionTemplate("penstock {{.Version}}\n")
	root.AddGroup(
		&cobra.Group{ID: "make", Title: "Make and run:"},
		&cobra.Group{ID: "look", Title: "Look into:"},
		&cobra.Group{ID: "operate", Title: "Operate what runs, and its store:"},
		&cobra.Group{ID: "about", Title: "About:"},
	)
	for _, c := range []*cobra.Command{p.initCommand(), p.devCommand(), p.runCommand(), p.checkCommand(), p.planCommand(), p.testCommand(), p.connectorCommand(), p.buildCommand()} {
		c.GroupID = "make"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{p.evalCommand(), p.samplesCommand(), p.graphCommand(), p.explainCommand(), p.schemaCommand(), p.lspCommand()} {
		c.GroupID = "look"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{p.psCommand(), p.topCommand(), p.tapCommand(), p.sendCommand(), p.pauseCommand(), p.resumeCommand(), p.reloadCommand(), p.drainCommand(), p.dlqCommand(), p.traceCommand(), p.eventsCommand(), p.viewCommand(), p.jobsCommand(), p.storeCommand(), p.backupCommand(), p.observeCommand()} {
		c.GroupID = "operate"
		root.AddCommand(c)
	}
	root.SetHelpCommand(p.helpCommand())
	for _, c := range []*cobra.Command{p.versionCommand(), p.completionCommand()} {
		c.GroupID = "about"
		root.AddCommand(c)
	}
	return root
}

// usageError is a wrong command line.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usagef(hint, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), hint: hint}
}

// usage makes what cobra says of a wrong command line ours: one line and where to look.
func (p *Program) usage(root, cmd *cobra.Command, args []string, err error) error {
	var u *usageError
	if errors.As(err, &u) {
		return u
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	hint := "see " + cmd.CommandPath() + " --help"
	switch {
	case strings.HasPrefix(text, "unknown command"):
		word := firstWord(args)
		text = fmt.Sprintf("there is no command called %q", word)
		if near := control.Nearest(word, commandNames(root)); near != "" {
			hint = "did you mean penstock " + near + "?"
		}
	case strings.HasPrefix(text, "unknown flag: "):
		flag := strings.TrimPrefix(text, "unknown flag: ")
		text = fmt.Sprintf("%s has no flag %s", cmd.CommandPath(), flag)
		if near := control.Nearest(strings.TrimLeft(flag, "-"), flagNames(cmd)); near != "" {
			hint = "did you mean --" + near + "?"
		}
	case strings.HasPrefix(text, "unknown shorthand flag: "):
		flag := text[strings.LastIndex(text, "-"):]
		text = fmt.Sprintf("%s has no flag %s", cmd.CommandPath(), flag)
	}
	return &usageError{message: text, hint: hint}
}

func firstWord(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

func commandNames(root *cobra.Command) []string {
	var out []string
	for _, c := range root.Commands() {
		out = append(out, c.Name())
	}
	return out
}
