package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/bytes"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
)

// fixture is a server with a Connection to it, and a client of the test's own beside it.
type fixture struct {
	config *ConnectionConfig
	env    penstock.Env
	ref    penstock.ConnectionRef
	c      rueidis.Client
	drop   func() // closes what is shared, as the end of a run does
}

var names atomic.Int64

// name gives a name that no other test has.
func name() string { return fmt.Sprintf("t%d", names.Add(1)) }

// on makes a fixture for a server.
func on(t testing.TB, s *service.RedisServer) *fixture {
	t.Helper()
	f := through(t, s.URL())
	f.c = client(t, rueidis.ClientOption{InitAddress: []string{s.Address()}, ForceSingleClient: true})
	return f
}

// client makes a client of the test's own.
func client(t testing.TB, o rueidis.ClientOption) rueidis.Client {
	t.Helper()
	o.DisableCache, o.RingScaleEachConn = true, 8
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// through makes a fixture without a client of its own, for an address.
func through(t testing.TB, url string) *fixture {
	t.Helper()
	clock := penstock.SystemClock{}
	var mu sync.Mutex
	shared := map[string]any{}
	c := &ConnectionConfig{URL: penstock.Template{Source: url}, ConnectTimeout: penstock.Duration(5 * time.Second), ReplyTimeout: penstock.Duration(5 * time.Second)}
	f := &fixture{config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	log := io.Discard
	if os.Getenv("PENSTOCK_LOG") != "" {
		log = io.Writer(os.Stderr)
	}
	f.env = penstock.Env{Name: "flow/step", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true,
		Shared: func(key string, build func() (any, error)) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if v, ok := shared[key]; ok {
				return v, nil
			}
			v, err := build()
			if err == nil {
				shared[key] = v
			}
			return v, err
		}}
	f.drop = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range shared {
			if err := v.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
		clear(shared)
	}
	t.Cleanup(f.drop)
	return f
}

// do sends a command: words, separated by spaces.
func (f *fixture) do(t testing.TB, words ...string) rueidis.RedisMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m, err := f.c.Do(ctx, f.c.B().Arbitrary(words...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%.200v: %v", words, err)
	}
	return m
}

// back waits until the test's own client is connected again.
func (f *fixture) back(t testing.TB) {
	t.Helper()
	until(t, "the test's client is connected again", func() bool { return f.c.Do(context.Background(), f.c.B().Ping().Build()).Error() == nil })
}

// send adds bodies to a stream.
func (f *fixture) send(t testing.TB, stream string, bodies ...string) {
	t.Helper()
	var cmds []rueidis.Completed
	for _, b := range bodies {
		cmds = append(cmds, f.c.B().Xadd().Key(stream).Id("*").FieldValue().FieldValue("body", b).Build())
	}
	for _, r := range f.c.DoMulti(context.Background(), cmds...) {
		if err := r.Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// written reads the bodies that are in a stream.
func (f *fixture) written(t testing.TB, stream string) (out []string) {
	t.Helper()
	for _, e := range f.entries(t, stream) {
		out = append(out, e.FieldValues["body"])
	}
	return out
}

// entries gives what is in a stream.
func (f *fixture) entries(t testing.TB, stream string) []rueidis.XRangeEntry {
	t.Helper()
	m := f.do(t, "XRANGE", stream, "-", "+")
	all, err := m.AsXRange()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pending is how many entries a group has given and not heard of.
func (f *fixture) pending(t testing.TB, stream, group string) int64 {
	t.Helper()
	m := f.do(t, "XPENDING", stream, group)
	all, err := m.ToArray()
	if err != nil {
		t.Fatal(err)
	}
	n, err := all[0].AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func jsonFormat(t testing.TB) penstock.Format {
	t.Helper()
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "json", Codec: c}
}

func bytesFormat(t testing.TB) penstock.Format {
	t.Helper()
	c, err := bytes.New(bytes.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "bytes", Codec: c}
}

func (f *fixture) source(t testing.TB, c SourceConfig) penstock.Source {
	t.Helper()
	s, err := f.newSource(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fixture) newSource(t testing.TB, c SourceConfig) (penstock.Source, error) {
	c.Connection = f.ref
	if c.Format.IsZero() {
		c.Format = jsonFormat(t)
	}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	return newSource(c, f.env)
}

func (f *fixture) sink(t testing.TB, c SinkConfig) penstock.Sink {
	t.Helper()
	c.Connection = f.ref
	if c.Format.IsZero() {
		c.Format = jsonFormat(t)
	}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	s, err := newSink(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opened opens a source or sink, which is closed at the end of the test.
func opened[T interface {
	Open(context.Context) error
	Close(context.Context) error
}](t testing.TB, v T) T {
	t.Helper()
	if err := v.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(context.Background()); err != nil {
			t.Error("Close:", err)
		}
	})
	return v
}

// got is a message that was read.
type got struct {
	body, key string
	meta      map[string]string
	pos       penstock.Position
	err       error
}

// read reads n messages.
func read(t testing.TB, s penstock.Source, n int) (out []got) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		err := s.Read(ctx, &b)
		if errors.Is(err, penstock.ErrDisconnected) {
			if err := s.Open(ctx); err != nil && !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", len(out), err)
		}
		out = append(out, those(t, &b)...)
	}
	return out
}

func those(t testing.TB, b *penstock.Batch) (out []got) {
	t.Helper()
	for i, m := range b.Msgs {
		g := got{key: m.Key, pos: m.Pos, meta: map[string]string{}, err: b.Err(i)}
		if g.err == nil && m.Body.Format() == jsonview.JSON && m.Body.Parse(jsonview.Limits{}) == nil {
			g.body = string(m.Body.AppendJSON(nil, 0))
		} else {
			g.body = string(m.Body.Bytes())
		}
		for _, e := range m.Meta.Entries() {
			text, err := e.Value.AppendText(nil)
			if err != nil {
				t.Fatal(err)
			}
			g.meta[e.Name] = string(text)
		}
		out = append(out, g)
	}
	return out
}

// settleAll tells a source that messages are done.
func settleAll(t testing.TB, s penstock.Source, all ...got) {
	t.Helper()
	var o []penstock.Outcome
	for _, g := range all {
		o = append(o, penstock.Outcome{Pos: g.pos})
	}
	if err := s.Settle(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

func bodies(all []got) (out []string) {
	for _, g := range all {
		out = append(out, g.body)
	}
	return out
}

// numbered makes bodies {"n":from} … {"n":to-1}.
func numbered(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf(`{"n":%d}`, i))
	}
	return out
}

// compare compares two lists and shows the first difference.
func compare(t testing.TB, have, want []string) {
	t.Helper()
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			t.Fatalf("the %dth is %.200s, want %.200s", i, have[i], want[i])
		}
	}
	if len(have) != len(want) {
		t.Fatalf("%d, want %d", len(have), len(want))
	}
}

// until waits until something is so.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("never: ", what)
		}
	}
}

// code checks the code of an error, and words in it.
func code(t testing.TB, err error, want penstock.Code, words ...string) {
	t.Helper()
	if penstock.CodeOf(err) != want {
		t.Errorf("the error is %q, want %q: %v", penstock.CodeOf(err), want, err)
		return
	}
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// batch makes a batch as a flow gives it to a sink: of messages of a stream, from a sequence on.
func batch(stream string, from int64, bodies ...string) *penstock.Batch {
	b := conform.Batch(bodies...)
	for i, m := range b.Msgs {
		m.Pos = penstock.Position{Stream: stream, Offset: from + int64(i)}
	}
	return b
}

// field is the Program of ${body.<name>}.
type field string

func (p field) Eval(f *penstock.Frame) penstock.Value {
	d := f.Msg.Body
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return penstock.ErrorValue(err)
	}
	return penstock.NodeValue(d, d.Field(0, string(p), nil)).Load(f.Arena)
}

// joined is the Program of text around ${body.<name>}.
type joined struct{ before, name, after string }

func (p joined) Eval(f *penstock.Frame) penstock.Value {
	v := field(p.name).Eval(f)
	if v.IsError() {
		return v
	}
	text, err := v.AppendText(nil)
	if err != nil {
		return penstock.ErrorValue(err)
	}
	return penstock.StringValue(p.before + string(text) + p.after)
}

// template makes the Template of a text with one ${body.x} in it.
func template(source string) penstock.Template {
	before, rest, ok := strings.Cut(source, "${body.")
	if !ok {
		return penstock.Template{Source: source, Constant: true}
	}
	n, after, _ := strings.Cut(rest, "}")
	if before == "" && after == "" {
		return penstock.Template{Source: source, Program: field(n)}
	}
	return penstock.Template{Source: source, Program: joined{before, n, after}}
}

// at says what the offset of a position is.
func (g got) at(offset int64) bool { return g.pos.Offset == offset && g.pos.Next == offset+1 }
