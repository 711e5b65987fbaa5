package service

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pulsarVersion is the version of Pulsar that install.sh gets.
const pulsarVersion = "4.0.8"

// sharedPulsar is the broker that the tests of a package have in common.
var sharedPulsar one[PulsarServer]

// Pulsar gives a broker that the tests of a package share: topics are to have names of their own. It takes some eight seconds to start.
func Pulsar(tb testing.TB) *PulsarServer {
	tb.Helper()
	return sharedPulsar.get(func() *PulsarServer {
		s := newPulsar(tb)
		s.Start(tb)
		return s
	})
}

// PulsarServer is a broker with its bookie and its ZooKeeper in one process (standalone), without functions and stream storage.
type PulsarServer struct {
	daemon
	jars, java                                 string
	port, admin, zookeeper, bookie, tls, https int
	settings                                   []string
	authority                                  *authority
	key                                        []byte // that tokens are signed with; nil: nobody logs in
	proxy                                      *Proxy
}

// NewPulsar starts a broker of the test's own, with settings (name=value) of standalone.conf beside ours. It tells clients that it is behind
// Proxy. It ends with the test.
func NewPulsar(tb testing.TB, settings ...string) *PulsarServer {
	tb.Helper()
	s := newPulsar(tb, settings...)
	s.proxy = NewProxy(tb, s.address(s.port))
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// NewSecurePulsar starts a broker of the test's own that listens with TLS, too, and knows clients by their token (see Token) or certificate (see
// Certificate). The roles admin and penstock may do everything; others what the test grants.
func NewSecurePulsar(tb testing.TB, settings ...string) *PulsarServer {
	tb.Helper()
	s := newPulsar(tb, settings...)
	s.tls, s.https, s.authority, s.key = freePort(tb), freePort(tb), newAuthority(tb), []byte("0123456789abcdef0123456789abcdef")
	s.write(tb, "ca.pem", s.authority.pem)
	s.Certify(tb, time.Now().Add(24*time.Hour))
	const providers = "org.apache.pulsar.broker.authentication.AuthenticationProvider"
	s.settings = append([]string{
		"brokerServicePortTls=" + strconv.Itoa(s.tls), "webServicePortTls=" + strconv.Itoa(s.https),
		"tlsCertificateFilePath=" + filepath.Join(s.dir, "server.pem"), "tlsKeyFilePath=" + filepath.Join(s.dir, "server.key"), "tlsTrustCertsFilePath=" + filepath.Join(s.dir, "ca.pem"),
		"tlsCertRefreshCheckDurationSec=0",
		"authenticationEnabled=true", "authorizationEnabled=true", "superUserRoles=admin,penstock", "authenticationProviders=" + providers + "Token," + providers + "Tls",
		"brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken",
	}, s.settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func newPulsar(tb testing.TB, settings ...string) *PulsarServer {
	tb.Helper()
	s := &PulsarServer{settings: settings, port: freePort(tb), admin: freePort(tb), zookeeper: freePort(tb), bookie: freePort(tb)}
	s.java = find(tb, "pulsar", "java", "/usr/lib/jvm/*-17-*/bin/java", "/usr/lib/jvm/*-2?-*/bin/java")
	s.jars = filepath.Join(tools(), "pulsar-"+pulsarVersion)
	if _, err := os.Stat(filepath.Join(s.jars, "complete")); err != nil {
		tb.Skipf("Pulsar %s is not installed (%s): run test/service/install.sh pulsar", pulsarVersion, s.jars)
	}
	s.dir = folder(tb, "pulsar", nil)
	return s
}

func (s *PulsarServer) address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func (s *PulsarServer) write(tb testing.TB, name string, content []byte) string {
	tb.Helper()
	s.WriteFile(tb, name, content)
	return filepath.Join(s.dir, name)
}

// URL is where the broker listens in the open.
func (s *PulsarServer) URL() string { return "pulsar://" + s.address(s.port) }

// Proxied is where the proxy in front of it listens. Clients that ask there which broker has a topic are sent to the proxy again, where they ask for the
// listener "proxied". Only a broker of a test's own has one.
func (s *PulsarServer) Proxied() string {
	return "pulsar://127.0.0.1:" + strconv.Itoa(s.proxy.Port())
}

// Proxy is the proxy that stands behind Proxied.
func (s *PulsarServer) Proxy() *Proxy { return s.proxy }

// SecureURL is where it listens with TLS, under the names localhost and 127.0.0.1.
func (s *PulsarServer) SecureURL() string { return "pulsar+ssl://localhost:" + strconv.Itoa(s.tls) }

// AdminURL is where it is administered; SecureAdminURL with TLS.
func (s *PulsarServer) AdminURL() string { return "http://" + s.address(s.admin) }

// SecureAdminURL is where it is administered with TLS.
func (s *PulsarServer) SecureAdminURL() string { return "https://localhost:" + strconv.Itoa(s.https) }

// Authority is the certificate (PEM) that the broker's own comes from, with TLS.
func (s *PulsarServer) Authority() string { return string(s.authority.pem) }

// Certificate makes a certificate of the broker's authority for a role, valid until a time, and its key, both as PEM.
func (s *PulsarServer) Certificate(tb testing.TB, role string, until time.Time) (certificate, key string) {
	tb.Helper()
	c, k := s.authority.issue(tb, role, until)
	return string(c), string(k)
}

// Certify gives the broker a certificate that is valid until a time. One that runs shows it to who connects from now on.
func (s *PulsarServer) Certify(tb testing.TB, until time.Time) {
	tb.Helper()
	c, k := s.authority.issue(tb, "localhost", until)
	s.write(tb, "server.pem", c)
	s.write(tb, "server.key", k)
}

// Token makes a token for a role, which is good for a while; 0 is for good (RFC 7519, HS256).
func (s *PulsarServer) Token(role string, good time.Duration) string {
	claims := map[string]any{"sub": role}
	if good != 0 {
		claims["exp"] = time.Now().Add(good).Unix()
	}
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err) // it is made of texts and numbers
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	mac := hmac.New(sha256.New, s.key)
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// ForgetTokens has the broker know none of the tokens that were made before, when it is started again.
func (s *PulsarServer) ForgetTokens() {
	s.key = bytes.Repeat(s.key[:1:1], len(s.key)-1)
	s.key = append(s.key, 'x')
}

const pulsarLog = `<?xml version="1.0"?><Configuration status="ERROR"><Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d{ABSOLUTE} %p %c{1} %m%n"/></Console></Appenders>` +
	`<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>`

// properties is the server's configuration.
func (s *PulsarServer) properties() []byte {
	lines := []string{
		"clusterName=standalone", "bindAddress=127.0.0.1", "advertisedAddress=127.0.0.1", "brokerServicePort=" + strconv.Itoa(s.port), "webServicePort=" + strconv.Itoa(s.admin),
		"numIOThreads=2", "numHttpServerThreads=8", "numOrderedExecutorThreads=2", "topicOrderedExecutorThreadNum=2", "numExecutorThreadPoolSize=2", "numCacheExecutorThreadPoolSize=2",
		"managedLedgerDefaultEnsembleSize=1", "managedLedgerDefaultWriteQuorum=1", "managedLedgerDefaultAckQuorum=1", "managedLedgerCacheSizeMB=32", "managedLedgerNumSchedulerThreads=2",
		// A broker that was killed is taken back when the session of the one before is over.
		"metadataStoreSessionTimeoutMillis=6000",
		"metadataStoreOperationTimeoutSeconds=30", "loadBalancerEnabled=false", "webSocketServiceEnabled=false", "exposeTopicLevelMetricsInPrometheus=false",
		"activeConsumerFailoverDelayTimeMillis=0", "defaultNumberOfNamespaceBundles=1", "brokerShutdownTimeoutMs=2000", "delayedDeliveryTickTimeMillis=100",
		"acknowledgmentAtBatchIndexLevelEnabled=false", "brokerDeduplicationEnabled=false",
		"journalMaxGroupWaitMSec=1", "dbStorage_writeCacheMaxSizeMb=32", "dbStorage_readAheadCacheMaxSizeMb=16", "dbStorage_rocksDB_blockCacheSize=4194304", "nettyMaxFrameSizeBytes=5253120",
		"diskUsageThreshold=0.99", "diskUsageWarnThreshold=0.98", "isAllowAutoUpdateSchemaEnabled=true",
	}
	if s.proxy != nil {
		lines = append(lines, "advertisedListeners=internal:"+s.URL()+",proxied:"+s.Proxied(), "internalListenerName=internal")
	}
	if s.key != nil {
		lines = append(lines, "tokenSecretKey=data:;base64,"+base64.StdEncoding.EncodeToString(s.key), "brokerClientAuthenticationParameters=token:"+s.Token("admin", 0))
	}
	return []byte(strings.Join(append(lines, s.settings...), "\n") + "\n")
}

// Start starts the broker again after Stop or Kill, on the same ports and data, and waits until it answers.
func (s *PulsarServer) Start(tb testing.TB) {
	tb.Helper()
	conf := s.write(tb, "standalone.conf", s.properties())
	log := s.write(tb, "log4j2.xml", []byte(pulsarLog))
	args := []string{"-Xms96m", "-Xmx384m", "-XX:MaxDirectMemorySize=256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dlog4j.configurationFile=" + log, "-Dlog4j2.is.webapp=false", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true", "-Djava.io.tmpdir=" + s.dir,
		"-Dio.netty.tryReflectionSetAccessible=true", "-Dzookeeper.snapshot.trust.empty=true", "-Dzookeeper.admin.enableServer=false", "-Dzookeeper.clientPortAddress=127.0.0.1"}
	for _, p := range []string{"java.base/java.nio", "java.base/java.io", "java.base/java.util.zip", "java.base/java.lang", "java.base/jdk.internal.misc", "java.base/jdk.internal.platform", "java.base/sun.net", "java.management/sun.management",
		"jdk.management/com.sun.management.internal"} {
		args = append(args, "--add-opens", p+"=ALL-UNNAMED")
	}
	args = append(args, "-cp", filepath.Join(s.jars, "*"), "org.apache.pulsar.PulsarStandaloneStarter", "--config", conf, "-nfw", "-nss", "-a", "127.0.0.1",
		"--zookeeper-dir", filepath.Join(s.dir, "zookeeper"), "--zookeeper-port", strconv.Itoa(s.zookeeper), "--bookkeeper-dir", filepath.Join(s.dir, "bookie"), "--bookkeeper-port", strconv.Itoa(s.bookie))
	s.process = start(tb, options{dir: s.dir, signal: "KILL", env: []string{"PULSAR_STANDALONE_USE_ZOOKEEPER=1"}}, s.java, args...)
	s.process.ready(tb, s.answers)
}

// answers says that the broker has made its namespace, which is the last that it does, and knows where topics are.
func (s *PulsarServer) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, path := range []string{"/admin/v2/persistent/public/default", "/lookup/v2/topic/persistent/public/default/ready"} {
		status, text, err := s.ask(ctx, http.MethodGet, path, "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answers %d: %.200s", path, status, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Ask asks the administration (as admin), and gives the answer's status and text: GET /admin/v2/persistent/public/default/orders/stats.
func (s *PulsarServer) Ask(tb testing.TB, method, path, body string) (status int, text string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, text, err := s.ask(ctx, method, path, body)
	if err != nil {
		tb.Fatal(err)
	}
	return status, text
}

// Do is Ask for what must succeed.
func (s *PulsarServer) Do(tb testing.TB, method, path, body string) string {
	tb.Helper()
	status, text := s.Ask(tb, method, path, body)
	if status >= 300 {
		tb.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

func (s *PulsarServer) ask(ctx context.Context, method, path, body string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, s.AdminURL()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.key != nil {
		req.Header.Set("Authorization", "Bearer "+s.Token("admin", 0))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}
