package service

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// sharedMosquitto is the broker that the tests of a package have in common.
var sharedMosquitto one[MosquittoServer]

// Mosquitto gives an MQTT broker that is shared by the tests of the package: each takes topics and clients of names of its own. It lets everybody in.
func Mosquitto(tb testing.TB) *MosquittoServer {
	tb.Helper()
	return sharedMosquitto.get(func() *MosquittoServer {
		s := newMosquitto(tb)
		s.Start(tb)
		return s
	})
}

// MosquittoServer is a broker for one test, which may stop it as it likes.
type MosquittoServer struct {
	daemon
	port, web int
	path      string
	settings  []string
}

// NewMosquitto starts a broker of the test's own, with further lines of mosquitto.conf ("max_queued_messages 10"); those that are about a listener ("max_qos 1") speak of
// the one that is not for WebSockets. It writes what it has to disk when it is stopped, every half an hour, and when Save says so. It ends with the test.
func NewMosquitto(tb testing.TB, settings ...string) *MosquittoServer {
	tb.Helper()
	s := newMosquitto(tb, settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func newMosquitto(tb testing.TB, settings ...string) *MosquittoServer {
	tb.Helper()
	s := &MosquittoServer{settings: settings, port: freePort(tb), web: freePort(tb)}
	s.path = find(tb, "mosquitto", "mosquitto", "/usr/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")
	s.who = account(tb, "mosquitto")
	s.dir = folder(tb, "mosquitto", s.who)
	return s
}

// Address is where the broker listens: 127.0.0.1:port.
func (s *MosquittoServer) Address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// WebAddress is where the broker listens for WebSockets.
func (s *MosquittoServer) WebAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.web))
}

// Start starts the broker again after Stop or Kill, on the same port and data, and waits until it takes connections.
func (s *MosquittoServer) Start(tb testing.TB) {
	tb.Helper()
	lines := []string{
		"per_listener_settings false", "persistence true", "persistence_location " + s.dir + "/", "log_type error", "log_type warning",
		"log_dest stderr", "max_inflight_messages 1000", "max_queued_messages 0",
	}
	if !contains(s.settings, "allow_anonymous") {
		lines = append(lines, "allow_anonymous true")
	}
	lines = append(lines, fmt.Sprintf("listener %d 127.0.0.1", s.web), "protocol websockets", fmt.Sprintf("listener %d 127.0.0.1", s.port), "protocol mqtt")
	conf := strings.Join(append(lines, s.settings...), "\n") + "\n"
	s.WriteFile(tb, "mosquitto.conf", []byte(conf))
	s.process = start(tb, options{who: s.who, dir: s.dir, signal: "KILL"}, s.path, "-c", filepath.Join(s.dir, "mosquitto.conf"))
	s.process.ready(tb, func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", s.Address())
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func contains(lines []string, word string) bool {
	for _, l := range lines {
		if strings.HasPrefix(l, word) {
			return true
		}
	}
	return false
}

// Save makes the broker write all that it has to disk, soon, as mosquitto.db in Dir.
func (s *MosquittoServer) Save(tb testing.TB) {
	tb.Helper()
	s.send(tb, syscall.SIGUSR1)
}

// Reload makes the broker read its users and permissions anew.
func (s *MosquittoServer) Reload(tb testing.TB) {
	tb.Helper()
	s.send(tb, syscall.SIGHUP)
}
