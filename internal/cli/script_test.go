package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"penstock": func() {
		p := &cli.Program{
			Service: &control.Service{Registry: edition.Standard()},
			Version: control.VersionOf(nil, "v0.0.0-test"),
			Stdin:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		}
		os.Exit(p.Run(os.Args[1:]))
	}})
}

// TestScripts runs the command line as a user would, right and wrong. A line `exits 2 penstock check`
// runs a program and expects that exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
