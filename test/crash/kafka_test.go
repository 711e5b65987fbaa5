package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/test/service"
)

// kafkaFlow reads one topic and writes another, through a proxy. Values that are no JSON, and those that are too large for the topic, go to a third.
const kafkaFlow = `
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: cluster }
spec: { kafka: { brokers: ["%[1]s"] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: { kafka: { connection: cluster, topic: "%[2]s-in", instanceId: a, session: 2s } }
  order: per-key
  delivery: %[3]s
  steps:
    - filter: body.id >= 0
    - map: { id: "${body.id}", pad: "${body.pad}" }
  to: { kafka: { connection: cluster, topic: "%[2]s-out" } }
  onError:
    retry: { attempts: 1000, backoff: { initial: 100ms, max: 1s } }
    deadLetter: { kafka: { connection: cluster, topic: "%[2]s-dead", maxMessage: 4Mi } }
`

// pipe is a flow between two topics, and those who write and read them.
type pipe struct {
	t       *testing.T
	server  *service.KafkaServer
	name    string
	file    string
	random  *rand.Rand
	written atomic.Int64 // messages that the broker has acknowledged, and that are to arrive
	dead    atomic.Int64 // … that are to be dead letters
}

func newPipe(t *testing.T, server *service.KafkaServer, delivery string, seed uint64) *pipe {
	t.Helper()
	p := &pipe{t: t, server: server, name: service.KafkaName(t), random: rand.New(rand.NewPCG(seed, 5))}
	server.Topic(t, p.name+"-in", 3, "max.message.bytes=4000000")
	server.Topic(t, p.name+"-out", 3)
	server.Topic(t, p.name+"-dead", 1, "max.message.bytes=4000000")
	dir := t.TempDir()
	p.file = filepath.Join(dir, "flow.yaml")
	if err := os.WriteFile(p.file, fmt.Appendf(nil, kafkaFlow, server.Proxied(), p.name, delivery), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pipe) start() *process {
	p.t.Helper()
	cmd := exec.Command(program(p.t), "run", p.file)
	cmd.Dir = filepath.Dir(p.file)
	return start(p.t, cmd)
}

// write writes messages until ctx ends: most small, some that the flow drops, some that are no JSON, a few of nearly 1 MB, and a few of more.
func (p *pipe) write(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.server.Brokers()), kgo.ProducerBatchMaxBytes(4_000_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	for id := int64(0); ctx.Err() == nil && failed.Load() == nil; {
		for range 50 {
			r := &kgo.Record{Topic: p.name + "-in", Key: fmt.Appendf(nil, "k%d", id%20)}
			count := &p.written
			switch {
			case id%997 == 996:
				r.Value, count = fmt.Appendf(nil, `{"id": %d, "pad": "poison`, id), &p.dead
			case id%1999 == 1998:
				r.Value, count = fmt.Appendf(nil, `{"id":%d,"pad":%q}`, id, strings.Repeat("x", 1_500_000)), &p.dead
			case id%1499 == 1498:
				r.Value = fmt.Appendf(nil, `{"id":%d,"pad":%q}`, id, strings.Repeat("y", 900_000))
			case id%10 == 9:
				r.Value, count = fmt.Appendf(nil, `{"id":-%d,"pad":""}`, id), nil
			default:
				r.Value = fmt.Appendf(nil, `{"id":%d,"pad":"%d"}`, id, id)
			}
			id++
			cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
				switch {
				case err != nil:
					failed.Store(&err)
				case count != nil:
					count.Add(1)
				}
			})
		}
		sleep(ctx, 10*time.Millisecond)
	}
	if err := cl.Flush(context.Background()); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// arrival is what stands in the topics that the flow writes.
type arrival struct {
	out         map[int64]int
	dead, twice int // dead letters, and messages that are there more than once
	late        int // … and those that came behind a later one of their key
	last        map[string]int64
}

// arrived reads what is committed until everything has come, for a while; and then as long as more comes.
func (p *pipe) arrived() arrival {
	p.t.Helper()
	a := arrival{out: map[int64]int{}, last: map[string]int64{}}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cl := p.server.Client(p.t, kgo.ConsumeTopics(p.name+"-out", p.name+"-dead"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	deadIDs := map[string]bool{}
	for int64(len(a.out)) < p.written.Load() || int64(len(deadIDs)) < p.dead.Load() {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		if err := f.Err(); err != nil {
			p.t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) { a.take(p, r, deadIDs) })
	}
	a.dead = len(deadIDs)
	return a
}

func (a *arrival) take(p *pipe, r *kgo.Record, deadIDs map[string]bool) {
	if strings.HasSuffix(r.Topic, "-dead") {
		id, _, _ := strings.Cut(string(r.Value), ",")
		if deadIDs[strings.ReplaceAll(id, " ", "")] {
			a.twice++
		}
		deadIDs[strings.ReplaceAll(id, " ", "")] = true
		return
	}
	var body struct{ ID int64 }
	if err := json.Unmarshal(r.Value, &body); err != nil {
		p.t.Fatalf("%.100s: %v", r.Value, err)
	}
	if a.out[body.ID]++; a.out[body.ID] > 1 {
		a.twice++
	} else if last, ok := a.last[string(r.Key)]; ok && body.ID < last {
		a.late++
	}
	a.last[string(r.Key)] = max(a.last[string(r.Key)], body.ID)
}

// TestKafkaIsKilled runs a flow from Kafka to Kafka while the program is killed, the broker is killed, and the network is cut, slow, and silent. What the
// broker had acknowledged to those who wrote is all there in the end, in the order of its keys. Effectively-once, nothing is there twice.
func TestKafkaIsKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
	for _, delivery := range []string{"at-least-once", "effectively-once"} {
		t.Run(delivery, func(t *testing.T) {
			p := newPipe(t, service.NewKafka(t), delivery, uint64(seed))
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			var writing sync.WaitGroup
			writing.Go(func() {
				if err := p.write(ctx); err != nil {
					t.Error(err)
				}
			})
			for i := range kills {
				life := p.start()
				until := time.Duration(300+p.random.IntN(1500)) * time.Millisecond
				if !life.lives(until / 2) {
					t.Fatalf("the flow ended:\n%s", life.said.String())
				}
				if i%5 == 4 { // the broker, in this life
					p.server.Kill(t)
					p.server.Start(t)
					p.goesOn(life)
				}
				p.disturb(i)
				if !life.lives(until / 2) {
					t.Fatalf("the flow ended:\n%s", life.said.String())
				}
				life.kill()
				p.server.Proxy().Hold(false)
				p.server.Proxy().Slow(0)
			}
			life := p.start()
			began := time.Now()
			p.server.Kill(t) // while everybody is at it
			p.server.Start(t)
			life.lives(time.Second)
			stop()
			writing.Wait()
			t.Logf("written after %v", time.Since(began))
			a := p.arrived()
			t.Logf("arrived after %v", time.Since(began))
			life.stop()
			life.wait()
			t.Logf("stopped after %v", time.Since(began))
			t.Logf("%d messages and %d dead letters were to arrive; %d are there twice, after %d kills", p.written.Load(), p.dead.Load(), a.twice, kills)
			if int64(len(a.out)) != p.written.Load() || int64(a.dead) != p.dead.Load() {
				t.Errorf("%d of %d messages and %d of %d dead letters have arrived:\n%s", len(a.out), p.written.Load(), a.dead, p.dead.Load(), life.said.String())
			}
			if delivery == "effectively-once" && (a.twice > 0 || a.late > 0) {
				t.Errorf("%d are there twice, %d behind a later one of their key", a.twice, a.late)
			}
			p.settled()
		})
	}
}

// goesOn waits until something new is committed to where the flow writes, and says how long that took.
func (p *pipe) goesOn(life *process) {
	p.t.Helper()
	began := time.Now()
	cl := p.server.Client(p.t, kgo.ConsumeTopics(p.name+"-out"), kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for n := 0; n == 0; {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			_ = life.cmd.Process.Signal(syscall.SIGQUIT) // says what it is doing
			<-life.over
			p.t.Fatalf("%v after the broker came back the flow has not gone on:\n%s", limit, life.said.String())
		}
		n = f.NumRecords()
	}
	p.t.Logf("the flow went on %v after the broker was back", time.Since(began).Round(time.Millisecond))
}

// disturb does something to the network between the flow and the broker.
func (p *pipe) disturb(i int) {
	p.t.Helper()
	proxy := p.server.Proxy()
	switch i % 4 {
	case 0:
		proxy.Cut()
	case 1:
		proxy.Slow(20 * time.Millisecond)
	case 2:
		proxy.Hold(true)
	case 3:
		proxy.Slow(0)
	}
}

// settled holds the group to be where the topic ends, but for what ends it without being a message.
func (p *pipe) settled() {
	p.t.Helper()
	adm := kadm.NewClient(p.server.Client(p.t))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ends, err := adm.ListEndOffsets(ctx, p.name+"-in")
	if err != nil {
		p.t.Fatal(err)
	}
	known, err := adm.FetchOffsets(ctx, "copy")
	if err != nil {
		p.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if at, ok := known.Lookup(o.Topic, o.Partition); !ok || at.At != o.Offset {
			p.t.Errorf("the group is at %d of partition %d, which ends at %d", at.At, o.Partition, o.Offset)
		}
	})
}
