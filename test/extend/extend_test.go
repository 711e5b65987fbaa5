// Package extend does what somebody does who writes a connector: in a module of its own, with nothing but the command line
// and the public packages.
package extend

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// run runs a program in a folder, and gives what it says.
func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// TestStranger scaffolds a connector, sees it pass the suites, builds a program that contains it, and runs its example.
func TestStranger(t *testing.T) {
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acme := filepath.Join(dir, "acme")
	service := &control.Service{Registry: edition.Standard()}
	if _, err := service.NewConnector(control.ConnectorOptions{Name: "acme", Module: "example.com/team/acme", Dir: acme, Source: source}); err != nil {
		t.Fatal(err)
	}
	if text := run(t, acme, "gofmt", "-l", "."); text != "" {
		t.Errorf("gofmt would change %s", text)
	}
	run(t, acme, "go", "mod", "tidy")
	run(t, acme, "go", "vet", "./...")
	run(t, acme, "go", "test", "./...")

	program := filepath.Join(dir, "penstock-acme")
	var log bytes.Buffer
	built, err := service.Build(t.Context(), control.BuildOptions{With: []string{"example.com/team/acme=" + acme}, Source: source, Output: program, Log: &log})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if built.Size == 0 || len(built.Modules) != 1 {
		t.Errorf("%+v", built)
	}
	example := filepath.Join(acme, "example")
	if out := run(t, example, program, "test"); !strings.Contains(out, "1 test passed") {
		t.Error(out)
	}
	run(t, example, program, "run", "--once")
	got, err := os.ReadFile(filepath.Join(example, "out.journal"))
	if want := "{\"greeting\":\"Hello, Ada\"}\n{\"greeting\":\"Hello, Grace\"}\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	if out := run(t, example, program, "schema"); !strings.Contains(out, "How often the file is looked at") && !strings.Contains(out, `"acme"`) {
		t.Error("the schema of the program doesn't know the connector")
	}
}
