package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// failures gives what a Write says of each message.
func failures(t testing.TB, err error) map[int]error {
	t.Helper()
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatalf("%v is no BatchError", err)
	}
	return each.Errs
}

// TestRoundTrip: a message comes back with the key, meta and body that were sent.
func TestRoundTrip(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	s := drive.Opened(t, f.sink(t, SinkConfig{Stream: text(stream)}))
	b := drive.Batch("from", 7, `{"a":[1.50, "ü"]}`, `null`, `"x"`)
	m := b.Msgs[0]
	m.Key = "k 1"
	m.Meta.Set("content-type", penstock.StringValue("a\r\nb"))
	m.Meta.Set("n", penstock.IntValue(3))
	m.Meta.Set("body", penstock.StringValue("not the body"))
	m.Meta.Set("penstock-id", penstock.StringValue("of another"))
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	all := drive.Read(t, drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream)})), 3)
	drive.Compare(t, drive.Bodies(all), []string{`{"a":[1.50, "ü"]}`, `null`, `"x"`})
	want := map[string]string{"content-type": "a\r\nb", "n": "3", "penstock-id": "flow/step:@from:7"}
	if all[0].Key != "k 1" || !maps.Equal(all[0].Meta, want) || all[1].Key != "" {
		t.Errorf("%+v", all)
	}
}

func TestFieldsAreWritten(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	s := drive.Opened(t, f.sink(t, SinkConfig{Stream: text(stream), Fields: true}))
	b := drive.Batch("x", 0, `{"t":"a\n\u00fc","n":1.50,"o":{"a": [1]},"z":null,"\"q":true}`, `[]`, `{}`)
	b.Msgs[0].Key = "k"
	errs := failures(t, s.Write(t.Context(), b))
	if len(errs) != 2 {
		t.Fatal(errs)
	}
	drive.Code(t, errs[1], penstock.Unprocessable, "object")
	e := f.entries(t, stream)
	if want := map[string]string{"t": "a\nü", "n": "1.50", "o": `{"a": [1]}`, "z": "null", `"q`: "true"}; len(e) != 1 || !maps.Equal(e[0].FieldValues, want) {
		t.Errorf("%+v", e)
	}
}

func TestStreamIsTrimmed(t *testing.T) {
	f := on(t, service.Redis(t))
	for what, c := range map[string]SinkConfig{"exact": {MaxLen: 10, Exact: true}, "about": {MaxLen: 100}} {
		stream := name()
		c.Stream = text(stream)
		if err := drive.Opened(t, f.sink(t, c)).Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 1000)...)); err != nil {
			t.Fatal(err)
		}
		if n := len(f.entries(t, stream)); n < int(c.MaxLen) || n > int(c.MaxLen)+200 || c.Exact && n != int(c.MaxLen) {
			t.Errorf("%s: there are %d", what, n)
		}
	}
	stream := name()
	f.do(t, "XADD", stream, "5-5", "body", "old")
	if err := drive.Opened(t, f.sink(t, SinkConfig{Stream: text(stream), MaxAge: penstock.Duration(time.Hour), Exact: true})).Write(t.Context(), drive.Batch("x", 0, "1")); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, f.written(t, stream), []string{"1"})
}

func TestKeysAreSet(t *testing.T) {
	f := on(t, service.Redis(t))
	n := name()
	key := drive.Template(n + ":${body.k}")
	s := drive.Opened(t, f.sink(t, SinkConfig{Set: key, TTL: penstock.Duration(time.Hour)}))
	b := drive.Batch("x", 0, `{"k":"a","v":1}`, `{"k":"b"}`, `{"k":"a","v":2}`)
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"a": `{"k":"a","v":2}`, "b": `{"k":"b"}`} {
		m := f.do(t, "GET", n+":"+k)
		if have, err := m.ToString(); have != want || err != nil {
			t.Errorf("%s: %s, %v", k, have, err)
		}
	}
	m := f.do(t, "PTTL", n+":a")
	if ms, err := m.AsInt64(); err != nil || ms < 3_500_000 {
		t.Error(ms, err)
	}
	gone := drive.Opened(t, f.sink(t, SinkConfig{Set: text(n + ":a")}))
	if err := gone.Write(t.Context(), drive.Batch("x", 0, "null")); err != nil {
		t.Fatal(err)
	}
	if m := f.do(t, "EXISTS", n+":a"); m.String() == "" {
		t.Error(m)
	} else if is, err := m.AsInt64(); is != 0 || err != nil {
		t.Error("it is there", err)
	}
	errs := failures(t, drive.Opened(t, f.sink(t, SinkConfig{Set: penstock.Template{Source: "${body.k}", Program: drive.Field("k")}})).Write(t.Context(), conform.Batch(`{"k":""}`)))
	drive.Code(t, errs[0], penstock.Unprocessable, "the key is empty")
}

// TestStreamMustExist: it is not made where that is not wanted.
func TestStreamMustExist(t *testing.T) {
	f := on(t, service.Redis(t))
	errs := failures(t, drive.Opened(t, f.sink(t, SinkConfig{Stream: text(name()), MustExist: true})).Write(t.Context(), conform.Batch(`1`)))
	drive.Code(t, errs[0], penstock.NotFound, "no such stream")
}

// TestMemoryIsFull: the messages may be written later, in order.
func TestMemoryIsFull(t *testing.T) {
	f := on(t, service.NewRedis(t))
	stream := name()
	s := drive.Opened(t, f.sink(t, SinkConfig{Stream: text(stream)}))
	f.do(t, "CONFIG", "SET", "maxmemory", "1")
	errs := failures(t, s.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 10)...)))
	if len(errs) != 10 {
		t.Errorf("%d failed", len(errs))
	}
	drive.Code(t, errs[0], penstock.Limited, "maxmemory")
	if !penstock.CodeOf(errs[9]).Transient() {
		t.Error(errs[9])
	}
	f.do(t, "CONFIG", "SET", "maxmemory", "0")
	if err := s.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 10)...)); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, f.written(t, stream), drive.Numbered(0, 10))
}

// TestReplicasAreWaitedFor: a message counts as written when they have it.
func TestReplicasAreWaitedFor(t *testing.T) {
	t.Parallel()
	main := service.NewRedis(t, "repl-diskless-sync-delay 0")
	f := on(t, main)
	stream := name()
	c := SinkConfig{Stream: text(stream), Wait: &Wait{Replicas: 1, Timeout: penstock.Duration(50 * time.Millisecond)}}
	s := drive.Opened(t, f.sink(t, c))
	drive.Code(t, s.Write(t.Context(), drive.Batch("x", 0, "1")), penstock.Unavailable, "0 of 1 replicas")
	_, port, _ := strings.Cut(main.Address(), ":")
	replica := service.NewRedis(t, "replicaof 127.0.0.1 "+port)
	drive.Until(t, "the replica has it", func() bool { return s.Write(context.Background(), drive.Batch("x", 1, "2")) == nil })
	have := on(t, replica).written(t, stream)
	if !slices.Contains(have, "2") {
		t.Error(have)
	}
	errs := failures(t, drive.Opened(t, on(t, replica).sink(t, SinkConfig{Stream: text(stream)})).Write(t.Context(), drive.Batch("x", 0, "1")))
	drive.Code(t, errs[0], penstock.Unavailable, "READONLY")
}

// TestServerSaves: what `fsync: true` says is looked at.
func TestServerSaves(t *testing.T) {
	f := on(t, service.Redis(t))
	f.config.Fsync = true
	err := f.sink(t, SinkConfig{Stream: text("s")}).Open(t.Context())
	drive.Code(t, err, penstock.Config, "appendonly no", "appendfsync always")
	if err := f.sink(t, SinkConfig{Channel: text("s")}).Open(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSinkIsRefused(t *testing.T) {
	s := text("s")
	cluster := penstock.ConnectionRef{Name: "c", Config: &ConnectionConfig{Cluster: true}}
	_, err := newSink(SinkConfig{Stream: s, Wait: &Wait{Replicas: 1}, Connection: cluster, Format: drive.JSON(t)}, penstock.Env{})
	drive.Code(t, err, penstock.Config, "can't be had in a cluster")
	for what, c := range map[string]struct {
		config SinkConfig
		words  string
	}{
		"nothing": {SinkConfig{}, "set one of"},
		"two":     {SinkConfig{Stream: s, Set: s}, "set one of"},
		"trim":    {SinkConfig{List: s, MaxLen: 5}, "`maxLen` has no meaning without `stream`"},
		"both":    {SinkConfig{Stream: s, MaxLen: 5, MaxAge: penstock.Duration(time.Hour)}, "can't both be kept"},
		"exact":   {SinkConfig{Stream: s, Exact: true}, "`exact` has no meaning"},
		"push":    {SinkConfig{Stream: s, Push: pushRight}, "`push` has no meaning"},
		"ttl":     {SinkConfig{List: s, TTL: 5}, "`ttl` has no meaning"},
		"channel": {SinkConfig{Channel: s, Wait: &Wait{Replicas: 1}}, "nobody keeps what is published"},
		"format":  {SinkConfig{Stream: s, Fields: true, Format: penstock.Format{Name: "csv"}}, "leave `format` out"},
	} {
		t.Run(what, func(t *testing.T) {
			errs := c.config.Validate()
			if len(errs) == 0 || !strings.Contains(fmt.Sprint(errs), c.words) {
				t.Errorf("%v, want %q", errs, c.words)
			}
		})
	}
}

// TestWhatIsPromised: what check builds on.
func TestWhatIsPromised(t *testing.T) {
	s := text("s")
	ref := func(fsync bool) penstock.ConnectionRef {
		return penstock.ConnectionRef{Name: "c", Config: &ConnectionConfig{Fsync: fsync}}
	}
	for what, c := range map[string]struct {
		config  SinkConfig
		loses   string
		rewrite penstock.Rewrite
		headers bool
	}{
		"stream":   {SinkConfig{Stream: s, Connection: ref(false)}, "not on disk", "", true},
		"on disk":  {SinkConfig{Stream: s, Connection: ref(true)}, "", "", true},
		"replicas": {SinkConfig{Stream: s, Connection: ref(false), Wait: &Wait{Replicas: 1}}, "replicas", "", true},
		"fields":   {SinkConfig{Stream: s, Connection: ref(true), Fields: true}, "", "", false},
		"list":     {SinkConfig{List: s, Connection: ref(true)}, "", "", false},
		"set":      {SinkConfig{Set: s, Connection: ref(true)}, "", penstock.RewriteSame, false},
		"channel":  {SinkConfig{Channel: s, Connection: ref(true)}, "nobody listens", "", false},
	} {
		is := c.config.SpecFor(sinkSpec)
		if is.Rewrite != c.rewrite || is.Headers != c.headers || !strings.Contains(is.Loses, c.loses) || (c.loses == "") != (is.Loses == "") {
			t.Errorf("%s: %+v", what, is)
		}
	}
	for what, c := range map[string]struct {
		config SourceConfig
		replay penstock.Replay
	}{
		"stream": {SourceConfig{Stream: s}, penstock.ReplayPosition}, "shared": {SourceConfig{Stream: s, Shared: true}, penstock.ReplayAgain},
		"list": {SourceConfig{List: s}, penstock.ReplayAgain}, "channel": {SourceConfig{Channels: []penstock.Template{s}}, penstock.ReplayNone},
	} {
		if is := c.config.SpecFor(sourceSpec); is.Replay != c.replay || is.Keeps != (what == "stream") {
			t.Errorf("%s: %+v", what, is)
		}
	}
}

func TestOverlap(t *testing.T) {
	at := penstock.ConnectionRef{Name: "c"}
	from := SourceConfig{Connection: at, Stream: text("s")}
	for what, c := range map[string]struct {
		to SinkConfig
		is bool
	}{
		"same":       {SinkConfig{Connection: at, Stream: text("s")}, true},
		"other":      {SinkConfig{Connection: at, Stream: text("t")}, false},
		"list":       {SinkConfig{Connection: at, List: text("s")}, false},
		"varies":     {SinkConfig{Connection: at, Stream: penstock.Template{Source: "${body.s}"}}, false},
		"other side": {SinkConfig{Connection: penstock.ConnectionRef{Name: "d"}, Stream: text("s")}, false},
	} {
		if err := from.Overlaps(&c.to, penstock.Env{}); (err != nil) != c.is {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestWriteAllocates: what a Write of 100 messages costs.
func TestWriteAllocates(t *testing.T) {
	f := on(t, service.Redis(t))
	s := drive.Opened(t, f.sink(t, SinkConfig{Stream: text(name()), MaxLen: 1000}))
	b := drive.Batch("x", 0, drive.Numbered(0, 100)...)
	for _, m := range b.Msgs {
		m.Meta.Set("type", penstock.StringValue("order"))
	}
	write := func() {
		if err := s.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if n := testing.AllocsPerRun(20, write) / 100; n > 4 {
		t.Errorf("%.1f allocations a message", n)
	}
}
