//go:build !unix

package cli

import (
	"os"
	"os/exec"
)

// apart does nothing: what a terminal sends goes to all its processes.
func apart(*exec.Cmd) {}

// ask does nothing: the terminal has asked.
func ask(*os.Process) {}
