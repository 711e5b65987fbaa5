package service

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// natsVersion is the version of nats-server that install.sh gets.
const natsVersion = "v2.15.2"

// sharedNATS is the server that the tests of a package have in common.
var sharedNATS one[NATSServer]

// NATS gives a server with JetStream that the tests of a package share: streams, buckets and subjects are to have names of their own. It does not
// wait for the disk.
func NATS(tb testing.TB) *NATSServer {
	tb.Helper()
	return sharedNATS.get(func() *NATSServer {
		s := newNATS(tb, NATSOptions{})
		s.Start(tb)
		return s
	})
}

// NATSOptions say how a server of a test's own is set up.
type NATSOptions struct {
	// Sync has the server wait for the disk before it acknowledges (sync_interval: always).
	Sync bool
	// Config is added to the configuration: users, accounts, an operator, limits. ${DIR} stands for the server's folder.
	Config string
	// Files are put into the server's folder, by name.
	Files map[string][]byte
	// TLS gives the server a certificate for localhost and 127.0.0.1; with Verify clients need one of the same authority, too.
	TLS, Verify bool
}

// NATSServer is a nats-server with JetStream, whose data is in a temporary folder.
type NATSServer struct {
	daemon
	port    int
	program string
	options NATSOptions

	authority *authority
}

// NewNATS starts a server of the test's own. It ends with the test.
func NewNATS(tb testing.TB, o NATSOptions) *NATSServer {
	tb.Helper()
	s := newNATS(tb, o)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func newNATS(tb testing.TB, o NATSOptions) *NATSServer {
	tb.Helper()
	s := &NATSServer{options: o, port: freePort(tb)}
	s.program = find(tb, "nats", "nats-server", filepath.Join(tools(), "bin", "nats-server-"+natsVersion))
	s.dir = folder(tb, "nats", nil)
	if o.TLS {
		s.authority = newAuthority(tb)
		s.WriteFile(tb, "ca.pem", s.authority.pem)
		certificate, key := s.authority.issue(tb, "localhost", time.Now().Add(24*time.Hour))
		s.WriteFile(tb, "cert.pem", certificate)
		s.WriteFile(tb, "key.pem", key)
	}
	for name, content := range o.Files {
		s.WriteFile(tb, name, content)
	}
	s.Configure(tb, o.Config)
	return s
}

// Configure puts another text in the place of NATSOptions.Config. It takes effect with Reload or Start.
func (s *NATSServer) Configure(tb testing.TB, config string) {
	tb.Helper()
	s.options.Config = config
	var b strings.Builder
	fmt.Fprintf(&b, "host: 127.0.0.1\nport: %d\nserver_name: test\nmax_payload: 8MB\n", s.port)
	sync := ""
	if s.options.Sync {
		sync = ", sync_interval: always"
	}
	fmt.Fprintf(&b, "jetstream: {store_dir: %s, max_memory_store: 256MB, max_file_store: 4GB%s}\n", strconv.Quote(filepath.Join(s.dir, "data")), sync)
	if s.options.TLS {
		fmt.Fprintf(&b, "tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: %t}\n", filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"), filepath.Join(s.dir, "ca.pem"), s.options.Verify)
	}
	b.WriteString(strings.ReplaceAll(config, "${DIR}", s.dir))
	b.WriteByte('\n')
	s.WriteFile(tb, "nats.conf", []byte(b.String()))
}

// Start starts the server again after Stop or Kill, on the same port and data, and waits until it answers.
func (s *NATSServer) Start(tb testing.TB) {
	tb.Helper()
	s.process = start(tb, options{dir: s.dir, signal: "TERM"}, s.program, "-c", filepath.Join(s.dir, "nats.conf"))
	s.process.ready(tb, s.answers)
}

// answers reads the greeting of a new connection. JetStream was recovered before the server listens.
func (s *NATSServer) answers(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.Address())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "INFO ") {
		err = fmt.Errorf("the server says %q", line)
	}
	return err
}

// Address is where the server listens: 127.0.0.1:port.
func (s *NATSServer) Address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL is the server's address as clients want it: nats://127.0.0.1:port.
func (s *NATSServer) URL() string { return "nats://" + s.Address() }

// Authority is the certificate (PEM) that the server's own comes from, with TLS.
func (s *NATSServer) Authority() []byte { return s.authority.pem }

// CertificateOf makes a certificate of the server's authority, valid until a time, and its key, both as PEM.
func (s *NATSServer) CertificateOf(tb testing.TB, name string, until time.Time) (certificate, key []byte) {
	tb.Helper()
	return s.authority.issue(tb, name, until)
}

// Reload makes the server read its configuration anew (SIGHUP). It returns at once: a test waits for what it expects.
func (s *NATSServer) Reload(tb testing.TB) {
	tb.Helper()
	s.send(tb, syscall.SIGHUP)
}
