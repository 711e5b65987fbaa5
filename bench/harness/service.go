package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ServiceUse is what a service took while something was done with it.
type ServiceUse struct {
	CPU    time.Duration // user and system time, of all its threads
	MaxRSS int64         // highest resident set in bytes until then
}

// Service runs a program that serves, in a folder ("": this one): it is started, waited for until ready says that it answers, used, and then interrupted, as by
// Ctrl-C. It must end by itself then. What it took is measured from before use to after it.
func Service(ctx context.Context, folder string, argv []string, ready func(context.Context) error, use func(context.Context) error) (ServiceUse, error) {
	return Talking(ctx, folder, argv, func([]byte) {}, ready, func(ctx context.Context, _ *os.Process) error { return use(ctx) })
}

// Talking is [Service] for a program to which is listened: hear is given each line of its standard output when it comes, one at a time, and use the process.
func Talking(ctx context.Context, folder string, argv []string, hear func(line []byte), ready func(context.Context) error, use func(context.Context, *os.Process) error) (u ServiceUse, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = folder
	said := &tail{}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(said, &lines{hear: hear}), said
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return u, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	fail := func(err error) error {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, lastLines(said.text()))
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for begun := time.Now(); ; <-again.C {
		if err = ready(ctx); err == nil {
			break
		}
		select {
		case err := <-ended:
			return u, fail(errors.Join(errors.New("it has ended"), err))
		default:
		}
		if time.Since(begun) > 30*time.Second {
			cancel()
			return u, fail(errors.Join(err, <-ended))
		}
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	before := cpuOf(pid)
	err = use(ctx, cmd.Process)
	u = ServiceUse{CPU: cpuOf(pid) - before, MaxRSS: statusBytes(pid, "VmHWM:")}
	_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
	select {
	case e := <-ended:
		var exit *exec.ExitError
		if errors.As(e, &exit) && !exit.Exited() {
			e = nil // it knows no better end
		}
		err = errors.Join(err, e)
	case <-time.After(30 * time.Second):
		cancel()
		err = errors.Join(err, errors.New("it does not end"), <-ended)
	}
	if err != nil {
		return u, fail(err)
	}
	return u, nil
}

// lines cuts what is written into lines.
type lines struct {
	hear func([]byte)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		if !ok {
			return len(p), nil
		}
		l.hear(line)
		l.rest = rest
	}
}

// cpuOf is the user and system time of a process so far; 0 where the system does not tell.
func cpuOf(pid string) time.Duration { return cpuFields(pid, 11, 12) }

// CPUOf is the user and system time of a process so far, of all its threads.
func CPUOf(pid int) time.Duration { return cpuOf(strconv.Itoa(pid)) }

// cpuOfEnded is the user and system time of those of its children that have ended; 0 where the system does not tell.
func cpuOfEnded(pid string) time.Duration { return cpuFields(pid, 13, 14) }

// cpuFields adds up fields of proc(5)'s stat, counted from behind the name.
func cpuFields(pid string, which ...int) time.Duration {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	// The second field, the name in parentheses, may have spaces in it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const ticks = 100 // clock ticks are 100 a second wherever Go runs
	var sum time.Duration
	for _, i := range which {
		if i >= len(fields) {
			return 0
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(n) * time.Second / ticks
	}
	return sum
}
