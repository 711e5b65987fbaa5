package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
)

// sent writes messages with a sink.
func sent(t testing.TB, c SinkConfig, b *penstock.Batch) error {
	t.Helper()
	s, err := newSink(c, environment(t))
	if err == nil {
		err = s.Open(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	err = s.Write(within(t), b)
	if cerr := s.Close(t.Context()); cerr != nil {
		t.Error(cerr)
	}
	return err
}

// opened is a source that reads what is there and ends.
func opened(t testing.TB, c SourceConfig, change ...func(*penstock.Env)) penstock.Source {
	t.Helper()
	env := environment(t)
	env.Once = true
	for _, f := range change {
		f(&env)
	}
	s, err := newSource(c, env)
	if err == nil {
		err = s.Open(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// received reads one batch of n messages.
func received(t testing.TB, s penstock.Source, n int) *penstock.Batch {
	t.Helper()
	b := new(penstock.Batch)
	for len(b.Msgs) < n {
		if err := s.Read(within(t), b); err != nil {
			t.Fatalf("after %d messages: %v", len(b.Msgs), err)
		}
	}
	return b
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	b := conform.Batch(`{"a":1}`, "null", `[1, 2]`, `"x"`, "1", "2", "3")
	put := func(i int, name string, v penstock.Value) { b.Msgs[i].Meta.Set(name, v) }
	b.Msgs[0].Key = "ключ"
	put(0, "text", penstock.StringValue("5"))
	put(0, "number", penstock.IntValue(5))
	put(0, "yes", penstock.BoolValue(true))
	put(0, "object", penstock.NodeValue(parsed(`{"error":{"code":"invalid"},"n":[1.50]}`), 0))
	put(0, "bytes", penstock.BytesValue([]byte{0xff, 0}))
	put(0, "ce-type", penstock.StringValue("t"))
	put(0, "kafka-topic", penstock.StringValue("elsewhere"))
	put(1, "h", penstock.StringValue(""))
	b.Msgs[4].Body.Reset(jsonview.Text, []byte(`not "JSON`))
	b.Msgs[5].Body.Reset(jsonview.Binary, []byte{0, 0xff})
	b.Msgs[6].Key = "k"
	if err := sent(t, sinkConfig(connection(server.Brokers()), topic), b); err != nil {
		t.Fatal(err)
	}
	if r := records(t, server, topic); r[1].Value != nil || r[1].Key != nil || string(r[0].Key) != "ключ" {
		t.Errorf("a null body is %q under %q, want a tombstone without key", r[1].Value, r[1].Key)
	}
	if r := records(t, server, topic); r[0].Headers[5].Key != "ce_type" {
		t.Errorf("headers %v", r[0].Headers)
	}
	got := received(t, opened(t, sourceConfig(connection(server.Brokers()), topic, topic)), len(b.Msgs))
	for i, m := range got.Msgs {
		if err := got.Err(i); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
		want := b.Msgs[i]
		if m.Body.Format() != want.Body.Format() || conform.Text(t, m.Body) != conform.Text(t, want.Body) || m.Key != want.Key || m.Time.IsZero() {
			t.Errorf("message %d: %s %s under %q at %v, want %s %s under %q", i, m.Body.Format(), conform.Text(t, m.Body), m.Key, m.Time, want.Body.Format(), conform.Text(t, want.Body), want.Key)
		}
	}
	m := got.Msgs[0]
	if n := len(m.Meta.Entries()); n != 6 {
		t.Errorf("%d headers: %v", n, m.Meta.Entries())
	}
	for _, e := range b.Msgs[0].Meta.Entries() {
		got := m.Meta.Get(e.Name)
		if strings.HasPrefix(e.Name, "kafka-") {
			if !got.IsAbsent() {
				t.Errorf("%s was written", e.Name)
			}
			continue
		}
		if !got.Load(nil).Equal(e.Value.Load(nil)) {
			t.Errorf("meta %s is %v, want %v", e.Name, got, e.Value)
		}
	}
}

func parsed(text string) *jsonview.Doc {
	d := conform.Doc(text)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		panic(err)
	}
	return d
}

func TestWhereMessagesComeFrom(t *testing.T) {
	server := service.Kafka(t)
	one, other := service.KafkaName(t), service.KafkaName(t)
	for _, topic := range []string{one, other, "__" + one} {
		server.Topic(t, topic, 1)
		produce(t, server, topic, 0, `"`+topic+`"`)
	}
	config := func(change func(*SourceConfig)) SourceConfig {
		c := sourceConfig(connection(server.Brokers()), "", service.KafkaName(t))
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		config SourceConfig
		want   []string
	}{
		"topics":      {config(func(c *SourceConfig) { c.Topics = []penstock.Template{text(one), text(other)} }), []string{one, other}},
		"pattern":     {config(func(c *SourceConfig) { c.Pattern = "(__)?" + one }), []string{one}},
		"coordinates": {config(func(c *SourceConfig) { c.Topic, c.Coordinates = text(other), true }), []string{other}},
	} {
		t.Run(name, func(t *testing.T) {
			b := received(t, opened(t, c.config), len(c.want))
			seen := map[string]bool{}
			for _, m := range b.Msgs {
				from := m.Meta.Get("kafka-topic").Str()
				if conform.Text(t, m.Body) != `"`+from+`"` {
					t.Errorf("%s has %s", from, conform.Text(t, m.Body))
				}
				seen[from] = true
				if place := m.Meta.Get("kafka-offset"); place.IsAbsent() == c.config.Coordinates {
					t.Errorf("the offset is %v", place)
				}
				if !strings.HasPrefix(m.Pos.Stream, from+"/0@") {
					t.Errorf("stream %q", m.Pos.Stream)
				}
			}
			if len(seen) != len(c.want) || len(b.Msgs) != len(c.want) {
				t.Errorf("%v, want %v", seen, c.want)
			}
		})
	}
}

func TestKeysThatAreNoText(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	raw := []byte{0, 1, 0xff}
	if err := server.Client(t).ProduceSync(within(t), &kgo.Record{Topic: topic, Key: raw, Value: []byte("1"), Headers: []kgo.RecordHeader{{Key: "H", Value: []byte("a")}, {Key: "h", Value: []byte("b")}}}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(raw)
	for keys, want := range map[string]string{"text": "", "base64": encoded, "none": ""} {
		c := sourceConfig(connection(server.Brokers()), topic, service.KafkaName(t))
		c.Keys = keys
		b := received(t, opened(t, c), 1)
		m := b.Msgs[0]
		if err := b.Err(0); (err != nil) != (keys == "text") || err != nil && penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("%s: %v", keys, err)
		}
		if m.Key != want || conform.Text(t, m.Body) != "1" || m.Meta.Get("h").Str() != "b" {
			t.Errorf("%s: key %q, body %s, header %v", keys, m.Key, conform.Text(t, m.Body), m.Meta.Get("h"))
		}
	}
	c := sinkConfig(connection(server.Brokers()), topic)
	c.Keys = "base64"
	b := conform.Batch("1", "2", "3")
	b.Msgs[0].Key, b.Msgs[1].Key = encoded, "no base64!"
	err := sent(t, c, b)
	var each *penstock.BatchError
	if !errors.As(err, &each) || len(each.Errs) != 1 || penstock.CodeOf(each.Errs[1]) != penstock.Unprocessable {
		t.Fatal(err)
	}
	if r := records(t, server, topic); len(r) != 3 || string(r[1].Key) != string(raw) || r[2].Key != nil {
		t.Errorf("%v", r)
	}
}

// TestPartitionsAreThoseOfOtherClients knows them from org.apache.kafka.clients.producer.internals.BuiltInPartitioner (murmur2).
func TestPartitionsAreThoseOfOtherClients(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 10)
	want := map[string]int32{"": 1, "21": (-973932308 & 0x7fffffff) % 10, "foobar": (-790332482 & 0x7fffffff) % 10, "a-little-bit-long-string": (-985981536 & 0x7fffffff) % 10, "abc": 479470107 % 10}
	b := new(penstock.Batch)
	for key := range want {
		if key != "" {
			m := b.Append()
			m.Key = key
			m.Body.Reset(jsonview.JSON, []byte("1"))
		}
	}
	if err := sent(t, sinkConfig(connection(server.Brokers()), topic), b); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, server, topic) {
		if r.Partition != want[string(r.Key)] {
			t.Errorf("%s is in partition %d, want %d", r.Key, r.Partition, want[string(r.Key)])
		}
	}
}

func TestSinkSettings(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		c := sinkConfig(connection(server.Brokers()), topic)
		c.Compression, c.Timestamp, c.Headers = compression, "message", map[string]penstock.Template{"H": text("own"), "empty": text("")}
		b := conform.Batch(`"` + strings.Repeat(compression, 100) + `"`)
		b.Msgs[0].Time = time.UnixMilli(1234567890123)
		b.Msgs[0].Meta.Set("h", penstock.StringValue("came along"))
		b.Msgs[0].Meta.Set("other", penstock.StringValue("o"))
		if err := sent(t, c, b); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range records(t, server, topic) {
		if int(r.Attrs.CompressionType()) != i || !strings.Contains(string(r.Value), []string{"none", "gzip", "snappy", "lz4", "zstd"}[i]) || !r.Timestamp.Equal(time.UnixMilli(1234567890123)) {
			t.Errorf("%d: compression %d, time %v", i, r.Attrs.CompressionType(), r.Timestamp)
		}
		if len(r.Headers) != 2 || r.Headers[0].Key != "other" || r.Headers[1].Key != "H" || string(r.Headers[1].Value) != "own" {
			t.Errorf("%d: headers %v", i, r.Headers)
		}
	}
}

// TestLargeMessagesFailAlone: what is too large for the sink, or for the topic, fails; everything else is written. One of 1 MB goes through where it may.
func TestLargeMessagesFailAlone(t *testing.T) {
	server := service.Kafka(t)
	big := `"` + string(make1M()) + `"`
	small := `"` + strings.Repeat("x", 3000) + `"`
	for name, c := range map[string]struct {
		topicMost string
		sinkMost  penstock.Size
		blind     bool // the sink does not know the topic's limit
		bodies    []string
		fails     []int
	}{
		"the sink's limit":     {"10000000", 1 << 20, false, []string{"1", big, "2"}, []int{1}},
		"larger limits":        {"10000000", 4 << 20, false, []string{"1", big, "2"}, nil},
		"the topic's limit":    {"2000", 1 << 20, false, []string{"1", small, "2"}, []int{1}},
		"the broker's refusal": {"2000", 1 << 20, true, []string{"1", small, "2"}, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			topic := service.KafkaName(t)
			server.Topic(t, topic, 1, "max.message.bytes="+c.topicMost)
			config := sinkConfig(connection(server.Brokers()), topic)
			config.MaxMessage = c.sinkMost
			v, err := newSink(config, environment(t))
			if err != nil {
				t.Fatal(err)
			}
			s := v.(*sink)
			s.asked[topic] = c.blind
			if err := s.Open(within(t)); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close(t.Context()) }()
			err = s.Write(within(t), conform.Batch(c.bodies...))
			var each *penstock.BatchError
			if errors.As(err, &each) != (len(c.fails) > 0) || each != nil && len(each.Errs) != len(c.fails) {
				t.Fatalf("%.300v", err)
			}
			for _, i := range c.fails {
				if penstock.CodeOf(each.Errs[i]) != penstock.TooLarge {
					t.Errorf("%v", each.Errs[i])
				}
			}
			if n := len(records(t, server, topic)); n != len(c.bodies)-len(c.fails) {
				t.Errorf("%d messages are there", n)
			}
		})
	}
}

func TestWhereAGroupBegins(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	cl := server.Client(t)
	for i, at := range []int64{1000, 2000, 3000} {
		if err := cl.ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte{'0' + byte(i)}, Timestamp: time.Unix(at, 0)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(*SourceConfig)
		first  int64
	}{
		"earliest":       {func(*SourceConfig) {}, 0},
		"latest":         {func(c *SourceConfig) { c.Start = startLatest }, 3},
		"time":           {func(c *SourceConfig) { c.StartTime = time.Unix(1500, 0).UTC().Format(time.RFC3339) }, 1},
		"time to come":   {func(c *SourceConfig) { c.StartTime = "2100-01-01T00:00:00Z" }, 3},
		"time of before": {func(c *SourceConfig) { c.StartTime = "1960-01-01T00:00:00Z" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := sourceConfig(connection(server.Brokers()), topic, service.KafkaName(t))
			c.change(&config)
			// The first start settles where it begins, also if nothing is settled before it ends.
			s := opened(t, config, func(e *penstock.Env) { e.Once = c.first == 3 })
			if c.first == 3 {
				if err := s.Read(within(t), new(penstock.Batch)); err == nil {
					t.Error("there is something")
				}
			} else if b := received(t, s, 1); b.Msgs[0].Pos.Offset != c.first {
				t.Errorf("it begins at %d", b.Msgs[0].Pos.Offset)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := committed(t, server, config.Group.Source, topic); got[0] != c.first || len(got) != 1 {
				t.Errorf("the group begins at %v", got)
			}
		})
	}
}

// TestPartitionsThatAreAdded: what is in a partition that was added while a group has begun with the latest is read from its beginning, or it would be lost.
func TestPartitionsThatAreAdded(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	produce(t, server, topic, 0, `"old"`)
	config := sourceConfig(connection(server.Brokers()), topic, topic)
	config.Start, config.Discover = startLatest, penstock.Duration(100*time.Millisecond)
	s := opened(t, config, func(e *penstock.Env) { e.Once = false })
	begun(t, server, topic, topic, 0)
	produce(t, server, topic, 0, `"first"`)
	began := received(t, s, 1)
	if conform.Text(t, began.Msgs[0].Body) != `"first"` {
		t.Fatalf("it begins with %s", conform.Text(t, began.Msgs[0].Body))
	}
	grow(t, server, topic, 3)
	produce(t, server, topic, 2, `"new"`)
	if b := received(t, s, 1); conform.Text(t, b.Msgs[0].Body) != `"new"` || !strings.HasPrefix(b.Msgs[0].Pos.Stream, topic+"/2@") {
		t.Errorf("%s at %v", conform.Text(t, b.Msgs[0].Body), b.Msgs[0].Pos)
	}
}

// TestATopicThatIsMadeAnew has other messages under the same offsets: they have positions of another stream.
func TestATopicThatIsMadeAnew(t *testing.T) {
	t.Parallel() // the client takes its time to believe it
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	produce(t, server, topic, 0, "1")
	config := sourceConfig(connection(server.Brokers()), topic, topic)
	s := opened(t, config, func(e *penstock.Env) { e.Once = false })
	old := received(t, s, 1).Msgs[0].Pos
	remove(t, server, topic)
	server.Topic(t, topic, 1)
	produce(t, server, topic, 0, "2")
	ctx := within(t)
	var b penstock.Batch
	for len(b.Msgs) == 0 {
		err := s.Read(ctx, &b)
		if errors.Is(err, penstock.ErrDisconnected) {
			err = s.Open(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := b.Msgs[0].Pos; now.Offset != old.Offset || now.Stream == old.Stream || conform.Text(t, b.Msgs[0].Body) != "2" {
		t.Errorf("%s at %v, and before at %v", conform.Text(t, b.Msgs[0].Body), now, old)
	}
}

// TestMessagesThatAreGone: where the group is, nothing is any more. It goes on with the oldest that there is.
func TestMessagesThatAreGone(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	produce(t, server, topic, 0, "0", "1", "2", "3")
	config := sourceConfig(connection(server.Brokers()), topic, topic)
	s := opened(t, config)
	b := received(t, s, 4)
	if err := errors.Join(s.Settle(t.Context(), []penstock.Outcome{{Pos: b.Msgs[0].Pos}}), s.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, server, topic, topic); got[0] != 1 {
		t.Fatalf("the group is at %v", got)
	}
	trim(t, server, topic, 3)
	if b := received(t, opened(t, config), 1); b.Msgs[0].Pos.Offset != 3 {
		t.Errorf("it goes on at %d", b.Msgs[0].Pos.Offset)
	}
}
