package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaVersion is the version of Kafka that install.sh gets: the jars that kafka.sums lists.
const kafkaVersion = "4.2.2"

// sharedKafka is the broker that the tests of a package have in common.
var sharedKafka one[KafkaServer]

// Kafka gives a broker that the tests of a package share: topics and groups are to have names of their own (see KafkaName). It does not
// wait for the disk, as no Kafka does.
func Kafka(tb testing.TB) *KafkaServer {
	tb.Helper()
	return sharedKafka.get(func() *KafkaServer {
		s := newKafka(tb)
		s.Start(tb)
		return s
	})
}

// KafkaName gives a name for a topic or a group that no other test of the package has.
func KafkaName(tb testing.TB) string {
	tb.Helper()
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '-'
	}, tb.Name())
	return name[max(0, len(name)-100):] + "-" + strconv.FormatInt(number.Add(1), 10)
}

// KafkaServer is a broker in KRaft mode, alone in its cluster. It listens four times: in the open (Brokers), in the open behind a
// proxy of the test's (Proxied), where clients log in (SASL: PLAIN as alice with alice-secret, OAUTHBEARER with unsecured
// tokens, SCRAM for those that the test adds), and with TLS (TLS).
//
// Everyone may do everything, but for what the test denies by an ACL.
type KafkaServer struct {
	daemon
	ports    map[string]int // by listener
	jars     string
	java     string
	settings []string
	proxy    *Proxy
	// Authority is the certificate (PEM) that the broker's own comes from; CertificateOf makes others that it trusts.
	Authority []byte
	authority *authority
}

// The listeners.
const (
	kafkaPlain   = "PLAIN"
	kafkaProxied = "PROXIED"
	kafkaSASL    = "SASL"
	kafkaTLS     = "TLS"
	kafkaControl = "CONTROL"
)

// NewKafka starts a broker of the test's own, with settings (name=value) of server.properties. It ends with the test.
func NewKafka(tb testing.TB, settings ...string) *KafkaServer {
	tb.Helper()
	s := newKafka(tb, settings...)
	s.proxy = NewProxy(tb, s.address(kafkaProxied))
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// tools is the folder that install.sh puts programs into: .tools of the project.
func tools() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "test", "service", "install.sh")); err == nil {
				return filepath.Join(dir, ".tools")
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return ".tools"
}

func newKafka(tb testing.TB, settings ...string) *KafkaServer {
	tb.Helper()
	s := &KafkaServer{settings: settings, ports: map[string]int{}}
	s.java = find(tb, "kafka", "java", "/usr/lib/jvm/*-17-*/bin/java", "/usr/lib/jvm/*-2?-*/bin/java")
	s.jars = filepath.Join(tools(), "kafka-"+kafkaVersion)
	if _, err := os.Stat(filepath.Join(s.jars, "complete")); err != nil {
		tb.Skipf("Kafka %s is not installed (%s): run test/service/install.sh kafka", kafkaVersion, s.jars)
	}
	s.who = account(tb, "kafka")
	s.dir = folder(tb, "kafka", s.who)
	for _, l := range []string{kafkaPlain, kafkaProxied, kafkaSASL, kafkaTLS, kafkaControl} {
		s.ports[l] = freePort(tb)
	}
	s.copyJars(tb)
	s.authority = newAuthority(tb)
	s.Authority = s.authority.pem
	s.SetCertificate(tb, time.Now().Add(24*time.Hour))
	if err := copyTree(s.template(tb), s.data(), s.who); err != nil {
		tb.Fatal(err)
	}
	return s
}

// copyJars makes the jars readable for the server's user, who may not be allowed to see the project.
func (s *KafkaServer) copyJars(tb testing.TB) {
	tb.Helper()
	if s.who == nil {
		return
	}
	to := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-kafka-%s-%d-jars", kafkaVersion, os.Geteuid()))
	if _, err := os.Stat(filepath.Join(to, "complete")); err != nil {
		made := filepath.Join(s.dir, "jars")
		if err := copyTree(s.jars, made, nil); err != nil {
			tb.Fatal(err)
		}
		if err := os.Rename(made, to); err != nil { // somebody was faster
			to = made
		}
	}
	s.jars = to
}

// copyTree copies a folder with everything in it; who owns the copy.
func copyTree(from, to string, who *syscall.Credential) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			err = os.Mkdir(target, 0o755) //nolint:gosec // the server's user reads it
		} else {
			var text []byte
			if text, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(target, text, 0o644) //nolint:gosec // the server's user reads it
			}
		}
		if err != nil {
			return err
		}
		return give(target, who)
	})
}

func (s *KafkaServer) data() string { return filepath.Join(s.dir, "data") }

func (s *KafkaServer) address(listener string) string {
	return "127.0.0.1:" + strconv.Itoa(s.ports[listener])
}

// template gives formatted storage to copy. It takes a second to make, so it is kept on this machine for the next tests.
func (s *KafkaServer) template(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-kafka-%s-%d-template", kafkaVersion, os.Geteuid()))
	if _, err := os.Stat(filepath.Join(path, "meta.properties")); err == nil {
		return path
	}
	made := filepath.Join(s.dir, "template")
	config := s.write(tb, "format.properties", "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\nlisteners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n"+
		"controller.listener.names=CONTROLLER\nlog.dirs="+made+"\n")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.java, "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(s.jars, "*"), "kafka.tools.StorageTool", "format", "-t", "cGVuc3RvY2stdGVzdHMtMQ", "-c", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who}
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("formatting Kafka's storage: %v\n%s", err, out)
	}
	if err := os.Rename(made, path); err != nil { // somebody was faster, or the folder is another's
		return made
	}
	return path
}

// write puts a file into the server's folder, and says where.
func (s *KafkaServer) write(tb testing.TB, name, text string) string {
	tb.Helper()
	s.WriteFile(tb, name, []byte(text))
	return filepath.Join(s.dir, name)
}

// Brokers is where the broker listens in the open: 127.0.0.1:port.
func (s *KafkaServer) Brokers() string { return s.address(kafkaPlain) }

// SASL is where it listens for clients that log in.
func (s *KafkaServer) SASL() string { return s.address(kafkaSASL) }

// TLS is where it listens with TLS, under the name localhost. A client may show a certificate of CertificateOf.
func (s *KafkaServer) TLS() string { return "localhost:" + strconv.Itoa(s.ports[kafkaTLS]) }

// Proxied is the address of the proxy in front of it, and all that clients get to hear of it there. Only a broker of a test's own has one.
func (s *KafkaServer) Proxied() string { return "127.0.0.1:" + strconv.Itoa(s.proxy.Port()) }

// Proxy is the proxy that stands behind Proxied.
func (s *KafkaServer) Proxy() *Proxy { return s.proxy }

// SetCertificate gives the broker a certificate that is valid until a time; a broker that runs shows it when it was started again.
func (s *KafkaServer) SetCertificate(tb testing.TB, until time.Time) {
	tb.Helper()
	certificate, key := s.authority.issue(tb, "localhost", until)
	s.write(tb, "server.pem", string(key)+string(certificate))
	s.write(tb, "ca.pem", string(s.Authority))
}

// CertificateOf gives the certificate and key (PEM) of a client.
func (s *KafkaServer) CertificateOf(tb testing.TB, name string, until time.Time) (certificate, key []byte) {
	tb.Helper()
	return s.authority.issue(tb, name, until)
}

// properties is the server's configuration.
func (s *KafkaServer) properties() string {
	var b strings.Builder
	set := func(name, format string, args ...any) { fmt.Fprintf(&b, name+"="+format+"\n", args...) }
	set("process.roles", "broker,controller")
	set("node.id", "1")
	set("controller.quorum.voters", "1@%s", s.address(kafkaControl))
	set("controller.listener.names", kafkaControl)
	set("inter.broker.listener.name", kafkaPlain)
	var listen, advertised []string
	for _, l := range []string{kafkaPlain, kafkaProxied, kafkaSASL, kafkaTLS, kafkaControl} {
		listen = append(listen, l+"://"+s.address(l))
		switch {
		case l == kafkaProxied && s.proxy != nil:
			advertised = append(advertised, l+"://"+s.Proxied())
		case l == kafkaTLS:
			advertised = append(advertised, l+"://"+s.TLS())
		case l != kafkaControl:
			advertised = append(advertised, l+"://"+s.address(l))
		}
	}
	set("listeners", "%s", strings.Join(listen, ","))
	set("advertised.listeners", "%s", strings.Join(advertised, ","))
	set("listener.security.protocol.map", "PLAIN:PLAINTEXT,PROXIED:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,CONTROL:PLAINTEXT")
	set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER")
	const module = "org.apache.kafka.common.security."
	set("listener.name.sasl.plain.sasl.jaas.config", module+`plain.PlainLoginModule required user_alice="alice-secret";`)
	set("listener.name.sasl.scram-sha-256.sasl.jaas.config", module+"scram.ScramLoginModule required;")
	set("listener.name.sasl.scram-sha-512.sasl.jaas.config", module+"scram.ScramLoginModule required;")
	set("listener.name.sasl.oauthbearer.sasl.jaas.config", module+`oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`)
	set("listener.name.tls.ssl.keystore.type", "PEM")
	set("listener.name.tls.ssl.keystore.location", "%s", filepath.Join(s.dir, "server.pem"))
	set("listener.name.tls.ssl.truststore.type", "PEM")
	set("listener.name.tls.ssl.truststore.location", "%s", filepath.Join(s.dir, "ca.pem"))
	set("listener.name.tls.ssl.client.auth", "requested")
	set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
	set("allow.everyone.if.no.acl.found", "true")
	set("super.users", "User:ANONYMOUS")
	set("log.dirs", "%s", s.data())
	set("offsets.topic.replication.factor", "1")
	set("offsets.topic.num.partitions", "2")
	set("transaction.state.log.replication.factor", "1")
	set("transaction.state.log.min.isr", "1")
	set("transaction.state.log.num.partitions", "2")
	set("share.coordinator.state.topic.replication.factor", "1")
	set("share.coordinator.state.topic.min.isr", "1")
	set("share.coordinator.state.topic.num.partitions", "1")
	set("auto.create.topics.enable", "false")
	set("group.initial.rebalance.delay.ms", "0")
	set("group.min.session.timeout.ms", "500")
	// A broker that was killed is taken back when the session of the one before is over.
	set("broker.session.timeout.ms", "2500")
	set("broker.heartbeat.interval.ms", "500")
	set("log.cleaner.dedupe.buffer.size", "2097152")
	set("log.cleaner.threads", "1")
	set("num.io.threads", "2")
	set("num.network.threads", "1")
	set("num.replica.fetchers", "1")
	set("background.threads", "2")
	for _, line := range s.settings {
		b.WriteString(line + "\n")
	}
	return b.String()
}

const kafkaLog = `<?xml version="1.0"?><Configuration status="ERROR"><Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d{ABSOLUTE} %p %c{1} %m%n"/></Console></Appenders>` +
	`<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>`

// Start starts the broker again after Stop or Kill, on the same ports and data, and waits until it answers.
func (s *KafkaServer) Start(tb testing.TB) {
	tb.Helper()
	config := s.write(tb, "server.properties", s.properties())
	log := s.write(tb, "log4j2.xml", kafkaLog)
	s.process = start(tb, options{who: s.who, dir: s.dir, signal: "KILL"}, s.java, "-Xms96m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dlog4j2.configurationFile="+log, "-Djava.awt.headless=true", "-Djava.io.tmpdir="+s.dir, "-cp", filepath.Join(s.jars, "*"), "kafka.Kafka", config)
	s.process.ready(tb, s.answers)
}

// answers asks for the cluster once, and whether the broker has taken up its work.
func (s *KafkaServer) answers(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := kadm.NewClient(cl).BrokerMetadata(ctx)
	if err == nil && len(m.Brokers) == 0 {
		err = errors.New("the broker is not registered yet")
	}
	return err
}

// Client gives a client of the test's own, in the open. It is closed with the test.
func (s *KafkaServer) Client(tb testing.TB, opts ...kgo.Opt) *kgo.Client {
	tb.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.Brokers()), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

// Topic makes a topic.
func (s *KafkaServer) Topic(tb testing.TB, name string, partitions int, config ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	set := map[string]*string{}
	for _, c := range config {
		k, v, _ := strings.Cut(c, "=")
		set[k] = &v
	}
	r, err := kadm.NewClient(cl).CreateTopic(ctx, int32(partitions), 1, set, name)
	if err = errors.Join(err, r.Err); err != nil {
		tb.Fatalf("topic %s: %v", name, err)
	}
	for { // the broker hears of it a little later than the controller
		seen, err := kadm.NewClient(cl).ListTopics(ctx, name)
		if err == nil && seen[name].Err == nil && len(seen[name].Partitions) == partitions {
			return
		}
		if ctx.Err() != nil {
			tb.Fatalf("topic %s does not appear: %v", name, err)
		}
		pause(ctx)
	}
}

// SetUser adds a user of SCRAM, or gives it another password.
func (s *KafkaServer) SetUser(tb testing.TB, name, password string) {
	tb.Helper()
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} { // one at a time: a user may be named once in a request
		s.scram(tb, nil, []kadm.UpsertSCRAM{{User: name, Mechanism: m, Iterations: 4096, Password: password}})
	}
}

// DropUser takes a user of SCRAM away. Connections that have logged in stay until they have to log in again (connections.max.reauth.ms).
func (s *KafkaServer) DropUser(tb testing.TB, name string) {
	tb.Helper()
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		s.scram(tb, []kadm.DeleteSCRAM{{User: name, Mechanism: m}}, nil)
	}
}

func (s *KafkaServer) scram(tb testing.TB, drop []kadm.DeleteSCRAM, set []kadm.UpsertSCRAM) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()))
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	altered, err := kadm.NewClient(cl).AlterUserSCRAMs(ctx, drop, set)
	if err = errors.Join(err, altered.Error()); err != nil {
		tb.Fatal(err)
	}
}

// Deny forbids a user an operation on a topic, until the returned function is called.
func (s *KafkaServer) Deny(tb testing.TB, user, topic string, ops ...kadm.ACLOperation) (allow func()) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()))
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	acl := kadm.NewACLs().Deny("User:" + user).DenyHosts("*").Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(ops...)
	r, err := kadm.NewClient(cl).CreateACLs(ctx, acl)
	for _, one := range r {
		err = errors.Join(err, one.Err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		tb.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()))
		if err != nil {
			tb.Fatal(err)
		}
		defer cl.Close()
		if _, err := kadm.NewClient(cl).DeleteACLs(ctx, acl); err != nil {
			tb.Fatal(err)
		}
	}
}
