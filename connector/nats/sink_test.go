package nats

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// failures gives the errors of a Write by index.
func failures(t testing.TB, err error) map[int]error {
	t.Helper()
	if err == nil {
		return nil
	}
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatalf("%v is no *BatchError", err)
	}
	return each.Errs
}

func TestWhatIsWrittenOfAMessage(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".${body.to}"), Stream: stream, Headers: map[string]penstock.Template{"X-Kind": {Source: "order"}, "X-Empty": drive.Template("${body.none}")}}))
	b := drive.Batch("from@x", 7, `{"to":"a"}`)
	m := b.Msgs[0]
	m.Key = "k1"
	m.Meta.Set("x-trace", penstock.StringValue("t1"))
	m.Meta.Set("count", penstock.IntValue(3))
	m.Meta.Set("nats-subject", penstock.StringValue("somewhere"))
	m.Meta.Set("Nats-Rollup", penstock.StringValue("all")) // of a message that was read: it must not empty this stream
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	all := f.stored(t, stream)
	if len(all) != 1 || string(all[0].Data) != `{"to":"a"}` || all[0].Subject != stream+".a" {
		t.Fatalf("%+v", all)
	}
	var have []string
	for name, v := range all[0].Header {
		have = append(have, name+"="+strings.Join(v, "|"))
	}
	slices.Sort(have)
	drive.Compare(t, have, []string{"Nats-Expected-Stream=" + stream, "Nats-Msg-Id=flow/step:@from@x:7", "Penstock-Key=k1", "X-Kind=order", "count=3", "x-trace=t1"})
}

// TestWhatIsWrittenComesBack: what a sink writes, a source reads.
func TestWhatIsWrittenComesBack(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream}))
	b := drive.Batch("x", 0, `{"a":1.50}`, `null`, `"ä\n"`)
	b.Msgs[0].Key = "schlüssel"
	b.Msgs[0].Meta.Set("with", penstock.StringValue("x: y; ä"))
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	all := drive.Read(t, drive.Opened(t, f.source(t, SourceConfig{Stream: stream})), 3)
	drive.Compare(t, drive.Bodies(all), []string{`{"a":1.50}`, `null`, `"ä\n"`})
	if all[0].Key != "schlüssel" || all[0].Meta["with"] != "x: y; ä" {
		t.Errorf("%+v", all[0])
	}
	raw := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".b"), Stream: stream, Format: drive.Bytes(t)}))
	bin := drive.Batch("y", 0, `1`)
	bin.Msgs[0].Body.Reset(jsonview.Binary, []byte("\x00\xff"))
	if err := raw.Write(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	got := drive.Read(t, drive.Opened(t, f.source(t, SourceConfig{Stream: stream, Subjects: []string{stream + ".b"}, Format: drive.Bytes(t), Consumer: "raw"})), 1)
	if got[0].Body != "\x00\xff" {
		t.Errorf("%q", got[0].Body)
	}
}

// TestWrittenTwiceIsThereOnce: the stream knows a message by its identity.
func TestWrittenTwiceIsThereOnce(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream}))
	own := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".b"), Stream: stream, MessageID: drive.Template("order-${body.n}")}))
	for range 3 {
		if err := s.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 5)...)); err != nil {
			t.Fatal(err)
		}
		if err := own.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(5, 10)...)); err != nil {
			t.Fatal(err)
		}
	}
	drive.Compare(t, f.written(t, stream), drive.Numbered(0, 10))
}

func TestSubjectsOfMessages(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".${body.to}.x"), Stream: stream}))
	b := drive.Batch("x", 0, `{"to":"a"}`, `{"to":"a.b"}`, `{"to":"*"}`, `{"to":""}`, `{"to":"a b"}`, `{"to":7}`, `{}`, `{"to":"ü"}`, `{"to":">"}`)
	errs := failures(t, s.Write(t.Context(), b))
	for i := range b.Msgs {
		if bad := slices.Contains([]int{1, 2, 3, 4, 6, 8}, i); bad != (errs[i] != nil) {
			t.Errorf("%d: %v", i, errs[i])
		} else if bad && i != 6 {
			drive.Code(t, errs[i], penstock.Unprocessable, "subject")
		}
	}
	var have []string
	for _, m := range f.stored(t, stream) {
		have = append(have, m.Subject)
	}
	drive.Compare(t, have, []string{stream + ".a.x", stream + ".7.x", stream + ".ü.x"})
	whole := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template("${body.to}"), Stream: stream}))
	if err := whole.Write(t.Context(), drive.Batch("y", 0, `{"to":"`+stream+`.d.e"}`)); err != nil {
		t.Error("a subject that is one value may have any number of tokens: ", err)
	}
}

func TestDotsBeside(t *testing.T) {
	for source, want := range map[string]int{"a.b.c": 2, "a.${body.x}": 1, "${body.x}": -1, "${body.x}.a": 1, "${body.x}${body.y.z}": 0, "a.${body.m['}.']}.${x.y({'a.b': 1.5})}.c": 3, "${": -1} {
		if got := dotsBeside(source); got != want && source != "${" {
			t.Errorf("%s has %d, want %d", source, got, want)
		}
	}
}

func TestBucketIsWritten(t *testing.T) {
	f := on(t, service.NATS(t))
	kv := f.bucket(t)
	s := drive.Opened(t, f.sink(t, SinkConfig{Bucket: kv.Bucket()}))
	keyed := drive.Opened(t, f.sink(t, SinkConfig{Bucket: kv.Bucket(), Key: drive.Template("item.${body.id}")}))
	b := drive.Batch("x", 0, `1`, `{"a":2}`, `null`, `4`, `5`)
	for i, key := range []string{"a", "b", "a", "c", "no key"} {
		b.Msgs[i].Key = key
	}
	errs := failures(t, s.Write(t.Context(), b))
	drive.Code(t, errs[4], penstock.Unprocessable, "no key of a bucket")
	if len(errs) != 1 {
		t.Error(errs)
	}
	if err := keyed.Write(t.Context(), drive.Batch("x", 0, `{"id":17}`)); err != nil {
		t.Fatal(err)
	}
	var have []string
	l, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k := range l.Keys() {
		e, err := kv.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		have = append(have, k+"="+string(e.Value()))
	}
	slices.Sort(have)
	drive.Compare(t, have, []string{`b={"a":2}`, `c=4`, `item.17={"id":17}`})
}

// TestStreamIsFull: what a stream refuses fails as one that may be tried later, with all behind it: none overtakes.
func TestStreamIsFull(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 10, Discard: jetstream.DiscardNew})
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream, InFlight: 1}))
	b := drive.Batch("x", 0, drive.Numbered(0, 15)...)
	for _, m := range b.Msgs {
		m.Key = "k"
	}
	errs := failures(t, s.Write(t.Context(), b))
	for i := range 15 {
		if (i >= 10) != (errs[i] != nil) {
			t.Errorf("%d: %v", i, errs[i])
		}
		if errs[i] != nil {
			drive.Code(t, errs[i], penstock.Limited)
		}
	}
	drive.Code(t, errs[10], penstock.Limited, "maximum messages exceeded", "the stream is full")
	drive.Compare(t, f.written(t, stream), drive.Numbered(0, 10))
	st, err := f.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Msgs = b.Msgs[10:]
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, f.written(t, stream), drive.Numbered(10, 15))

	many := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream}))
	b = drive.Batch("y", 0, drive.Numbered(0, 300)...)
	for i, m := range b.Msgs {
		m.Key = fmt.Sprint(i % 3)
	}
	errs = failures(t, many.Write(t.Context(), b))
	behind := map[string]bool{}
	for i, m := range b.Msgs {
		if errs[i] != nil {
			behind[m.Key] = true
		} else if behind[m.Key] {
			t.Errorf("%d is written, and one of its key before it is not", i)
		}
	}
}

// TestStreamForgetsOldOnes: a stream that discards old messages takes whatever comes; what is lost is in its page.
func TestStreamForgetsOldOnes(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 10})
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream}))
	if err := s.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 15)...)); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, f.written(t, stream), drive.Numbered(5, 15))
}

// TestStreamIsUnfit: what could not be promised is refused at the start, with the fix.
func TestStreamIsUnfit(t *testing.T) {
	f := on(t, service.NATS(t))
	for what, c := range map[string]struct {
		stream  jetstream.StreamConfig
		subject string
		dedupe  time.Duration
		says    []string
	}{
		"confirms nothing":  {jetstream.StreamConfig{NoAck: true}, ".a", 0, []string{"confirms nothing", "--ack"}},
		"another subject":   {jetstream.StreamConfig{}, "x.a", 0, []string{"does not take the subject", "--subjects"}},
		"forgets too early": {jetstream.StreamConfig{Duplicates: time.Minute}, ".a", 0, []string{"for 1m0s", "counts on 2m0s", "--dupe-window 2m0s", "dedupe: 1m0s"}},
		"enough":            {jetstream.StreamConfig{Duplicates: time.Minute}, ".a", time.Minute, nil},
	} {
		t.Run(what, func(t *testing.T) {
			c.stream.Storage = jetstream.MemoryStorage
			stream := f.stream(t, c.stream)
			err := f.sink(t, SinkConfig{Subject: drive.Template(stream + c.subject), Stream: stream, Dedupe: penstock.Duration(c.dedupe)}).Open(t.Context())
			if c.says == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			drive.Code(t, err, penstock.Config, c.says...)
		})
	}
}

// TestAnotherStreamTakesIt: a message that goes where it was not meant to is no success.
func TestAnotherStreamTakesIt(t *testing.T) {
	f := on(t, service.NATS(t))
	one, two := f.stream(t, memory), f.stream(t, memory)
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template("${body.to}"), Stream: one}))
	errs := failures(t, s.Write(t.Context(), drive.Batch("x", 0, `{"to":"`+one+`.a"}`, `{"to":"`+two+`.a"}`, `{"to":"nowhere.a"}`)))
	if errs[0] != nil {
		t.Error(errs[0])
	}
	drive.Code(t, errs[1], penstock.Config, "another stream takes this subject")
	drive.Code(t, errs[2], penstock.Unavailable, "no stream took the message")
}

// TestLargeMessages: a megabyte is no problem; what is more than the server takes is the message's failure.
func TestLargeMessages(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream}))
	large := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for i := range 4 {
		if err := s.Write(t.Context(), drive.Batch("x", int64(i*10), large(1<<20), large(1<<20), large(4<<20), `1`)); err != nil {
			t.Fatal(err)
		}
	}
	errs := failures(t, s.Write(t.Context(), drive.Batch("y", 0, `2`, large(9<<20), `3`)))
	drive.Code(t, errs[1], penstock.TooLarge, "max_payload")
	if len(errs) != 1 {
		t.Error(errs)
	}
	in := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
	all := drive.Read(t, in, 18)
	if len(all) != 18 || len(all[2].Body) != 4<<20+2 || all[17].Body != "3" {
		t.Errorf("%d messages", len(all))
	}
	drive.SettleAll(t, in, all...)
}

func TestCoreIsHandedOver(t *testing.T) {
	f := on(t, service.NATS(t))
	subject := name()
	in := drive.Opened(t, f.source(t, SourceConfig{Subject: penstock.Template{Source: subject + ".*"}}))
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(subject + ".a")}))
	b := drive.Batch("x", 0, drive.Numbered(0, 100)...)
	b.Msgs[0].Key = "k"
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	all := drive.Read(t, in, 100)
	drive.Compare(t, drive.Bodies(all), drive.Numbered(0, 100))
	if all[0].Key != "k" || all[0].Meta["nats-msg-id"] != "" {
		t.Errorf("%+v", all[0])
	}
}

// TestQueueGroup: of those who listen under one name, one gets each message.
func TestQueueGroup(t *testing.T) {
	server := service.NATS(t)
	f := on(t, server)
	subject := name()
	c := SourceConfig{Subject: penstock.Template{Source: subject}, Queue: "q"}
	all := make(chan string, 1000)
	for range 3 {
		s := drive.Opened(t, through(t, server.URL()).source(t, c))
		go func() {
			var b penstock.Batch
			for s.Read(t.Context(), &b) == nil {
				for _, g := range drive.Those(t, &b) {
					all <- g.Body
				}
				b.Reset()
			}
		}()
	}
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(subject)}))
	if err := s.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 300)...)); err != nil {
		t.Fatal(err)
	}
	var have []string
	for range 300 {
		have = append(have, <-all)
	}
	want := drive.Numbered(0, 300)
	slices.Sort(have)
	slices.Sort(want)
	drive.Compare(t, have, want)
}

func TestConfirmation(t *testing.T) {
	for text, want := range map[string]penstock.Code{
		`{"stream":"S","seq":17}`:                  "",
		`{"stream":"S","seq":17,"duplicate":true}`: "",
		`{"stream":"error","seq":17}`:              "",
		`{"stream":"S","domain":"d","seq":1}`:      "",
		`{"seq":1,"stream":"S"}`:                   "",
		`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}`:               penstock.Limited,
		`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"S","seq":0}`: penstock.TooLarge,
		`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`:                  penstock.Unavailable,
		`{"error":{"code":409,"err_code":11111,"description":"new"}}`:                                                       penstock.Conflict,
		`hello`: penstock.Config,
		`{}`:    penstock.Config,
	} {
		m := outgoing{}.msg
		m.Data = []byte(text)
		if got := penstock.CodeOf(confirmation(&m)); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

// BenchmarkSink writes to a stream in memory.
func BenchmarkSink(b *testing.B) {
	f := on(b, service.NATS(b))
	conform.BenchmarkSink(b, conform.SinkHarness{New: func(t testing.TB) conform.SinkMedium {
		stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgs: 100_000})
		return conform.SinkMedium{Sink: func(t testing.TB) penstock.Sink {
			return &identified{Sink: f.sink(t, SinkConfig{Subject: penstock.Template{Source: stream + ".a"}, Stream: stream})}
		}}
	}})
}
