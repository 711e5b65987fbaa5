package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// NATS is a nats-server with JetStream and the settings that it comes with, in a folder of its own: streams are in files, which are synced every two minutes.
type NATS struct {
	Version string // nats-server 2.15.2
	folder  string
	port    int
	cmd     *exec.Cmd
	ended   chan error // gives why the server has ended
	said    *tail
}

// StartNATS starts a server on a free port of the loopback interface, with its folder below the given one. The program is that which
// test/service/install.sh has built, or one in PATH.
func StartNATS(ctx context.Context, under string) (n *NATS, err error) {
	n = &NATS{said: &tail{}, ended: make(chan error, 1)}
	program := "nats-server"
	if built, _ := filepath.Glob("../.tools/bin/nats-server-v*"); len(built) > 0 {
		if program, err = filepath.Abs(built[len(built)-1]); err != nil {
			return nil, err
		}
	}
	if n.folder, err = os.MkdirTemp(under, "nats-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
		}
	}()
	if n.port, err = freePort(ctx); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-a", "127.0.0.1", "-p", strconv.Itoa(n.port), "-js", "-sd", n.folder) //nolint:noctx,gosec // it is stopped by Stop
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.folder, n.said, n.said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: run test/service/install.sh nats", err)
	}
	n.cmd = cmd
	go func() { n.ended <- cmd.Wait() }()
	for begun := time.Now(); ; {
		c, err := nats.Connect(n.URL())
		if err == nil {
			n.Version = "nats-server " + c.ConnectedServerVersion()
			c.Close()
			return n, nil
		}
		select {
		case err := <-n.ended:
			n.ended <- err
			return nil, fmt.Errorf("nats-server has ended: %w\n%s", err, lastLines(n.said.text()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(begun) > time.Minute {
			return nil, fmt.Errorf("nats-server does not answer: %w", err)
		}
	}
}

// URL is where the server listens.
func (n *NATS) URL() string { return "nats://127.0.0.1:" + strconv.Itoa(n.port) }

// Port is where the server listens.
func (n *NATS) Port() int { return n.port }

// CPU is what the server has used so far.
func (n *NATS) CPU() time.Duration { return cpuOf(strconv.Itoa(n.cmd.Process.Pid)) }

// Stop ends the server and removes its files.
func (n *NATS) Stop() error {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill() // nothing of it is needed
		<-n.ended                //nolint:errcheck // how it ended is no matter
		n.cmd = nil
	}
	return os.RemoveAll(n.folder)
}
