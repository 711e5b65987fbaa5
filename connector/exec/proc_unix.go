//go:build unix && !linux

package exec

import (
	"os/exec"
	"syscall"
)

// setGroup makes the process the leader of a group of its own, which is killed as a whole.
func setGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		killGroup(cmd.Process.Pid)
		return nil
	}
}

// awaitExit can't wait here without ending the process's claim on its number.
func awaitExit(int) {}

// killGroup kills the group that pid leads.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// askGroup asks the group that pid leads to end.
func askGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }
