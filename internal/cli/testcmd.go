package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) testCommand() *cobra.Command {
	var flags projectFlags
	var o control.TestOptions
	var from []string
	var file string
	cmd := &cobra.Command{
		Use:   "test [paths…]",
		Short: "Run the tests of flows",
		Long: `Runs the Test resources of the configuration in files and folders (default: the current
folder): whole flows with given messages, mocks and a clock of their own, so that a day
passes in no time. Nothing outside is touched.

With --crash the messages of each test that passes are run again and again: with a crash
before and after every read, call, write and commit, with every message that may come twice
coming twice, and with every answer lost after its success. Nothing may be lost, or happen
twice, that the flow's delivery says is not; what it allows is said.

With --from nothing is tested: a Test is made of a message that penstock dev has seen, named by the id of its sample or its own
(penstock samples lists both). It sends the message as it came in, answers calls as they were answered, and expects
what comes out now. It is written to standard output, or with -w to the end of a file. Several are sent in the order given.

Exit code 0 if all tests passed, 1 if one failed, 2 if the configuration is wrong.`,
		Example:           "  penstock test\n  penstock test --run 'large|late'\n  penstock test --update\n  penstock test --cover\n  penstock test --crash\n  penstock test --from 'orders#17' -w orders.test.yaml\n  penstock test -o junit > report.xml",
		ValidArgsFunction: yamlFiles,
	}
	flags.add(cmd, p)
	cmd.Flags().StringVar(&o.Run, "run", "", "run only tests whose name matches this `regexp`")
	cmd.Flags().BoolVar(&o.Update, "update", false, "rewrite golden files, and lists of messages that are expected exactly, with what was found")
	cmd.Flags().BoolVar(&o.Cover, "cover", false, "say which steps, branches and expressions the tests reach, and where those are that they don't")
	cmd.Flags().BoolVar(&o.Crash, "crash", false, "run each test once more for each mishap at each boundary of its flow, and hold it to the flow's delivery")
	cmd.Flags().StringArrayVar(&from, "from", nil, "make a test of the message with this `id`, which penstock dev has kept; may be given many times")
	cmd.Flags().StringVarP(&file, "write", "w", "", "with --from: append the test to this `file` (default: write it to standard output)")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json", "junit")
	p.completeWith(cmd, "run", func(n control.Names) []string { return n.Tests }, cobra.ShellCompDirectiveDefault)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		pr, err := flags.project(args)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		if len(from) > 0 || file != "" {
			if err := onlyFrom(cmd, from, out.value); err != nil {
				return err
			}
			return p.draftTest(ctx, pr, from, file)
		}
		r, err := p.Service.Test(ctx, pr, o)
		if err != nil {
			return p.untested(err)
		}
		switch out.value {
		case "json":
			err = r.WriteJSON(p.Stdout)
		case "junit":
			err = r.WriteJUnit(p.Stdout)
		default:
			err = r.WriteText(p.Stdout)
		}
		if err == nil && !r.Passed() {
			err = exitWith(ExitFailed)
		}
		return err
	}
	return cmd
}

// untested shows why nothing was tested.
func (p *Program) untested(err error) error {
	var invalid *control.InvalidConfig
	if !errors.As(err, &invalid) {
		return err
	}
	if p.asJSON {
		return errors.Join(writeJSON(p.Stdout, &control.Checked{Errors: invalid.Errors, Warnings: invalid.Warnings, Findings: invalid.Findings, Flows: []control.FlowFact{}}), exitWith(ExitConfig))
	}
	showFindings(p.Stderr, p.color, &sources{}, invalid.Findings)
	p.printf("%s; nothing was tested\n", p.color.red(tally(invalid.Errors, invalid.Warnings)))
	return exitWith(ExitConfig)
}

// onlyFrom refuses flags of test that mean nothing where one is made.
func onlyFrom(cmd *cobra.Command, from []string, output string) error {
	if len(from) == 0 {
		return usagef("write it as --from 'orders#17' -w orders.test.yaml", "-w says where a test is written that --from makes")
	}
	for _, name := range []string{"run", "update", "cover", "crash"} {
		if cmd.Flags().Changed(name) {
			return usagef("make the test first, and run it then", "--%s means nothing beside --from, which runs no tests", name)
		}
	}
	if output == "junit" {
		return usagef("write -o text or -o json", "-o junit means nothing beside --from, which runs no tests")
	}
	return nil
}

// draftTest makes a test of messages that were seen.
func (p *Program) draftTest(ctx context.Context, pr control.Project, ids []string, file string) error {
	d, err := p.Service.DraftTest(ctx, pr, ids, file)
	if err != nil {
		return p.untested(err)
	}
	if !p.asJSON {
		for _, n := range d.Notes {
			p.printf("%s %s\n", p.color.yellow("note:"), n)
		}
	}
	switch {
	case file != "":
		if err := p.appendDocument(file, d.Text); err != nil {
			return err
		}
		p.printf("%s %s: %s\n", p.color.green("appended to"), file, d.Name)
		if p.asJSON {
			return writeJSON(p.Stdout, d)
		}
		return nil
	case p.asJSON:
		return writeJSON(p.Stdout, d)
	}
	_, err = io.WriteString(p.Stdout, d.Text)
	return err
}

// appendDocument puts one more YAML document behind those of a file.
func (p *Program) appendDocument(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("read", file, err)
	}
	if len(bytes.TrimSpace(old)) > 0 {
		if old[len(old)-1] != '\n' {
			old = append(old, '\n')
		}
		text = string(old) + "---\n" + text
	}
	return p.writeResult(file, []byte(text))
}
