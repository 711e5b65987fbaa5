// Package exec runs other programs: it asks one (call), hands messages to one (to), or reads what a long-running one writes (from).
// Programs are started as they are, with a list of arguments and no shell between, in a clean environment, and only those that the
// Integration or the command line allows.
package exec

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// Process is what is said of a program in all uses.
type Process struct {
	// Environment variables beside PATH=/usr/local/bin:/usr/bin:/bin, LANG=C.UTF-8 and TZ=UTC, which may be replaced here. Nothing else of
	// penstock's own environment is handed on.
	Environment map[string]penstock.Template `json:"environment"`
	// Environment variables that hold secrets.
	Secrets map[string]penstock.Secret `json:"secrets"`
	// The folder that it runs in. Default: the one that penstock was started in.
	Directory penstock.Template `json:"directory"`
}

// Run is what is said of a program that is started for each message.
type Run struct {
	// How long it may take, beside the step's timeout. Then it is killed, with everything that it has started, and the message fails with timeout.
	MaxTime penstock.Duration `json:"maxTime" penstock:"default=1m,min=1ms"`
	// What its exit codes mean, by number: `{ 2: notFound, 3: limited }`. 0 is success. Left out, 75 is unavailable, 69 unavailable, 77 forbidden, 65 invalid (as
	// sysexits.h has them), and every other one is unprocessable.
	Codes map[string]penstock.Code `json:"codes"`
}

// CallConfig is the configuration of the caller.
type CallConfig struct {
	// The program, by its absolute path, and its arguments, one by one. The program is fixed; an argument may vary by message. It is handed over as it
	// is: spaces, quotes and dollars have no meaning, since no shell reads it. One that begins with what varies must not begin with a hyphen, by which it would become an option:
	// such a message fails with invalid, unless the argument `--` stands before.
	Command []penstock.Template `json:"command" penstock:"required,nonempty,place=plain"`
	// What goes to its standard input, a data tree. Default: the message's body.
	Input penstock.DataTree `json:"input"`
	// How its standard output is read, once it has ended: as one document. An output of nothing is null.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// How the input is written.
	InputFormat penstock.Format `json:"inputFormat" penstock:"default=json"`
	// What the result is. output: what it writes. full: an object of exit (the exit code), output and errors (the end of what it writes to its standard error);
	// no exit code is a failure then.
	Reply string `json:"reply" penstock:"enum=output|full,default=output"`
	// The most that it may write; more is the failure tooLarge, and it is killed.
	MaxOutput penstock.Size `json:"maxOutput" penstock:"default=16Mi,min=1"`
	Process
	Run
}

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The program, by its absolute path, and its arguments, one by one. It is started for each message, which is written when it has ended with exit code 0.
	// The program is fixed; an argument may vary by message, and is handed over as it is, with no shell between. One that begins with what varies must not begin with a
	// hyphen, unless the argument `--` stands before.
	Command []penstock.Template `json:"command" penstock:"required,nonempty,place=plain"`
	// How a message is written to its standard input.
	InputFormat penstock.Format `json:"inputFormat" penstock:"default=json"`
	Process
	Run
}

// SourceConfig is the configuration of the source.
type SourceConfig struct {
	// The program, by its absolute path, and its arguments, one by one.
	Command []penstock.Template `json:"command" penstock:"required,nonempty"`
	// How its standard output is cut into messages. What it writes to its standard error goes to the log, line by line.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// The largest message.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,default=16Mi"`
	// When it is started again, after a pause that grows: onFailure, when it ends with another exit code than 0; always; or never. Where it is not started
	// again, exit code 0 ends the source, and another one is an error. With `--once` it is never started again.
	Restart string `json:"restart" penstock:"enum=onFailure|always|never,default=onFailure"`
	// How long it may take to end when it is asked to (by SIGTERM). Then it is killed, with everything that it has started.
	Grace penstock.Duration `json:"grace" penstock:"default=5s,min=0s"`
	Process
}

// Register adds the drivers.
func Register(r *penstock.Registry) {
	penstock.RegisterCaller(r, penstock.Spec{
		Name:    "exec",
		Summary: "Runs a program for each message: the message goes to its standard input, and what it writes is the answer. Off unless `allow` or `--allow-exec` names the program.",
	}, NewCaller)
	penstock.RegisterSink(r, penstock.Spec{
		Name:    "exec",
		Summary: "Runs a program for each message, which goes to its standard input. Off unless `allow` or `--allow-exec` names the program.",
	}, NewSink)
	penstock.RegisterSource(r, penstock.Spec{
		Name:    "exec",
		Summary: "Reads what a program writes, while it runs. What was in flight when penstock died is lost. Off unless `allow` or `--allow-exec` names the program.",
		Settle:  penstock.Cumulative,
		Finite:  true,
	}, NewSource)
}

// needs are the permissions that a command wants.
func needs(command []penstock.Template) []penstock.Permission {
	if len(command) == 0 || !filepath.IsAbs(command[0].Source) { // that is said already
		return nil
	}
	return []penstock.Permission{{Kind: "exec", What: command[0].Source, Pos: command[0].Pos}}
}

// Needs implements penstock.Restricted.
func (c *CallConfig) Needs() []penstock.Permission { return needs(c.Command) }

// Needs implements penstock.Restricted.
func (c *SinkConfig) Needs() []penstock.Permission { return needs(c.Command) }

// Needs implements penstock.Restricted.
func (c *SourceConfig) Needs() []penstock.Permission { return needs(c.Command) }

// shells run a text that stands behind -c.
var shells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "busybox"}

func checkCommand(command []penstock.Template) (errs []error) {
	if len(command) == 0 {
		return nil // said already
	}
	program := command[0].Source
	switch {
	case strings.Contains(program, "${"):
		return []error{errors.New("the program is fixed: name it, and let only its arguments vary")}
	case !filepath.IsAbs(program) || path.Clean(filepath.ToSlash(program)) != filepath.ToSlash(program):
		errs = append(errs, fmt.Errorf("the program is named by its absolute path, as in /usr/bin/jq; `%s` is none", program))
	}
	if !slices.Contains(shells, path.Base(program)) {
		return errs
	}
	for i := 1; i+1 < len(command); i++ {
		if a := command[i].Source; strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.HasSuffix(a, "c") && strings.Contains(command[i+1].Source, "${") {
			errs = append(errs, errors.New("a shell would run what a message brings along: keep the text behind -c fixed, and hand values over as arguments of their own, "+
				"as in [ /bin/sh, -c, 'echo \"$1\"', sh, \"${body.name}\" ]"))
		}
	}
	return errs
}

func (p Process) check() (errs []error) {
	for name := range p.Environment {
		errs = append(errs, checkVariable(name)...)
		if _, twice := p.Secrets[name]; twice {
			errs = append(errs, fmt.Errorf("the variable %s stands under environment and under secrets", name))
		}
	}
	for name := range p.Secrets {
		errs = append(errs, checkVariable(name)...)
	}
	return errs
}

func checkVariable(name string) []error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return []error{fmt.Errorf("`%s` can't be the name of an environment variable", name)}
	}
	return nil
}

func (r Run) check() (errs []error) {
	for text := range r.Codes {
		if n, err := strconv.Atoi(text); err != nil || n < 1 || n > 255 {
			errs = append(errs, fmt.Errorf("codes: `%s` is no exit code of a failure, from 1 to 255", text))
		}
	}
	return errs
}

// Validate implements penstock.Resolver.
func (c *CallConfig) Validate() []error {
	return slices.Concat(checkCommand(c.Command), c.Process.check(), c.Run.check())
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() []error {
	return slices.Concat(checkCommand(c.Command), c.Process.check(), c.Run.check())
}

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() []error {
	return slices.Concat(checkCommand(c.Command), c.check())
}

// ReplyType implements penstock.Rowed.
func (c *CallConfig) ReplyType(output *types.Type) *types.Type {
	if c.Format.Name == "csv" {
		output = types.ListOf(output)
	}
	if c.Reply != "full" {
		return output
	}
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "exit", Type: types.IntType, Required: true}, {Name: "output", Type: output, Required: true}, {Name: "errors", Type: types.StringType, Required: true},
	}}
}
