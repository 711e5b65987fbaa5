package kafka

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
)

// fetched makes what a fetch gives: records of one partition, with headers or not.
func fetched(n int, headers bool) kgo.Fetches {
	p := kgo.FetchPartition{}
	for i := range n {
		r := &kgo.Record{Topic: "t", Offset: int64(i), Key: []byte("key" + strconv.Itoa(i%10)), Value: fmt.Appendf(nil, `{"id":%d,"text":%q}`, i, strings.Repeat("x", 280))}
		if headers {
			r.Headers = []kgo.RecordHeader{{Key: "Traceparent", Value: []byte("00-1-2-01")}, {Key: "kind", Value: []byte("order")}}
		}
		p.Records = append(p.Records, r)
	}
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "t", Partitions: []kgo.FetchPartition{p}}}}}
}

// bench is a source with one partition, without a cluster.
func bench(t testing.TB) *source {
	t.Helper()
	v, err := newSource(sourceConfig(connection("127.0.0.1:1"), "t", "g"), environment(t))
	if err != nil {
		t.Fatal(err)
	}
	s := v.(*source)
	s.parts.add(&partition{topic: "t", stream: "t/0"})
	return s
}

// TestWhatAMessageCosts holds reading and writing to allocating nothing for a message; what the client allocates is its own.
func TestWhatAMessageCosts(t *testing.T) {
	const n = 200
	for _, headers := range []bool{false, true} {
		s, b := bench(t), new(penstock.Batch)
		f := fetched(n, headers)
		if got := testing.AllocsPerRun(20, func() {
			b.Reset()
			s.parts.find("t", 0).read = 0
			if s.take(f, b) != n {
				t.Fatal("not all were taken")
			}
		}); got > 2 {
			t.Errorf("headers %v: reading %d messages allocates %v times", headers, n, got)
		}
		v, err := newSink(sinkConfig(connection("127.0.0.1:1"), "t"), environment(t))
		if err != nil {
			t.Fatal(err)
		}
		k, w := v.(*sink), newWriting()
		if got := testing.AllocsPerRun(20, func() {
			w.text, w.heads = w.text[:0], w.heads[:0]
			for i, m := range b.Msgs {
				if err := k.record(w, w.slot(i), b, m); err != nil {
					t.Fatal(err)
				}
			}
		}); got > 2 {
			t.Errorf("headers %v: making %d records allocates %v times", headers, n, got)
		}
	}
}

// FuzzRecord makes a message of any record, and a record of that: nothing panics, and what can be written is what was read.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("k"), []byte(`{"a":1}`), "h", []byte("v"), "", "")
	f.Add([]byte(nil), []byte(nil), "penstock-json", []byte("h,x"), "h", "[1,2]")
	f.Add([]byte{0xff}, []byte("text"), "penstock-format", []byte("text"), "kafka-topic", "x")
	f.Add([]byte("k"), []byte{0xff}, "penstock-format", []byte("bytes"), "H", "\xff")
	s := bench(f)
	v, err := newSink(sinkConfig(connection("127.0.0.1:1"), "t"), environment(f))
	if err != nil {
		f.Fatal(err)
	}
	k := v.(*sink)
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, name2, header2 string) {
		rec := &kgo.Record{Topic: "t", Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: name, Value: header}, {Key: name2, Value: []byte(header2)}}}
		b := new(penstock.Batch)
		m := b.Append()
		err := s.reader.read(m, rec, b)
		if (err == nil) != utf8.Valid(key) {
			t.Fatalf("key %q: %v", key, err)
		}
		if m.Body.Format() != jsonview.JSON && !bytes.Equal(m.Body.Bytes(), value) {
			t.Fatalf("%q became %q", value, m.Body.Bytes())
		}
		w := newWriting()
		sl := w.slot(0)
		if err := k.record(w, sl, b, m); err != nil {
			return
		}
		if isNull := value == nil || strings.TrimSpace(string(value)) == "null" && m.Body.Format() == jsonview.JSON; !isNull && len(value) > 0 && !bytes.Equal(sl.record.Value, value) {
			t.Fatalf("%q became %q", value, sl.record.Value)
		}
		if err == nil && string(sl.record.Key) != string(key) {
			t.Fatalf("key %q became %q", key, sl.record.Key)
		}
		for _, h := range sl.record.Headers {
			if strings.HasPrefix(h.Key, metaPrefix) {
				t.Fatalf("%s was written", h.Key)
			}
		}
	})
}

// FuzzBrokers reads anything as the address of a broker: what is taken has a host and a port.
func FuzzBrokers(f *testing.F) {
	for _, s := range []string{"a:9092", "a", "[::1]:1", "[::1]", "kafka://a:1", "a:0", ":1", "a,b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address, err := brokerAddress(text)
		if err != nil {
			return
		}
		if again, err := brokerAddress(address); err != nil || again != address {
			t.Fatalf("%q is %q, and that is %q, %v", text, address, again, err)
		}
	})
}

// BenchmarkKafka measures reading from and writing to a real broker, in messages of about 300 bytes: what the client and the broker take included.
func BenchmarkKafka(b *testing.B) {
	server := service.Kafka(b)
	topic := service.KafkaName(b)
	server.Topic(b, topic, 3)
	batch := new(penstock.Batch)
	for i := range 1000 {
		m := batch.Append()
		m.Key = strconv.Itoa(i % 100)
		m.Body.Reset(jsonview.JSON, fmt.Appendf(nil, `{"id":%d,"text":%q}`, i, strings.Repeat("x", 280)))
	}
	b.Run("write", func(b *testing.B) {
		v, err := newSink(sinkConfig(connection(server.Brokers()), topic), environment(b))
		if err == nil {
			err = v.Open(within(b))
		}
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = v.Close(b.Context()) }()
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; n += len(batch.Msgs) {
			if err := v.Write(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		total := 0
		for _, end := range ends(b, server, topic) {
			total += int(end)
		}
		into := new(penstock.Batch)
		var s penstock.Source
		left := 0
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; n += len(into.Msgs) {
			if left <= 0 {
				s, left = opened(b, sourceConfig(connection(server.Brokers()), topic, service.KafkaName(b)), func(e *penstock.Env) { e.Once = false }), total
			}
			into.Reset()
			if err := s.Read(b.Context(), into); err != nil {
				b.Fatal(err)
			}
			left -= len(into.Msgs)
		}
	})
}

// TestRecordsThatWereHeld: a partition was given away and came back while its records were held, and they were fetched again: each is taken once.
func TestRecordsThatWereHeld(t *testing.T) {
	s, b := bench(t), new(penstock.Batch)
	for _, want := range []int{10, 0} {
		if got := s.take(fetched(10, false), b); got != want {
			t.Errorf("%d were taken, want %d", got, want)
		}
	}
	if got := s.take(fetched(15, false), b); got != 5 {
		t.Errorf("%d were taken, want the 5 that are new", got)
	}
}
