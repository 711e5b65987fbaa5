// Command penstock runs the flow of data between applications: declared in YAML, proved
// before they run, and run by this one program.
package main

import (
	"os"
	"runtime/debug"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

// version is stamped by a release: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	info, _ := debug.ReadBuildInfo()
	p := &cli.Program{
		Service: &control.Service{Registry: edition.Standard()},
		Version: control.VersionOf(info, version),
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
	}
	os.Exit(p.Run(os.Args[1:]))
}
