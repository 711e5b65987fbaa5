package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/internal/control"
)

// maxReplicas bounds --replicas: they are for a machine.
const maxReplicas = 64

// replicas runs the command line as several processes, which share the store and the work.
func (p *Program) replicas(ctx context.Context, f *runFlags, c *control.Checked) error {
	if f.replicas < 1 || f.replicas > maxReplicas {
		return usagef("write it as --replicas 3", "--replicas must be from 1 to %d", maxReplicas)
	}
	if f.once {
		return usagef("leave one of them out", "--once ends the run when what is there was read, and replicas go on until they are stopped")
	}
	if !c.SharesStore() {
		return usagef("give the Integration a store that replicas share: store: { driver: postgres, … }", "--replicas asks for a store on PostgreSQL")
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	http, port := c.Addresses(f.listen, f.control)
	ctx, abort, stop := p.stopping(ctx, &screen{w: p.Stderr})
	defer stop()
	var out sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, f.replicas)
	for i := range f.replicas {
		args := without(p.args, "--replicas", "--listen", "--control")
		if a := beside(http, i); a != "" {
			args = append(args, "--listen", a)
		}
		if a := beside(port, i); a != "" {
			args = append(args, "--control", a)
		}
		wg.Go(func() { errs[i] = p.replica(ctx, abort, program, args, fmt.Sprintf("replica %d | ", i+1), &out) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// without takes flags that have a value out of a command line.
func without(args []string, flags ...string) (out []string) {
	for i := 0; i < len(args); i++ {
		name, _, valued := strings.Cut(args[i], "=")
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case !slices.Contains(flags, name):
			out = append(out, args[i])
		case !valued:
			i++
		}
	}
	return out
}

// beside is the address of a replica: each listens one port higher than the one before. A free port is free for each of them.
func beside(address string, i int) string {
	host, port, err := net.SplitHostPort(address)
	n, bad := strconv.Atoi(port)
	if err != nil || bad != nil {
		return address // the process says what is wrong with it
	}
	if n > 0 {
		n += i
	}
	return net.JoinHostPort(host, strconv.Itoa(n))
}

// killAfter is how long a replica may take to end after it was asked to do so a second time.
const killAfter = 5 * time.Second

// replica runs one process until it ends. It is asked to end when ctx does, and again with abort.
func (p *Program) replica(ctx context.Context, abort <-chan struct{}, program string, args []string, name string, out *sync.Mutex) error {
	cmd := exec.Command(program, args...) //nolint:gosec,noctx // ourselves; it is asked to end, and not killed
	apart(cmd)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	over := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		select {
		case <-ctx.Done():
			ask(cmd.Process)
		case <-over:
			return
		}
		select {
		case <-abort:
			ask(cmd.Process)
		case <-over:
			return
		}
		t := time.NewTimer(killAfter)
		defer t.Stop()
		select {
		case <-t.C:
			_ = cmd.Process.Kill() // it has ended by itself otherwise
		case <-over:
		}
	})
	var copying sync.WaitGroup
	copying.Go(func() { prefixed(p.Stdout, out, name, stdout) })
	copying.Go(func() { prefixed(p.Stderr, out, name, stderr) })
	copying.Wait()
	err = cmd.Wait()
	close(over)
	asking.Wait()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && ended.ExitCode() >= 0:
		out.Lock()
		p.printf("%sended with %d\n", name, ended.ExitCode())
		out.Unlock()
		return exitWith(ended.ExitCode())
	case err != nil:
		out.Lock()
		p.printf("%sended: %v\n", name, err)
		out.Unlock()
		return exitWith(ExitFailed)
	}
	return nil
}

// maxLine bounds a line of a replica that is kept together.
const maxLine = 1 << 20

// prefixed copies lines, each with the name before it.
func prefixed(to io.Writer, mu *sync.Mutex, name string, from io.Reader) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		var line []byte
		for {
			part, more, err := r.ReadLine()
			line = append(line, part...)
			if err != nil {
				return
			}
			if !more || len(line) > maxLine {
				break
			}
		}
		mu.Lock()
		_, _ = fmt.Fprintf(to, "%s%s\n", name, line)
		mu.Unlock()
	}
}
