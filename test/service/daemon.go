package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// daemon is what the servers have in common that tests may stop, kill and freeze as they like: a process that has a folder.
type daemon struct {
	dir     string              // everything it has
	who     *syscall.Credential // runs as; nil is whoever runs the test
	stops   syscall.Signal      // what Stop sends; 0 is SIGTERM
	process *process            // nil: it does not run
}

// one is the instance of a server that the tests of a package have in common: a package of tests is one process.
type one[S any] struct {
	mu     sync.Mutex
	server *S
}

// get gives it, and has it made when it is asked for first.
func (o *one[S]) get(made func() *S) *S {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.server == nil {
		o.server = made()
	}
	return o.server
}

// run runs a program as the server's user.
func (d *daemon) run(program string, args ...string) error {
	_, err := d.output(program, args...)
	return err
}

// output is run, and gives what the program says.
func (d *daemon) output(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = d.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.who}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return string(out), nil
}

// remove ends the server, if it runs, and removes its files: it is for the end of the test whose own it is.
func (d *daemon) remove(tb testing.TB) {
	tb.Helper()
	var err error
	if d.process != nil {
		err = d.process.stop(true)
	}
	if err = errors.Join(err, removeAll(d.dir)); err != nil {
		tb.Error(err)
	}
}

// removeAll removes a folder that a process may just be leaving.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err != nil {
		err = os.RemoveAll(dir)
	}
	return err
}

// Dir is the server's folder.
func (d *daemon) Dir() string { return d.dir }

// Running says that the server was started and not stopped.
func (d *daemon) Running() bool { return d.process != nil }

// PID is the process id of the server, which changes with Start.
func (d *daemon) PID() int { return d.process.pid }

// Stop stops the server in good order, as an operator does; its data stay. (PostgreSQL's is the exception, and says so.)
func (d *daemon) Stop(tb testing.TB) {
	tb.Helper()
	if d.stops != 0 {
		d.end(tb, d.stops)
		return
	}
	d.end(tb, syscall.SIGTERM)
}

// Kill kills the server as the kernel does when memory is short (SIGKILL). What it had written is in the system's cache, so it is still there at the
// next Start, as after a crash of the server alone.
func (d *daemon) Kill(tb testing.TB) {
	tb.Helper()
	d.end(tb, syscall.SIGKILL)
}

// end sends a signal that ends the server, and waits until it has.
func (d *daemon) end(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	err := syscall.Kill(d.process.pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for d.process.alive() && ctx.Err() == nil {
		pause(ctx)
	}
	if err = errors.Join(err, d.process.stop(true)); err != nil {
		tb.Fatal(err)
	}
	d.process = nil
}

// send sends a signal that leaves the server running.
func (d *daemon) send(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := syscall.Kill(d.process.pid, sig); err != nil {
		tb.Fatal(err)
	}
}

// Freeze stops the server's process where it is (SIGSTOP), until Thaw: connections stay, and nobody answers, as in a long pause of the machine.
func (d *daemon) Freeze(tb testing.TB) {
	tb.Helper()
	d.send(tb, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil { // all its threads
		state, err := os.ReadFile("/proc/" + strconv.Itoa(d.process.pid) + "/stat")
		if err != nil || strings.Contains(string(state), ") T ") {
			return
		}
		pause(ctx)
	}
	tb.Fatal("the server goes on")
}

// Thaw lets a server go on that was frozen.
func (d *daemon) Thaw(tb testing.TB) {
	tb.Helper()
	d.send(tb, syscall.SIGCONT)
}

// WriteFile puts a file into the server's folder, readable for the server alone: a certificate. It takes effect with Start, and, where the server has
// it, with Reload.
func (d *daemon) WriteFile(tb testing.TB, name string, content []byte) {
	tb.Helper()
	path := filepath.Join(d.dir, name)
	if err := errors.Join(os.WriteFile(path, content, 0o600), give(path, d.who)); err != nil {
		tb.Fatal(err)
	}
}
