package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka is a broker in KRaft mode, alone in its cluster, with the settings that it comes with but for those that one broker needs.
type Kafka struct {
	folder string
	port   int
	cmd    *exec.Cmd
	ended  chan error
	said   *tail
}

// StartKafka starts a broker on a free port of the loopback interface, with its folder below the given one. Jars is the folder that test/service/install.sh puts Kafka
// into: .tools/kafka-<version>, the last of them.
func StartKafka(ctx context.Context, under, tools string) (k *Kafka, err error) {
	found, err := filepath.Glob(filepath.Join(tools, "kafka-*", "complete"))
	if err != nil || len(found) == 0 {
		return nil, errors.New("Kafka is not installed: run test/service/install.sh kafka")
	}
	jars, err := filepath.Abs(filepath.Dir(found[len(found)-1]))
	if err != nil {
		return nil, err
	}
	k = &Kafka{said: &tail{}, ended: make(chan error, 1)}
	if k.folder, err = os.MkdirTemp(under, "kafka-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Stop())
		}
	}()
	if k.port, err = freePort(ctx); err != nil {
		return nil, err
	}
	control, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(k.folder, "server.properties")
	text := fmt.Sprintf("process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:%[2]d\nlisteners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d\n"+
		"controller.listener.names=CONTROLLER\nlog.dirs=%[3]s\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"+
		"group.initial.rebalance.delay.ms=0\n", k.port, control, filepath.Join(k.folder, "data"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	classes := filepath.Join(jars, "*")
	if out, err := exec.CommandContext(ctx, "java", "-cp", classes, "kafka.tools.StorageTool", "format", "-t", "cGVuc3RvY2stYmVuY2gtMQ", "-c", config).CombinedOutput(); err != nil { //nolint:gosec // our own
		return nil, fmt.Errorf("formatting Kafka's storage: %w\n%s", err, out)
	}
	k.cmd = exec.Command("java", "-Xms512m", "-Xmx1g", "-cp", classes, "kafka.Kafka", config) //nolint:noctx,gosec // it is stopped by Stop
	k.cmd.Dir, k.cmd.Stdout, k.cmd.Stderr = k.folder, k.said, k.said
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := k.cmd.Start(); err != nil {
		k.cmd = nil
		return nil, err
	}
	go func() { k.ended <- k.cmd.Wait() }()
	for begun := time.Now(); ; {
		err := k.With(func(cl *kgo.Client) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return cl.Ping(ctx)
		})
		if err == nil {
			return k, nil
		}
		select {
		case err := <-k.ended:
			k.ended <- err
			return nil, fmt.Errorf("Kafka has ended: %w\n%s", err, lastLines(k.said.text()))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begun) > time.Minute {
			return nil, fmt.Errorf("Kafka does not answer: %w", err)
		}
	}
}

// Address is where the broker listens.
func (k *Kafka) Address() string { return "127.0.0.1:" + strconv.Itoa(k.port) }

// CPU is what the broker has used so far.
func (k *Kafka) CPU() time.Duration { return cpuOf(strconv.Itoa(k.cmd.Process.Pid)) }

// With runs do with a client.
func (k *Kafka) With(do func(*kgo.Client) error, opts ...kgo.Opt) error {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.Address()), kgo.RequestRetries(3)}, opts...)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(cl)
}

// Topic makes a topic anew.
func (k *Kafka) Topic(ctx context.Context, name string, partitions int32) error {
	return k.With(func(cl *kgo.Client) error {
		adm := kadm.NewClient(cl)
		if _, err := adm.DeleteTopic(ctx, name); err != nil && !errors.Is(err, ctx.Err()) {
			_ = err // it was not there
		}
		for {
			_, err := adm.CreateTopic(ctx, partitions, 1, nil, name)
			if err == nil {
				return nil
			}
			select {
			case <-time.After(50 * time.Millisecond): // the old one goes behind the scenes
			case <-ctx.Done():
				return err
			}
		}
	})
}

// Count is how many records a topic holds that nothing was deleted from.
func (k *Kafka) Count(ctx context.Context, topic string) (n int64, err error) {
	err = k.With(func(cl *kgo.Client) error {
		ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return err
	})
	return n, err
}

// Stop ends the broker and removes its files.
func (k *Kafka) Stop() error {
	if k.cmd != nil {
		_ = k.cmd.Process.Kill() // nothing of it is needed
		<-k.ended                //nolint:errcheck // how it ended is no matter
		k.cmd = nil
	}
	return os.RemoveAll(k.folder)
}
