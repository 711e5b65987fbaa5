//go:build !unix

package exec

import "os/exec"

// setGroup leaves it at killing the process itself: there are no groups.
func setGroup(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Kill() }
}

func awaitExit(int) {}

func killGroup(int) {}

func askGroup(int) {}
