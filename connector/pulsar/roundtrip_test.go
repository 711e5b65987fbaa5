package pulsar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// failures gives the errors of a Write by index.
func failures(t testing.TB, err error) map[int]error {
	t.Helper()
	var each *penstock.BatchError
	if err != nil && !errors.As(err, &each) {
		t.Fatalf("%v is no *BatchError", err)
	}
	if each == nil {
		return nil
	}
	return each.Errs
}

// TestWhatIsWrittenOfAMessage: key, ordering key, properties and times.
func TestWhatIsWrittenOfAMessage(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	topic := f.topic(t, 0)
	s := drive.Opened(t, f.sink(t, SinkConfig{
		Topic: drive.Template("public/default/" + topic[:1] + "${body.rest}"), OrderingKey: drive.Template("${body.group}"), EventTime: drive.Template("${body.at}"), Compression: "lz4",
		Properties: map[string]penstock.Template{"X-Kind": {Source: "order"}, "x-empty": drive.Template("${body.none}")}, known: true,
	}))
	b := drive.Batch("from@x", 7, `{"rest":"`+topic[1:]+`","group":"g","at":"2026-11-01T10:00:00.5Z"}`)
	m := b.Msgs[0]
	m.Key = "k1"
	m.Meta.Set("x-trace", penstock.StringValue("t1"))
	m.Meta.Set("count", penstock.IntValue(3))
	m.Meta.Set("x-kind", penstock.StringValue("another"))
	m.Meta.Set(metaTopic, penstock.StringValue("somewhere"))
	m.Meta.Set(propertyID, penstock.StringValue("of what it was made of"))
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	all := f.stored(t, topic)
	if len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	g := all[0]
	if g.Key() != "k1" || g.OrderingKey() != "g" || !g.EventTime().Equal(time.Date(2026, 11, 1, 10, 0, 0, 5e8, time.UTC)) {
		t.Errorf("key %q, ordering key %q, event time %s", g.Key(), g.OrderingKey(), g.EventTime())
	}
	want := map[string]string{"X-Kind": "order", "x-trace": "t1", "count": "3", propertyJSON: "count", propertyID: "flow/step:@from@x:7"}
	if fmt.Sprint(g.Properties()) != fmt.Sprint(want) {
		t.Errorf("properties %v, want %v", g.Properties(), want)
	}
	for _, bad := range []string{`{"rest":"a/b/c"}`, `{"rest":"x?y"}`, `{"rest":"1","at":"yesterday"}`} {
		drive.Code(t, failures(t, s.Write(t.Context(), drive.Batch("x", 1, bad)))[0], penstock.Unprocessable)
	}
}

// TestWhatIsWrittenComesBack: what a sink writes, a source reads: key, meta, body and time; a null is a tombstone.
func TestWhatIsWrittenComesBack(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	for what, c := range map[string]SinkConfig{
		"batches": {}, "by key": {Batching: Batching{By: "key", Messages: 10, Bytes: 1 << 20}, Hashing: "murmur3"}, "alone": {Batching: Batching{By: "none"}, Compression: "zstd"},
	} {
		t.Run(what, func(t *testing.T) {
			topic := f.topic(t, 2)
			c.Topic = drive.Template(topic)
			s := drive.Opened(t, f.sink(t, c))
			b := drive.Batch("x", 0, `{"n":1}`, `null`, `"text"`, `{"large":"`+strings.Repeat("x", 1<<20)+`"}`, `{"n":2}`)
			at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
			for _, m := range b.Msgs {
				m.Key, m.Time = "k", at
				m.Meta.Set("tags", penstock.ListValue(&penstock.List{Elems: []penstock.Value{penstock.StringValue("a"), penstock.IntValue(1)}}))
			}
			b.Msgs[4].Body.Reset(jsonview.Binary, []byte{0, 0xff})
			if err := s.Write(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic)}))
			var r penstock.Batch
			var have []string
			for len(have) < 5 {
				r.Reset()
				if err := in.Read(t.Context(), &r); err != nil {
					t.Fatal(err)
				}
				for _, m := range r.Msgs {
					if m.Key != "k" || !m.Time.Equal(at) || m.Meta.Get("tags").Kind() != penstock.KindNode && m.Meta.Get("tags").Kind() != penstock.KindList {
						t.Errorf("key %q, time %s, meta %v", m.Key, m.Time, m.Meta.Entries())
					}
					have = append(have, fmt.Sprintf("%v %.20s", m.Body.Format(), m.Body.Bytes()))
				}
			}
			want := []string{`{"n":1}`, ``, `"text"`, `{"large":"xxxxxxxxxx`, "\x00\xff"}
			for i := range have {
				if !strings.HasSuffix(have[i], want[i]) {
					t.Errorf("the %dth is %q, want %q", i, have[i], want[i])
				}
			}
		})
	}
}

// TestLargeMessages: what brokers don't take is the message's own fault, unless it is cut.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	topic := f.topic(t, 0)
	large := `{"large":"` + strings.Repeat("x", 6<<20) + `"}`
	s := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic)}))
	errs := failures(t, s.Write(t.Context(), drive.Batch("x", 0, `{"n":1}`, large, `{"n":2}`)))
	if len(errs) != 1 {
		t.Fatalf("%d fail", len(errs))
	}
	drive.Code(t, errs[1], penstock.TooLarge, "chunking")
	s = drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), Batching: Batching{By: "none"}, Chunking: true}))
	if err := s.Write(t.Context(), drive.Batch("x", 3, large)); err != nil {
		t.Fatal(err)
	}
	in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic)}))
	all := drive.Read(t, in, 3)
	drive.Compare(t, drive.Bodies(all), []string{`{"n":1}`, `{"n":2}`, large})
	drive.SettleAll(t, in, all...)
}

// TestDelayedDelivery: consumers of a shared subscription see the message later, others at once.
func TestDelayedDelivery(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	topic := f.topic(t, 0)
	waits := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Type: shared, Subscription: drive.Template("waits")}))
	once := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("once")}))
	start := time.Now()
	s := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), DeliverAfter: drive.Template("${body.wait}")}))
	if err := s.Write(t.Context(), drive.Batch("x", 0, `{"wait":"1s"}`, `{"wait":""}`)); err != nil {
		t.Fatal(err)
	}
	s = drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), DeliverAt: drive.Template("${body.at}")}))
	if err := s.Write(t.Context(), drive.Batch("x", 2, `{"at":"`+start.Add(1500*time.Millisecond).Format(time.RFC3339Nano)+`"}`)); err != nil {
		t.Fatal(err)
	}
	drive.Read(t, once, 3)
	have := drive.Bodies(drive.Read(t, waits, 1))
	if have[0] != `{"wait":""}` {
		t.Errorf("%s came first", have[0])
	}
	drive.Read(t, waits, 2)
	if d := time.Since(start); d < 1400*time.Millisecond {
		t.Errorf("all were there after %s", d)
	}
}

// TestOnce: a run that is to end does so when what was there at its start was read, and goes on there the next time.
func TestOnce(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	f.env.Once = true
	topic := f.topic(t, 2)
	f.send(t, topic, drive.Numbered(0, 300)...)
	for _, want := range []int{300, 0} {
		s := f.source(t, SourceConfig{Topic: drive.Template(topic)})
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := 0
		var b penstock.Batch
		for {
			b.Reset()
			err := s.Read(t.Context(), &b)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			some := drive.Those(t, &b)
			n += len(some)
			drive.SettleAll(t, s, some...)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n != want {
			t.Errorf("%d messages, want %d", n, want)
		}
	}
}

// TestPoison: what can't be read is the message's own fault, and stays as it is.
func TestPoison(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	topic := f.topic(t, 0)
	f.send(t, topic, `{"n":1}`, `{"n":`, `{"n":2}`)
	in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic)}))
	all := drive.Read(t, in, 3)
	if all[0].Body != `{"n":1}` || all[1].Body != `{"n":` || all[2].Body != `{"n":2}` {
		t.Errorf("%+v", all)
	}
	drive.SettleAll(t, in, all...)
}

// TestPlaces: a message has the same place whoever reads it, and the places of a topic's partitions are apart.
func TestPlaces(t *testing.T) {
	f := on(t, service.Pulsar(t))
	topic := f.topic(t, 0)
	f.send(t, topic, drive.Numbered(0, 250)...)
	var before []drive.Got
	for i := range 2 {
		in := drive.Opened(t, f.source(t, SourceConfig{Topics: []penstock.Template{drive.Template(topic)}, Subscription: drive.Template(fmt.Sprint("s", i))}))
		all := drive.Read(t, in, 250)
		for j, g := range all {
			if before != nil && g.Pos != before[j].Pos {
				t.Fatalf("%+v, and %+v before", g.Pos, before[j].Pos)
			}
			if j > 0 && (g.Pos.Offset <= all[j-1].Pos.Offset || g.Pos.Offset < all[j-1].Pos.Next) {
				t.Fatalf("%+v is behind %+v", g.Pos, all[j-1].Pos)
			}
			if !strings.HasPrefix(g.Pos.Stream, "public/default/"+topic+"/") {
				t.Fatal(g.Pos.Stream)
			}
		}
		before = all
	}
}

// TestMissingTopics: where brokers make no topics by themselves, and what is not there at all.
func TestMissing(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	for _, topic := range []string{"nobody/nothing/orders", "public/nothing/orders"} {
		err := f.sink(t, SinkConfig{Topic: drive.Template(topic)}).Open(t.Context())
		if c := penstock.CodeOf(err); c.Transient() {
			t.Errorf("%s: %v", topic, err)
		}
		err = f.source(t, SourceConfig{Topic: drive.Template(topic)}).Open(t.Context())
		if c := penstock.CodeOf(err); c.Transient() {
			t.Errorf("%s: %v", topic, err)
		}
	}
	topic := f.topic(t, 0)
	drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("one")}))
	err := f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("one")}).Open(t.Context())
	drive.Code(t, err, penstock.Unavailable, "failover")
}

// TestWriteGivesUp: a Write ends with its context.
func TestWriteGivesUp(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	s := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(f.topic(t, 0))}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := drive.Batch("x", 0, drive.Numbered(0, 50)...)
	for i, err := range failures(t, s.Write(ctx, b)) {
		if c := penstock.CodeOf(err); c != penstock.Cancelled && c != penstock.Timeout {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := s.Write(t.Context(), drive.Batch("x", 50, `{"n":1}`)); err != nil {
		t.Fatal(err)
	}
}

// TestCost holds what reading a message costs in allocations: the client's own aside.
func TestCost(t *testing.T) {
	bodies, err := penstock.NewPayloads("pulsar", drive.JSON(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{config: SourceConfig{Format: drive.JSON(t)}, env: penstock.Env{Clock: penstock.SystemClock{}}, bodies: bodies, out: map[place]*delivery{}}
	payload := bytes.Repeat([]byte("x"), 100)
	var b penstock.Batch
	n := int64(0)
	one := func() {
		b.Reset()
		n++
		r.take(t.Context(), &b, client.ConsumerMessage{Message: received{payload, client.NewMessageID(1, n, -1, 0)}})
		if err := (&positioned{r}).Settle(context.Background(), []penstock.Outcome{{Pos: b.Msgs[0].Pos}}); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.ledger.take(1) {
			r.ledger.acknowledged(e, true)
		}
	}
	one()
	if got := testing.AllocsPerRun(200, one); got > 12 {
		t.Errorf("%.0f allocations a message", got)
	}
}

// received is a message without a broker.
type received struct {
	payload []byte
	id      client.MessageID
}

func (received) Topic() string                                   { return "persistent://public/default/x" }
func (received) ProducerName() string                            { return "" }
func (received) Properties() map[string]string                   { return nil }
func (m received) Payload() []byte                               { return m.payload }
func (m received) ID() client.MessageID                          { return m.id }
func (received) PublishTime() time.Time                          { return time.Time{} }
func (received) EventTime() time.Time                            { return time.Time{} }
func (received) Key() string                                     { return "" }
func (received) OrderingKey() string                             { return "" }
func (received) RedeliveryCount() uint32                         { return 0 }
func (received) IsReplicated() bool                              { return false }
func (received) GetReplicatedFrom() string                       { return "" }
func (received) GetSchemaValue(any) error                        { return nil }
func (received) SchemaVersion() []byte                           { return nil }
func (received) GetEncryptionContext() *client.EncryptionContext { return nil }
func (received) Index() *uint64                                  { return nil }
func (received) BrokerPublishTime() *time.Time                   { return nil }
