package service

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sharedRabbitMQ is the server that the tests of a package have in common.
var sharedRabbitMQ one[RabbitMQServer]

// RabbitMQ gives a server that is shared by the tests of the package: each takes queues and exchanges of names of its own. The user
// guest, with the password guest, may do everything.
func RabbitMQ(tb testing.TB) *RabbitMQServer {
	tb.Helper()
	return sharedRabbitMQ.get(func() *RabbitMQServer {
		s := newRabbitMQ(tb)
		s.Start(tb)
		return s
	})
}

// RabbitMQServer is a server for one test, which may stop it as it likes.
type RabbitMQServer struct {
	daemon
	port, dist, epmd int
	bin              string
	settings         []string
	names            *process

	secure    int // the port with TLS; 0: none
	authority *authority
}

// NewRabbitMQ starts a server of the test's own, with lines of rabbitmq.conf ("disk_free_limit.absolute = 1TB"). It ends with the test.
func NewRabbitMQ(tb testing.TB, settings ...string) *RabbitMQServer {
	tb.Helper()
	s := newRabbitMQ(tb, settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// NewSecureRabbitMQ is NewRabbitMQ for a server that also listens with TLS, and lets users in by a certificate that bears their name, too (EXTERNAL). Beside guest there are
// the users that are given, with their passwords; one called weak may do nothing.
func NewSecureRabbitMQ(tb testing.TB, users map[string]string, settings ...string) *RabbitMQServer {
	tb.Helper()
	s := newRabbitMQ(tb, settings...)
	s.secure, s.authority = freePort(tb), newAuthority(tb)
	s.WriteFile(tb, "ca.pem", s.authority.pem)
	s.Certify(tb, time.Now().Add(24*time.Hour))
	s.WriteFile(tb, "users.json", definitions(users))
	s.settings = append([]string{
		"listeners.ssl.1 = " + s.SecureAddress(), "ssl_options.cacertfile = " + filepath.Join(s.dir, "ca.pem"), "ssl_options.certfile = " + filepath.Join(s.dir, "server.pem"),
		"ssl_options.keyfile = " + filepath.Join(s.dir, "server.key"), "ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = false",
		"auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = EXTERNAL", "ssl_cert_login_from = common_name", "load_definitions = " + filepath.Join(s.dir, "users.json"),
	}, s.settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// definitions are users that may do everything, and guest (https://www.rabbitmq.com/passwords.html#computing-password-hash).
func definitions(users map[string]string) []byte {
	type entry map[string]any
	out := map[string][]entry{"vhosts": {{"name": "/"}}}
	all := map[string]string{"guest": "guest"}
	for u, p := range users {
		all[u] = p
	}
	for u, p := range all {
		salt := []byte{1, 2, 3, 4}
		sum := sha256.Sum256(append(salt, p...))
		out["users"] = append(out["users"], entry{"name": u, "password_hash": base64.StdEncoding.EncodeToString(append(salt, sum[:]...)), "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""})
		may := ".*"
		if u == "weak" {
			may = "^$"
		}
		out["permissions"] = append(out["permissions"], entry{"user": u, "vhost": "/", "configure": may, "write": may, "read": may})
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err) // it is made of texts
	}
	return text
}

// SecureAddress is where the server listens with TLS, as localhost and 127.0.0.1.
func (s *RabbitMQServer) SecureAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.secure))
}

// Authority is the certificate (PEM) that the server's own comes from, with TLS.
func (s *RabbitMQServer) Authority() string { return string(s.authority.pem) }

// Certificate makes a certificate of the server's authority for a name, valid until a time, and its key, both as PEM.
func (s *RabbitMQServer) Certificate(tb testing.TB, name string, until time.Time) (certificate, key string) {
	tb.Helper()
	c, k := s.authority.issue(tb, name, until)
	return string(c), string(k)
}

// Certify gives the server a certificate that is valid until a time. One that runs shows it to who connects from now on.
func (s *RabbitMQServer) Certify(tb testing.TB, until time.Time) {
	tb.Helper()
	c, k := s.authority.issue(tb, "localhost", until)
	s.WriteFile(tb, "server.pem", c)
	s.WriteFile(tb, "server.key", k)
	if s.Running() {
		s.Control(tb, "eval", "ssl:clear_pem_cache().")
	}
}

// remove ends the server and removes its files.
func (s *RabbitMQServer) remove(tb testing.TB) {
	tb.Helper()
	if s.names != nil {
		if err := s.names.stop(true); err != nil {
			tb.Error(err)
		}
	}
	s.daemon.remove(tb)
}

func newRabbitMQ(tb testing.TB, settings ...string) *RabbitMQServer {
	tb.Helper()
	s := &RabbitMQServer{settings: settings, port: freePort(tb), dist: freePort(tb), epmd: freePort(tb)}
	s.bin = filepath.Dir(find(tb, "rabbitmq", "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server"))
	s.who = account(tb, "rabbitmq")
	s.dir = folder(tb, "rabbitmq", s.who)
	// The directory of names of Erlang nodes, its own: the machine's would outlive the test.
	names := find(tb, "rabbitmq", "epmd", "/usr/bin/epmd", "/usr/lib/erlang/bin/epmd")
	s.names = start(tb, options{who: s.who, dir: s.dir, signal: "KILL", env: []string{"ERL_EPMD_RELAXED_COMMAND_CHECK=1"}}, names, "-address", "127.0.0.1", "-port", strconv.Itoa(s.epmd))
	s.WriteFile(tb, "enabled_plugins", []byte("[rabbitmq_auth_mechanism_ssl]."))
	return s
}

// Address is where the server listens: 127.0.0.1:port.
func (s *RabbitMQServer) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is where the server listens, as an AMQP URI without user and password.
func (s *RabbitMQServer) URL() string { return "amqp://" + s.Address() }

// env is the environment of the server and of its tools.
func (s *RabbitMQServer) env() []string {
	return []string{
		"HOME=" + s.dir, "RABBITMQ_NODENAME=rabbit@localhost", "ERL_EPMD_PORT=" + strconv.Itoa(s.epmd), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(s.dist), "RABBITMQ_CONFIG_FILE=" + filepath.Join(s.dir, "rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(s.dir, "advanced.config"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(s.dir, "data"), "RABBITMQ_LOG_BASE=" + filepath.Join(s.dir, "logs"), "RABBITMQ_CONF_ENV_FILE=" + filepath.Join(s.dir, "env"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(s.dir, "enabled_plugins"), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_PID_FILE=" + filepath.Join(s.dir, "pid"), "RUNNING_UNDER_SYSTEMD=true", "LC_ALL=C.UTF-8",
	}
}

// Start starts the server again after Stop or Kill, on the same port and data, and waits until it answers.
func (s *RabbitMQServer) Start(tb testing.TB) {
	tb.Helper()
	lines := append([]string{
		"listeners.tcp.1 = " + s.Address(), "log.console = true", "log.console.level = warning", "log.file = false",
		"disk_free_limit.absolute = 50MB", "vm_memory_high_watermark.absolute = 1GB", "queue_master_locator = client-local",
	}, s.settings...)
	s.WriteFile(tb, "rabbitmq.conf", []byte(strings.Join(lines, "\n")+"\n"))
	s.process = start(tb, options{who: s.who, dir: s.dir, signal: "KILL", env: s.env()}, filepath.Join(s.bin, "rabbitmq-server"))
	s.process.ready(tb, s.answers)
}

// answers says that the server takes connections, and has begun to speak the protocol: to a header that is no AMQP it answers with its own.
func (s *RabbitMQServer) answers(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.Address())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := c.Write([]byte("HELLO\r\n\r\n")); err != nil {
		return err
	}
	var header [4]byte
	if _, err := c.Read(header[:]); err != nil {
		return err
	}
	if string(header[:]) != "AMQP" {
		return fmt.Errorf("it answers %q", header)
	}
	return nil
}

// Control runs rabbitmqctl, which takes seconds, and gives what it prints.
func (s *RabbitMQServer) Control(tb testing.TB, args ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "rabbitmqctl"), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who}
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("rabbitmqctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
