package exec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// setGroup makes the process the leader of a group of its own, which is killed as a whole.
func setGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		killTree(cmd.Process.Pid)
		return nil
	}
}

// awaitExit waits until the process has ended, and leaves it as it is: its number is nobody else's until it is waited for.
func awaitExit(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// killGroup kills the group that pid leads.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// askGroup asks the group that pid leads to end.
func askGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }

// killTree kills the group that pid leads, and descendants that have left it.
func killTree(pid int) {
	escaped := descendants(pid, 0)
	killGroup(pid)
	for _, p := range escaped {
		if group, err := syscall.Getpgid(p); err == nil && group != pid {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	}
}

// descendants lists those of a process, as far as the kernel tells (CONFIG_PROC_CHILDREN).
func descendants(pid, depth int) (out []int) {
	const deepest = 64
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || depth == deepest {
		return nil
	}
	for _, task := range tasks {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(list)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(append(out, child), descendants(child, depth+1)...)
			}
		}
	}
	return out
}
