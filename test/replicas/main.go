// Command replicas runs an example as three replicas on one store: it starts PostgreSQL on a free port of the loopback interface, and the real program three times, shows
// `penstock ps` once they share the work, and stops all of it when it is interrupted. What was in the database goes with it.
//
//	go run ./test/replicas -program bin/penstock orders
//	go run ./test/replicas -program bin/penstock accounts
//
// It is run at the root of the repository; `make replicas EXAMPLE=accounts` does all that has to be done before, too.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/test/service"
	"penstock.dev/penstock/test/services/host"
)

// count is how many replicas are run.
const count = 3

// example is one that is run: which configuration, and what can be done with it.
type example struct {
	name string
	run  []string // of `penstock run`
	look []string // of commands that look into it
	hint string
}

var examples = []example{
	{"orders", []string{"-k", "examples/orders/overlays/postgres"}, []string{"-k", "examples/orders/overlays/postgres"}, "examples/orders/out has what is written; another file in examples/orders/data is read at once"},
	{"accounts", []string{"examples/accounts", "-k", "examples/accounts/overlays/postgres", "--param", "out=examples/accounts/out"}, []string{"-f", "examples/accounts", "-k", "examples/accounts/overlays/postgres"}, "examples/accounts/README.md has requests to send, to any of the three ports"},
}

func main() {
	c := command{out: os.Stdout, errs: os.Stderr}
	flag.StringVar(&c.program, "program", "bin/penstock", "the `path` of the program")
	flag.StringVar(&c.listen, "listen", "127.0.0.1:8080", "the `address` of the first replica; each of the others is one port higher than the one before")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := c.do(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}

// command is what is asked for.
type command struct {
	program, listen string
	out, errs       io.Writer
}

// do runs an example until ctx ends.
func (c *command) do(ctx context.Context, args []string) error {
	var names []string
	var ex *example
	for i := range examples {
		names = append(names, examples[i].name)
		if len(args) == 1 && args[0] == examples[i].name {
			ex = &examples[i]
		}
	}
	if ex == nil {
		return fmt.Errorf("name one example: %s", strings.Join(names, " or "))
	}
	var server *service.PostgresServer
	h := host.New("replicas")
	h.Run(func(tb testing.TB) {
		s := service.NewPostgres(tb)
		s.Exec(tb, "CREATE DATABASE penstock")
		server = s
	})
	defer h.End()
	if server == nil {
		return fmt.Errorf("PostgreSQL is not up: %s", h.Why())
	}
	address, port, err := net.SplitHostPort(server.Address())
	if err != nil {
		return err
	}
	reach := []string{"PGHOST=" + address, "PGPORT=" + port, "PGUSER=postgres", "PGSSLMODE=disable"}
	return c.run(ctx, ex, reach)
}

// run runs the replicas, which reach the server by variables of the environment.
func (c *command) run(ctx context.Context, ex *example, reach []string) error {
	environ := append(os.Environ(), reach...)
	arguments := append([]string{"run", "--replicas", fmt.Sprint(count), "--listen", c.listen}, ex.run...)
	cmd := exec.Command(c.program, arguments...) //nolint:gosec,noctx // the program of this repository; it is asked to end, and not killed
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, c.out, c.errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which asks it to end
	if err := cmd.Start(); err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	looking, enough := context.WithCancel(ctx)
	shown := make(chan error, 1)
	go func() { shown <- c.show(looking, ex, environ, reach) }()
	var ended, unseen error
	select {
	case ended = <-over:
		enough()
		return errors.Join(ended, <-shown)
	case unseen = <-shown:
		if unseen == nil {
			select {
			case ended = <-over:
				enough()
				return ended
			case <-ctx.Done():
			}
		}
	case <-ctx.Done():
	}
	enough()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && unseen == nil {
		unseen = err
	}
	ended = <-over
	if unseen != nil && ctx.Err() == nil {
		return unseen
	}
	return ended
}

// show waits until all replicas have their share, and shows what `penstock ps` says then.
func (c *command) show(ctx context.Context, ex *example, environ, reach []string) error {
	ask := func(more ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, c.program, slices.Concat([]string{"ps"}, ex.look, more)...) //nolint:gosec // the program of this repository
		cmd.Env = environ
		return cmd.Output()
	}
	for {
		out, err := ask("-o", "json")
		if err == nil && shared(out) {
			break
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return nil // it was told to stop before they were up
		}
	}
	out, err := ask()
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // likewise
		}
		return fmt.Errorf("penstock ps: %w", err)
	}
	_, err = fmt.Fprintf(c.out, `
%s
# %s.
# Kill one of the three (kill -9 and the number in its name), and look again, in another terminal:
#   export %s
#   %s ps %s
# Ctrl-C stops all of it.
`, out, ex.hint, strings.Join(reach, " "), c.program, strings.Join(ex.look, " "))
	return err
}

// shared says that all replicas are there and have their share of the parts.
func shared(status []byte) bool {
	var st struct {
		Replicas []struct{ Parts []int }
	}
	if json.Unmarshal(status, &st) != nil || len(st.Replicas) < count {
		return false
	}
	for _, r := range st.Replicas {
		if len(r.Parts) == 0 {
			return false
		}
	}
	return true
}
