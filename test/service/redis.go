package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sharedRedis is the server that the tests of a package have in common.
var sharedRedis one[RedisServer]

// Redis gives a Redis server that is shared by the tests of the package: each takes keys of names of its own. It lets everybody in and keeps nothing on disk.
func Redis(tb testing.TB) *RedisServer {
	tb.Helper()
	return sharedRedis.get(func() *RedisServer {
		s := newRedis(tb)
		s.Start(tb)
		return s
	})
}

// RedisSaves are settings by which the server has each write on disk before it answers.
var RedisSaves = []string{"appendonly yes", "appendfsync always"}

// RedisServer is a server for one test, which may stop it as it likes.
type RedisServer struct {
	daemon
	port     int
	path     string
	settings []string
	sentinel bool
}

// NewRedis starts a server of the test's own, with further lines of redis.conf ("maxmemory 10mb", "cluster-enabled yes"). It keeps nothing on disk unless they
// say so ([RedisSaves]). With a line "tls-port 0" its one port is the one for TLS. It ends with the test.
func NewRedis(tb testing.TB, settings ...string) *RedisServer {
	tb.Helper()
	s := newRedis(tb, settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// NewRedisSentinel starts a sentinel that watches over a server under the name "main".
func NewRedisSentinel(tb testing.TB, over *RedisServer) *RedisServer {
	tb.Helper()
	s := newRedis(tb, fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1", over.port), "sentinel down-after-milliseconds main 1000")
	s.sentinel = true
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func newRedis(tb testing.TB, settings ...string) *RedisServer {
	tb.Helper()
	s := &RedisServer{settings: settings, port: freePort(tb)}
	s.path = find(tb, "redis", "redis-server", "/usr/bin/redis-server", "/opt/homebrew/bin/redis-server")
	s.who = account(tb, "redis")
	s.dir = folder(tb, "redis", s.who)
	return s
}

// Address is where the server listens: 127.0.0.1:port.
func (s *RedisServer) Address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// URL is the server's address as a Connection has it.
func (s *RedisServer) URL() string { return "redis://" + s.Address() }

// Start starts the server again after Stop or Kill, on the same port and data, and waits until it answers.
func (s *RedisServer) Start(tb testing.TB) {
	tb.Helper()
	lines := []string{"bind 127.0.0.1", "dir " + s.dir, "daemonize no", "loglevel warning"}
	if !s.sentinel {
		lines = append(lines, "save \"\"", "enable-debug-command yes")
	}
	port, secure := fmt.Sprintf("port %d", s.port), false
	for _, l := range s.settings {
		if l == "tls-port 0" {
			port, l, secure = "port 0", fmt.Sprintf("tls-port %d", s.port), true
		}
		lines = append(lines, l)
	}
	name := filepath.Join(s.dir, "redis.conf")
	if _, err := os.Stat(name); !s.sentinel || err != nil { // a sentinel writes what it learns to its file
		s.WriteFile(tb, "redis.conf", []byte(strings.Join(append(lines, port), "\n")+"\n"))
	}
	args := []string{name}
	if s.sentinel {
		args = append(args, "--sentinel")
	}
	s.process = start(tb, options{who: s.who, dir: s.dir, signal: "KILL"}, s.path, args...)
	s.process.ready(tb, func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", s.Address())
		if err != nil || secure {
			if err == nil {
				err = c.Close()
			}
			return err
		}
		defer func() { _ = c.Close() }()
		if _, err = c.Write([]byte("PING\r\n")); err != nil {
			return err
		}
		said, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && strings.HasPrefix(said, "-LOADING") {
			err = errors.New(said)
		}
		return err
	})
}

// RedisAuthority issues certificates for servers and clients of one test.
type RedisAuthority struct{ authority *authority }

// NewRedisAuthority makes one.
func NewRedisAuthority(tb testing.TB) *RedisAuthority {
	tb.Helper()
	return &RedisAuthority{newAuthority(tb)}
}

// PEM is the authority's own certificate.
func (a *RedisAuthority) PEM() string { return string(a.authority.pem) }

// Certificate makes a certificate for a name, valid until a time, and its key, both as PEM.
func (a *RedisAuthority) Certificate(tb testing.TB, name string, until time.Time) (certificate, key string) {
	tb.Helper()
	c, k := a.authority.issue(tb, name, until)
	return string(c), string(k)
}

// Settings are those of a server that speaks only TLS, with a certificate that is valid until a time, and wants one of its clients.
func (a *RedisAuthority) Settings(tb testing.TB, until time.Time) []string {
	tb.Helper()
	certificate, key := a.authority.issue(tb, "localhost", until)
	dir := tb.TempDir()
	out := []string{"tls-port 0"}
	for name, content := range map[string][]byte{"tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": a.authority.pem} {
		path := filepath.Join(dir, name+".pem")
		if err := os.WriteFile(path, content, 0o644); err != nil { //nolint:gosec // of a test
			tb.Fatal(err)
		}
		out = append(out, name+" "+path)
	}
	for ; dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) { // for the server's own user
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // of a test
			break
		}
	}
	return out
}
