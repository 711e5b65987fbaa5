package redis

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
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
	c := &ConnectionConfig{URL: penstock.Template{Source: url}, ConnectTimeout: penstock.Duration(5 * time.Second), ReplyTimeout: penstock.Duration(5 * time.Second)}
	f := &fixture{config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	f.env, f.drop = drive.Env(t, "flow/step")
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
	drive.Until(t, "the test's client is connected again", func() bool { return f.c.Do(context.Background(), f.c.B().Ping().Build()).Error() == nil })
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
		c.Format = drive.JSON(t)
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
		c.Format = drive.JSON(t)
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
