package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
)

// Pulsar is a broker with its bookie and its ZooKeeper in one process (standalone), with the settings that it comes with but for those that one of each needs.
type Pulsar struct {
	folder      string
	port, admin int
	cmd         *exec.Cmd
	ended       chan error // gives why the broker has ended
	said        *tail
}

// pulsarStarts is how long a broker may take to start.
const pulsarStarts = 2 * time.Minute

const pulsarLog = `<?xml version="1.0"?><Configuration status="ERROR"><Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d{ABSOLUTE} %p %c{1} %m%n"/></Console></Appenders>` +
	`<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>`

// StartPulsar starts a broker on free ports of the loopback interface, with its folder below the given one. tools is the folder that test/service/install.sh puts Pulsar into:
// pulsar-<version> in it, the last of them. The java in PATH is to be of version 17 at least.
func StartPulsar(ctx context.Context, under, tools string) (p *Pulsar, err error) {
	found, err := filepath.Glob(filepath.Join(tools, "pulsar-*", "complete"))
	if err != nil || len(found) == 0 {
		return nil, errors.New("Pulsar is not installed: run test/service/install.sh pulsar")
	}
	jars, err := filepath.Abs(filepath.Dir(found[len(found)-1]))
	if err != nil {
		return nil, err
	}
	p = &Pulsar{said: &tail{}, ended: make(chan error, 1)}
	if p.folder, err = os.MkdirTemp(under, "pulsar-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	var zookeeper, bookie int
	for _, port := range []*int{&p.port, &p.admin, &zookeeper, &bookie} {
		if *port, err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	conf, logs := filepath.Join(p.folder, "standalone.conf"), filepath.Join(p.folder, "log4j2.xml")
	settings := strings.Join([]string{
		"clusterName=standalone", "bindAddress=127.0.0.1", "advertisedAddress=127.0.0.1", "brokerServicePort=" + strconv.Itoa(p.port), "webServicePort=" + strconv.Itoa(p.admin),
		"managedLedgerDefaultEnsembleSize=1", "managedLedgerDefaultWriteQuorum=1", "managedLedgerDefaultAckQuorum=1", "loadBalancerEnabled=false", "webSocketServiceEnabled=false",
		"defaultNumberOfNamespaceBundles=1", "journalMaxGroupWaitMSec=1", "nettyMaxFrameSizeBytes=5253120", "diskUsageThreshold=0.99", "diskUsageWarnThreshold=0.98",
		// By themselves these are shares of the memory, which is little here.
		"managedLedgerCacheSizeMB=64", "dbStorage_writeCacheMaxSizeMb=64", "dbStorage_readAheadCacheMaxSizeMb=32", "dbStorage_rocksDB_blockCacheSize=8388608",
	}, "\n") + "\n"
	if err := errors.Join(os.WriteFile(conf, []byte(settings), 0o600), os.WriteFile(logs, []byte(pulsarLog), 0o600)); err != nil {
		return nil, err
	}
	args := []string{
		"-Xms256m", "-Xmx768m", "-XX:MaxDirectMemorySize=512m", "-Dlog4j.configurationFile=" + logs, "-Dlog4j2.is.webapp=false", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true",
		"-Djava.io.tmpdir=" + p.folder, "-Dio.netty.tryReflectionSetAccessible=true", "-Dzookeeper.snapshot.trust.empty=true", "-Dzookeeper.admin.enableServer=false", "-Dzookeeper.clientPortAddress=127.0.0.1",
	}
	for _, opened := range []string{
		"java.base/java.nio", "java.base/java.io", "java.base/java.util.zip", "java.base/java.lang", "java.base/jdk.internal.misc", "java.base/jdk.internal.platform", "java.base/sun.net",
		"java.management/sun.management", "jdk.management/com.sun.management.internal",
	} {
		args = append(args, "--add-opens", opened+"=ALL-UNNAMED")
	}
	args = append(args, "-cp", filepath.Join(jars, "*"), "org.apache.pulsar.PulsarStandaloneStarter", "--config", conf, "-nfw", "-nss", "-a", "127.0.0.1",
		"--zookeeper-dir", filepath.Join(p.folder, "zookeeper"), "--zookeeper-port", strconv.Itoa(zookeeper), "--bookkeeper-dir", filepath.Join(p.folder, "bookie"), "--bookkeeper-port", strconv.Itoa(bookie))
	cmd := exec.Command("java", args...) //nolint:noctx,gosec // it is stopped by Stop
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.folder, p.said, p.said
	cmd.Env = append(os.Environ(), "PULSAR_STANDALONE_USE_ZOOKEEPER=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd = cmd
	go func() { p.ended <- cmd.Wait() }()
	return p, p.ready(ctx)
}

// ready waits until the broker has made its namespace, which is the last that it does, and knows where topics are.
func (p *Pulsar) ready(ctx context.Context) error {
	for begun := time.Now(); ; {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := p.ask(asking, http.MethodGet, "/admin/v2/persistent/public/default")
		if err == nil {
			_, err = p.ask(asking, http.MethodGet, "/lookup/v2/topic/persistent/public/default/ready")
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("Pulsar has ended: %w\n%s", err, lastLines(p.said.text()))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if time.Since(begun) > pulsarStarts {
			return fmt.Errorf("Pulsar does not answer: %w", err)
		}
	}
}

// URL is where the broker listens.
func (p *Pulsar) URL() string { return "pulsar://127.0.0.1:" + strconv.Itoa(p.port) }

// CPU is what the broker has used so far.
func (p *Pulsar) CPU() time.Duration { return cpuOf(strconv.Itoa(p.cmd.Process.Pid)) }

// With runs do with a client.
func (p *Pulsar) With(do func(pulsar.Client) error) error {
	cl, err := pulsar.NewClient(pulsar.ClientOptions{URL: p.URL(), Logger: log.NewLoggerWithSlog(slog.New(slog.DiscardHandler))})
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(cl)
}

// Topic makes a topic without partitions anew.
func (p *Pulsar) Topic(ctx context.Context, name string) error {
	path := "/admin/v2/persistent/public/default/" + name
	if _, err := p.ask(ctx, http.MethodDelete, path+"?force=true"); err != nil && !errors.Is(err, errNotThere) {
		return err
	}
	_, err := p.ask(ctx, http.MethodPut, path)
	return err
}

// Taken is how many messages the broker has been sent to a topic.
func (p *Pulsar) Taken(ctx context.Context, topic string) (n int64, err error) {
	s, err := p.stats(ctx, topic)
	return s.Taken, err
}

// Left is how many entries of a topic, each with one message or more, its subscriptions have not acknowledged.
func (p *Pulsar) Left(ctx context.Context, topic string) (n int64, err error) {
	s, err := p.stats(ctx, topic)
	for _, sub := range s.Subscriptions {
		n += sub.Left
	}
	return n, err
}

// topicStats is what the broker says of a topic.
type topicStats struct {
	Taken         int64 `json:"msgInCounter"`
	Subscriptions map[string]struct {
		Left int64 `json:"msgBacklog"`
	} `json:"subscriptions"`
}

func (p *Pulsar) stats(ctx context.Context, topic string) (s topicStats, err error) {
	text, err := p.ask(ctx, http.MethodGet, "/admin/v2/persistent/public/default/"+topic+"/stats")
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

var errNotThere = errors.New("it is not there")

// ask asks the administration.
func (p *Pulsar) ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+strconv.Itoa(p.admin)+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s %s: %w", method, path, errNotThere)
	case resp.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

// Stop ends the broker and removes its files.
func (p *Pulsar) Stop() error {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // nothing of it is needed
		<-p.ended                //nolint:errcheck // how it ended is no matter
		p.cmd = nil
	}
	return os.RemoveAll(p.folder)
}
