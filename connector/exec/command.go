package exec

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"penstock.dev/penstock"
)

// command makes the arguments of a program for a message.
type command struct {
	templates []penstock.Template
	free      int // index of the first argument that may begin with a hyphen, being behind --
}

func newCommand(templates []penstock.Template) command {
	c := command{templates: templates, free: len(templates)}
	for i, t := range templates[1:] {
		if t.Source == "--" {
			c.free = i + 2
			break
		}
	}
	return c
}

// arguments evaluates them, the program first.
func (c command) arguments(f *penstock.Frame) ([]string, error) {
	argv := make([]string, len(c.templates))
	for i, t := range c.templates {
		text, err := textOf(t, f)
		switch {
		case err != nil:
			return nil, &penstock.Error{Code: penstock.CodeOf(err), Op: "exec", Path: fmt.Sprintf("argument %d", i), Err: err}
		case strings.IndexByte(text, 0) >= 0:
			return nil, penstock.E(penstock.Invalid, "exec", fmt.Sprintf("argument %d", i), "it has a zero byte, which no argument can hold")
		case i > 0 && i < c.free && strings.HasPrefix(text, "-") && strings.HasPrefix(t.Source, "${"):
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "exec", Path: fmt.Sprintf("argument %d", i), Err: errors.New("it begins with a hyphen, and would be taken for an option"),
				Hint: "put `--` before it in the command, or write it as --name=${…}, as the program has it"}
		}
		argv[i] = text
	}
	return argv, nil
}

func textOf(t penstock.Template, f *penstock.Frame) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	v := t.Program.Eval(f)
	if v.IsError() {
		return "", v.Err()
	}
	b, err := v.AppendText(nil)
	return string(b), err
}

// fixed evaluates what is the same for all messages.
func fixed(t penstock.Template, env penstock.Env) (string, error) {
	return textOf(t, &penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)})
}

// surroundings are what a process runs in.
type surroundings struct {
	directory string
	variables map[string]string
	secrets   map[string]penstock.Secret
}

func newSurroundings(p Process, env penstock.Env) (*surroundings, error) {
	s := &surroundings{secrets: p.Secrets, variables: map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}}
	var err error
	if !p.Directory.IsZero() {
		if s.directory, err = fixed(p.Directory, env); err != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "exec", Path: p.Directory.Pos.String(), Err: err}
		}
	}
	for name, t := range p.Environment {
		if s.variables[name], err = fixed(t, env); err != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "exec", Path: t.Pos.String(), Err: err}
		}
	}
	return s, nil
}

// environ is the environment of a process that is started now: secrets are as they are now.
func (s *surroundings) environ() []string {
	out := make([]string, 0, len(s.variables)+len(s.secrets))
	for _, name := range slices.Sorted(maps.Keys(s.variables)) {
		out = append(out, name+"="+s.variables[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		out = append(out, name+"="+s.secrets[name].Reveal())
	}
	return out
}
