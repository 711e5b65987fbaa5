// Command penstock runs the flow of data between applications: declared in YAML, proved
// before they run, and run by this one program.
package main

import (
	"os"

	"penstock.dev/penstock/command"
	"penstock.dev/penstock/edition"
)

// version is stamped by a release: -ldflags "-X main.version=v1.2.3".
var version string

func main() { os.Exit(command.Main(edition.Standard(), version)) }
