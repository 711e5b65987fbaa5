package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ is a RabbitMQ server with the settings that it comes with, in a folder of its own. Its directory of Erlang nodes (epmd) is its own, too.
type RabbitMQ struct {
	Version string // RabbitMQ 3.10.8
	folder  string
	port    int
	cmds    []*exec.Cmd // epmd, the server
	ended   chan error  // gives why the server has ended
	said    *tail
}

// StartRabbitMQ starts a server on a free port of the loopback interface, with its folder below the given one.
func StartRabbitMQ(ctx context.Context, under string) (r *RabbitMQ, err error) {
	r = &RabbitMQ{said: &tail{}, ended: make(chan error, 1)}
	const server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if _, err := os.Stat(server); err != nil {
		return nil, errors.New("RabbitMQ is not installed: run test/service/install.sh rabbitmq as root")
	}
	who, err := unprivileged("rabbitmq", "nobody")
	if err != nil {
		return nil, err
	}
	if r.folder, err = os.MkdirTemp(under, "rabbitmq-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop())
		}
	}()
	if who != nil {
		if err := os.Chown(r.folder, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	r.port = ports[0]
	file := func(name string) string { return filepath.Join(r.folder, name) }
	for name, text := range map[string]string{
		"rabbitmq.conf": fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nlog.console = true\nlog.console.level = warning\nlog.file = false\n", r.port), "enabled_plugins": "[].",
	} {
		if err := os.WriteFile(file(name), []byte(text), 0o644); err != nil { //nolint:gosec // another user reads it
			return nil, err
		}
	}
	env := append(os.Environ(), "HOME="+r.folder, "RABBITMQ_NODENAME=rabbit@localhost", "ERL_EPMD_PORT="+strconv.Itoa(ports[1]), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_DIST_PORT="+strconv.Itoa(ports[2]), "RABBITMQ_CONFIG_FILE="+file("rabbitmq.conf"), "RABBITMQ_CONF_ENV_FILE="+file("env"),
		"RABBITMQ_MNESIA_BASE="+file("data"), "RABBITMQ_LOG_BASE="+file("logs"), "RABBITMQ_ENABLED_PLUGINS_FILE="+file("enabled_plugins"), "RABBITMQ_PID_FILE="+file("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}", "RUNNING_UNDER_SYSTEMD=true", "ERL_EPMD_RELAXED_COMMAND_CHECK=1")
	for _, argv := range [][]string{{"epmd", "-address", "127.0.0.1", "-port", strconv.Itoa(ports[1])}, {server}} {
		cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx,gosec // it is stopped by Stop
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.folder, env, r.said, r.said
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		r.cmds = append(r.cmds, cmd)
	}
	go func() { r.ended <- r.cmds[1].Wait() }()
	for begun := time.Now(); ; {
		c, err := amqp.Dial(r.URL())
		if err == nil {
			version, _ := c.Properties["version"].(string)
			r.Version = "RabbitMQ " + version
			return r, c.Close()
		}
		select {
		case err := <-r.ended:
			r.ended <- err
			return nil, fmt.Errorf("RabbitMQ has ended: %w\n%s", err, lastLines(r.said.text()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begun) > time.Minute {
			return nil, fmt.Errorf("RabbitMQ does not answer: %w", err)
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// URL is where the server listens, as an AMQP URI.
func (r *RabbitMQ) URL() string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d", r.port) }

// Port is where the server listens.
func (r *RabbitMQ) Port() int { return r.port }

// CPU is what the server has used so far.
func (r *RabbitMQ) CPU() time.Duration { return cpuOf(strconv.Itoa(r.cmds[1].Process.Pid)) }

// With runs do with a channel.
func (r *RabbitMQ) With(do func(*amqp.Channel) error) error {
	c, err := amqp.Dial(r.URL())
	if err != nil {
		return err
	}
	ch, err := c.Channel()
	if err == nil {
		err = do(ch)
	}
	return errors.Join(err, c.Close())
}

// Stop ends the server and removes its files.
func (r *RabbitMQ) Stop() error {
	for i := len(r.cmds) - 1; i >= 0; i-- {
		_ = r.cmds[i].Process.Kill() // nothing of it is needed
		if i == 1 {
			<-r.ended //nolint:errcheck // how it ended is no matter
		} else if err := r.cmds[i].Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
			return err
		}
	}
	r.cmds = nil
	return os.RemoveAll(r.folder)
}
