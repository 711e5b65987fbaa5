// Package command is the penstock program over a registry of drivers. Command penstock is made of it, and so are the programs that
// `penstock build --with` builds, which have drivers of other modules beside those of an edition:
//
//	func main() {
//		r := edition.Standard()
//		acme.Register(r)
//		os.Exit(command.Main(r, ""))
//	}
package command

import (
	"os"
	"runtime/debug"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

// Main runs the command line of the process with the drivers in r, and returns the exit code. version is what a release was stamped
// with; empty, it is what the Go tool left in the binary. It is called once, by main.
func Main(r *penstock.Registry, version string) int {
	info, _ := debug.ReadBuildInfo()
	p := &cli.Program{
		Service: &control.Service{Registry: r},
		Version: control.VersionOf(info, version),
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
	}
	return p.Run(os.Args[1:])
}
