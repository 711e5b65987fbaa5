//go:build unix

package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// apart keeps a process from what a terminal sends to ours: we ask it ourselves.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// ask asks a process to end.
func ask(p *os.Process) { _ = p.Signal(syscall.SIGTERM) } // it may have ended
