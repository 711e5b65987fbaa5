// Package harness runs programs, measures what they took, and alternates them so that whatever
// the machine does meanwhile falls on all of them alike.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Measurement is what one run of a program took.
type Measurement struct {
	Wall      time.Duration // from before the start to after the end of the process
	CPU       time.Duration // user and system time, of all its threads and children (rusage)
	MaxRSS    int64         // highest resident set in bytes (rusage); see [OwnPeak]
	FirstLine time.Duration // from before the start to the first line end on standard output; 0: there was none
	Stdout    []byte        // the last part of standard output, at most 1 MiB
	Stderr    []byte        // the last part of standard error, at most 1 MiB
}

// Run starts a program and waits for its end. An exit code other than 0 is an error that quotes
// the end of what the program said.
func Run(ctx context.Context, argv ...string) (Measurement, error) {
	return program{argv: argv}.run(ctx)
}

// RunIn is Run with a folder to work in.
func RunIn(ctx context.Context, folder string, argv ...string) (Measurement, error) {
	return program{folder: folder, argv: argv}.run(ctx)
}

// program is one to be run.
type program struct {
	folder string // "": this one
	argv   []string
	// meanwhile runs beside it, until it is over; nil: nothing does.
	meanwhile func(pid int, over <-chan struct{})
}

func (p program) run(ctx context.Context) (Measurement, error) {
	argv := p.argv
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = p.folder
	stdout, stderr := &tail{}, &tail{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = 10 * time.Second
	start := time.Now()
	stdout.start = start
	err := cmd.Start()
	if err == nil {
		var beside sync.WaitGroup
		over := make(chan struct{})
		if p.meanwhile != nil {
			beside.Go(func() { p.meanwhile(cmd.Process.Pid, over) })
		}
		err = cmd.Wait()
		close(over)
		beside.Wait()
	}
	m := Measurement{Wall: time.Since(start), FirstLine: stdout.firstLine, Stdout: stdout.kept, Stderr: stderr.kept}
	if err != nil {
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
		return m, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, lastLines(append(stderr.kept, stdout.kept...)))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return m, errors.New("this system gives no rusage: CPU and memory cannot be measured")
	}
	m.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	m.MaxRSS = int64(usage.Maxrss) //nolint:unconvert // 32 bits on some systems
	if runtime.GOOS != "darwin" {
		m.MaxRSS *= 1024 // kilobytes everywhere else
	}
	return m, nil
}

// OwnPeak is the highest resident set of this process so far, in bytes; 0 where the system does not tell.
// Linux counts it into the maximum of every process started from here (the child shares this
// memory until it executes its program), so a reading not above it is only an upper bound.
func OwnPeak() int64 { return statusBytes("self", "VmHWM:") }

// tail keeps the end of what is written and the time of the first line end. Standard output and standard error may share one.
type tail struct {
	mu        sync.Mutex
	start     time.Time
	firstLine time.Duration
	kept      []byte
}

const keep = 1 << 20

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.firstLine == 0 && !t.start.IsZero() && bytes.IndexByte(p, '\n') >= 0 {
		t.firstLine = time.Since(t.start)
	}
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*keep {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-keep:]...)
	}
	return len(p), nil
}

// text is what is kept so far.
func (t *tail) text() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.kept)
}

// lastLines are the last 20.
func lastLines(b []byte) string {
	const n = 20
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// CountLines counts the line ends of a file and returns its first line without its end.
func CountLines(path string) (n int, first []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf, whole := make([]byte, 256<<10), false
	for {
		k, err := f.Read(buf)
		chunk := buf[:k]
		if !whole {
			line, _, found := bytes.Cut(chunk, []byte{'\n'})
			first, whole = append(first, line...), found
		}
		n += bytes.Count(chunk, []byte{'\n'})
		if errors.Is(err, io.EOF) {
			return n, first, nil
		}
		if err != nil {
			return n, first, err
		}
	}
}
