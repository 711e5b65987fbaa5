package crash_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/test/service"
)

// schemaFlow reads orders by the schema of its time, whatever theirs is.
const schemaFlow = `
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec: { store: { path: store.db } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: cluster }
spec: { kafka: { brokers: ["%[1]s"] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: registry }
spec: { schemaRegistry: { url: "%[2]s" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: order }
spec: { avro: { inline: { type: record, name: order, fields: [ { name: id, type: long } ] } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: orders }
spec:
  from: { kafka: { connection: cluster, topic: "%[3]s-in", instanceId: a, session: 2s, format: { avro: { registry: registry, schema: order } } } }
  steps:
    - map: { id: "${body.id}" }
  to: { kafka: { connection: cluster, topic: "%[3]s-out" } }
`

// schemaStream writes to a topic by schemas that follow one another.
type schemaStream struct {
	t        *testing.T
	client   *kgo.Client
	registry *service.Registry
	topic    string
	next     int64
	good     map[int64]bool
	bad      map[string]bool // payloads
}

// register registers a schema.
func (s *schemaStream) register(subject, schema string) (id uint32, parsed avro.Schema) {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.registry.URL+"/subjects/"+subject+"/versions", strings.NewReader(string(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out struct{ ID uint32 }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.ID == 0 {
		s.t.Fatalf("%s: %v", resp.Status, err)
	}
	if parsed, err = avro.ParseWithCache(schema, "", &avro.SchemaCache{}); err != nil {
		s.t.Fatal(err)
	}
	return out.ID, parsed
}

// writer gives what writes n orders by a schema; ids of orders whose schema the flow can't read are texts.
func (s *schemaStream) writer(subject, schema string, readable bool) func(n int) {
	id, parsed := s.register(subject, schema)
	return func(n int) {
		s.t.Helper()
		var all []*kgo.Record
		for range n {
			s.next++
			order := map[string]any{"id": s.next, "note": "x"}
			if !readable {
				order["id"] = fmt.Sprintf("no. %d", s.next)
			}
			data, err := avro.Marshal(parsed, order)
			if err != nil {
				s.t.Fatal(err)
			}
			value := append(binary.BigEndian.AppendUint32([]byte{0}, id), data...)
			all = append(all, &kgo.Record{Topic: s.topic, Key: fmt.Appendf(nil, "k%d", s.next%20), Value: value})
			if readable {
				s.good[s.next] = true
			} else {
				s.bad[string(value)] = true
			}
		}
		if err := s.client.ProduceSync(context.Background(), all...).FirstErr(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// arrived waits until all good orders have come to the other topic.
func (s *schemaStream) arrived(server *service.KafkaServer, topic string, life func() *process) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cl := server.Client(s.t, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	seen := map[int64]bool{}
	for len(seen) < len(s.good) {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("%d of %d orders have come:\n%s", len(seen), len(s.good), life().said.String())
		}
		f.EachRecord(func(r *kgo.Record) {
			var order struct{ ID int64 }
			if err := json.Unmarshal(r.Value, &order); err != nil || !s.good[order.ID] {
				s.t.Errorf("%s: %v", r.Value, err)
			}
			seen[order.ID] = true
		})
	}
}

// TestSchemaChangesUnderAFlow writes orders by a schema, by a later one that the flow can read, and by one that it can't, in turns, while the program is killed and started
// again. What can be read arrives, all of it; what can't is in the flow's dead letters, as it came, with the reason; and nothing is lost, nor holds up what is behind it.
func TestSchemaChangesUnderAFlow(t *testing.T) {
	server, registry := service.NewKafka(t), service.NewRegistry(t)
	name := service.KafkaName(t)
	server.Topic(t, name+"-in", 3)
	server.Topic(t, name+"-out", 3)
	dir := t.TempDir()
	file := filepath.Join(dir, "flow.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, schemaFlow, server.Brokers(), registry.URL, name), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := func() *process {
		cmd := exec.Command(program(t), "run", file)
		cmd.Dir = dir
		return start(t, cmd)
	}
	s := &schemaStream{t: t, client: server.Client(t), registry: registry, topic: name + "-in", good: map[int64]bool{}, bad: map[string]bool{}}
	first := s.writer(name+"-in-value", `{"type":"record","name":"order","fields":[{"name":"id","type":"long"}]}`, true)
	life := begin()
	first(300)
	next := s.writer(name+"-in-value", `{"type":"record","name":"order","fields":[{"name":"id","type":"long"},{"name":"note","type":"string","default":""}]}`, true)
	for range 3 {
		next(100)
		first(50) // not all who write are new at once
	}
	s.arrived(server, name+"-out", func() *process { return life })
	broken := s.writer(name+"-elsewhere", `{"type":"record","name":"order","fields":[{"name":"id","type":"string"}]}`, false) // of somebody who asks the registry about another subject
	for i := range 4 {
		next(50)
		broken(5)
		first(50)
		if i%2 == 0 { // with some of them on their way
			life.kill()
			life = begin()
		}
	}
	s.arrived(server, name+"-out", func() *process { return life })
	next(1)
	registry.Fail(true) // what is known of it is enough
	next(50)
	s.arrived(server, name+"-out", func() *process { return life })
	life.kill()
	life = begin() // it knows no schema, and waits: nothing becomes a dead letter that can be read later
	first(50)
	for asked := registry.Asked(); registry.Asked() < asked+2; {
		if !life.lives(50 * time.Millisecond) {
			t.Fatalf("the flow ended:\n%s", life.said.String())
		}
	}
	registry.Fail(false)
	s.arrived(server, name+"-out", func() *process { return life })
	life.stop()
	life.wait()
	inspect(t, filepath.Join(dir, "store.db"), func(v reader) {
		for i, m := range v.messages("orders.dead") {
			if !strings.Contains(string(m), "can't be read as order") {
				t.Errorf("dead letter %d has no reason: %q", i, m)
			}
		}
		dead := map[string]bool{}
		for _, b := range v.bodies("orders.dead") {
			var raw []byte // JSON has bytes in base64
			if err := json.Unmarshal(b, &raw); err != nil || !s.bad[string(raw)] {
				t.Errorf("a dead letter that was none: %q, %v", b, err)
			}
			dead[string(raw)] = true
		}
		if len(dead) != len(s.bad) {
			t.Errorf("%d of %d messages that can't be read are dead letters", len(dead), len(s.bad))
		}
	})
}
