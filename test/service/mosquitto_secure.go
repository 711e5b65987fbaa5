package service

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"sort"
	"strconv"
	"testing"
	"time"
)

// SecureMosquitto is a broker that also listens with TLS, plainly and for WebSockets, where whoever shows a certificate of its authority, and nobody else, is let in.
type SecureMosquitto struct {
	*MosquittoServer
	secure, secureWeb int
	authority         *authority
}

// NewSecureMosquitto starts a broker with TLS. Its users, by their passwords, are let in by all listeners, and nobody else is.
func NewSecureMosquitto(tb testing.TB, users map[string]string, settings ...string) *SecureMosquitto {
	tb.Helper()
	s := &SecureMosquitto{MosquittoServer: newMosquitto(tb), secure: freePort(tb), secureWeb: freePort(tb), authority: newAuthority(tb)}
	s.WriteFile(tb, "ca.pem", s.authority.pem)
	s.Certify(tb, time.Now().Add(24*time.Hour))
	s.Users(tb, users)
	in := func(name string) string { return filepath.Join(s.dir, name) }
	own := []string{"cafile " + in("ca.pem"), "certfile " + in("server.pem"), "keyfile " + in("server.key"), "require_certificate true"}
	s.settings = append([]string{"allow_anonymous false", "password_file " + in("users")}, settings...)
	s.settings = append(append(s.settings, fmt.Sprintf("listener %d 127.0.0.1", s.secureWeb), "protocol websockets"), own...)
	s.settings = append(append(s.settings, fmt.Sprintf("listener %d 127.0.0.1", s.secure), "protocol mqtt"), own...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// SecureAddress is where the broker listens with TLS, as localhost and 127.0.0.1.
func (s *SecureMosquitto) SecureAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.secure))
}

// SecureWebAddress is where the broker listens for WebSockets with TLS.
func (s *SecureMosquitto) SecureWebAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.secureWeb))
}

// Authority is the certificate (PEM) that the broker's own comes from.
func (s *SecureMosquitto) Authority() string { return string(s.authority.pem) }

// Certificate makes a certificate of the broker's authority for a name, valid until a time, and its key, both as PEM.
func (s *SecureMosquitto) Certificate(tb testing.TB, name string, until time.Time) (certificate, key string) {
	tb.Helper()
	c, k := s.authority.issue(tb, name, until)
	return string(c), string(k)
}

// Certify gives the broker a certificate that is valid until a time. One that runs shows it to who connects after Reload.
func (s *SecureMosquitto) Certify(tb testing.TB, until time.Time) {
	tb.Helper()
	c, k := s.authority.issue(tb, "localhost", until)
	s.WriteFile(tb, "server.pem", c)
	s.WriteFile(tb, "server.key", k)
}

// Start starts the broker again, and waits until it takes connections with TLS, too.
func (s *SecureMosquitto) Start(tb testing.TB) {
	tb.Helper()
	s.MosquittoServer.Start(tb)
	s.process.ready(tb, func(ctx context.Context) error {
		for _, address := range []string{s.SecureAddress(), s.SecureWebAddress(), s.WebAddress()} {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			if err := c.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Users says who is let in, by their passwords. A broker that runs heeds it after Reload: it puts out who is none any more.
func (s *SecureMosquitto) Users(tb testing.TB, users map[string]string) {
	tb.Helper()
	var lines []string
	for name, password := range users {
		const rounds = 101
		salt := []byte("12 bytes salt"[:12])
		sum, err := pbkdf2.Key(sha512.New, password, salt, rounds, sha512.Size)
		if err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s:$7$%d$%s$%s\n", name, rounds, base64.StdEncoding.EncodeToString(salt), base64.StdEncoding.EncodeToString(sum)))
	}
	sort.Strings(lines)
	var all []byte
	for _, l := range lines {
		all = append(all, l...)
	}
	s.WriteFile(tb, "users", all)
}
