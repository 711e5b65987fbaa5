package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// storm has the faults happen while all is written and read, in the order of the stream and once.
func storm(t *testing.T, out penstock.Sink, in penstock.Source, all []string, every int, faults ...func()) {
	t.Helper()
	have, twice := drive.Storm{Sink: out, Source: in, Bodies: all, Every: every}.Run(t, faults...)
	drive.Compare(t, have, all)
	if twice > 0 {
		t.Errorf("%d came twice", twice)
	}
}

// TestServerIsKilled: in mid-batch, again and again, under a sink and a source. Nothing is lost, nothing is there twice, and the order is that of the stream.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	for what, push := range map[string]*Push{"pull": nil, "push": {}} {
		t.Run(what, func(t *testing.T) {
			server := service.NewNATS(t, service.NATSOptions{Sync: true})
			f := on(t, server)
			stream := f.stream(t, jetstream.StreamConfig{})
			f.env.Resumes = true
			out := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(2 * time.Second)}))
			in := drive.Opened(t, f.source(t, SourceConfig{Stream: stream, Push: push, AckWait: penstock.Duration(500 * time.Millisecond)}))
			all := drive.Numbered(0, 2000)
			kill := func() {
				server.Kill(t)
				server.Start(t)
			}
			storm(t, out, in, all, 500, kill, kill, kill)
			drive.Until(t, "the test's client is connected", f.nc.IsConnected)
			drive.Compare(t, f.written(t, stream), all)
		})
	}
}

// proxied makes a fixture behind a proxy.
func proxied(t testing.TB, server *service.NATSServer) (*fixture, *service.Proxy) {
	t.Helper()
	p := service.NewProxy(t, server.Address())
	f := on(t, server)
	f.config.URLs = []penstock.Template{{Source: fmt.Sprintf("nats://127.0.0.1:%d", p.Port())}}
	f.config.Ping = penstock.Duration(200 * time.Millisecond)
	f.config.ConnectTimeout = penstock.Duration(time.Second)
	return f, p
}

// TestNetworkIsCut: connections break, are slow, and swallow what is sent.
func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.env.Resumes = true
	out := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(time.Second)}))
	in := drive.Opened(t, f.source(t, SourceConfig{Stream: stream, AckWait: penstock.Duration(500 * time.Millisecond)}))
	all := drive.Numbered(0, 6000)
	storm(t, out, in, all, 600,
		p.Cut,
		func() { p.Slow(2 * time.Millisecond) },
		p.Cut,
		func() { p.Slow(0) },
		func() { // until both sides have noticed
			lost := in.(*positioned).link.lost()
			p.Hold(true)
			<-lost
			p.Hold(false)
		},
		p.Cut, p.Cut, p.Cut)
	drive.Compare(t, f.written(t, stream), all)
}

// TestConfirmationIsLost: the stream has the message, and nobody hears of it. It is written again, and there once.
func TestConfirmationIsLost(t *testing.T) {
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	out := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream}))
	p.CutWhen(func(sent []byte) bool { return bytes.Contains(sent, []byte("HPUB "+stream)) })
	b := drive.Batch("x", 0, drive.Numbered(0, 3)...)
	errs := failures(t, out.Write(t.Context(), b))
	if len(errs) != 3 {
		t.Fatal(errs)
	}
	drive.Code(t, errs[0], penstock.Unavailable, "the connection broke")
	if penstock.IsUnsent(errs[0]) {
		t.Error("it may be there")
	}
	drive.Until(t, "the stream has them", func() bool { return len(f.stored(t, stream)) == 3 })
	if err := out.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, f.written(t, stream), drive.Numbered(0, 3))
}

// TestNobodyIsThere: while the server is away, writing fails within its time, and says that nothing was sent.
func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	out := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(100 * time.Millisecond)}))
	core := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".b"), AckTimeout: penstock.Duration(100 * time.Millisecond)}))
	p.Refuse(true)
	p.Cut()
	drive.Until(t, "the connection is lost", func() bool {
		err := out.Write(t.Context(), drive.Batch("x", 0, `1`))
		return penstock.CodeOf(err) == penstock.Unavailable && penstock.IsUnsent(err)
	})
	err := core.Write(t.Context(), drive.Batch("x", 0, `1`))
	drive.Code(t, err, penstock.Unavailable, "no connection")
	if !penstock.IsUnsent(err) {
		t.Error("nothing was sent")
	}
	p.Refuse(false)
	drive.Until(t, "it is mended", func() bool { return out.Write(t.Context(), drive.Batch("x", 0, `1`)) == nil })
}

// TestServerIsFrozen: it stands, its connections with it. That is noticed.
func TestServerIsFrozen(t *testing.T) {
	t.Parallel()
	server := service.NewNATS(t, service.NATSOptions{})
	f := on(t, server)
	f.config.Ping, f.config.ConnectTimeout = penstock.Duration(100*time.Millisecond), penstock.Duration(200*time.Millisecond)
	stream := f.stream(t, memory)
	out := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template(stream + ".a"), Stream: stream, AckTimeout: penstock.Duration(2 * time.Second)}))
	server.Freeze(t)
	err := out.Write(t.Context(), drive.Batch("x", 0, `1`))
	server.Thaw(t)
	for _, e := range append(failuresOrAll(err), nil) {
		if e != nil && !penstock.CodeOf(e).Transient() {
			t.Error(e)
		}
	}
	if err == nil {
		t.Error("a frozen server has confirmed a message")
	}
	drive.Until(t, "it goes on", func() bool { return out.Write(t.Context(), drive.Batch("x", 0, `1`)) == nil })
}

func failuresOrAll(err error) (out []error) {
	var each *penstock.BatchError
	if errors.As(err, &each) {
		for _, e := range each.Errs {
			out = append(out, e)
		}
		return out
	}
	return []error{err}
}

// TestListenerGoesOn: a subject is listened to again once there is a connection. What was said meanwhile is lost, as its page says.
func TestListenerGoesOn(t *testing.T) {
	f, p := proxied(t, service.NATS(t))
	subject := name()
	in := drive.Opened(t, f.source(t, SourceConfig{Subject: penstock.Template{Source: subject}}))
	say := func(text string) {
		t.Helper()
		if err := f.nc.Publish(subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := f.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	say(`1`)
	drive.Compare(t, drive.Bodies(drive.Read(t, in, 1)), []string{`1`})
	p.Cut()
	heard := make(chan drive.Got, 1000)
	go func() { heard <- drive.Read(t, in, 1)[0] }()
	var g drive.Got
	drive.Until(t, "it is heard again", func() bool {
		say(`2`)
		select {
		case g = <-heard:
			return true
		default:
			return false
		}
	})
	if g.Body != `2` {
		t.Error(g)
	}
}

// TestSourceEndsWhileTheServerIsAway: nobody waits for a server that does not answer.
func TestSourceEndsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	f, p := proxied(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.send(t, stream+".a", drive.Numbered(0, 10)...)
	in := f.source(t, SourceConfig{Stream: stream})
	if err := in.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	drive.Read(t, in, 10)
	p.Hold(true)
	began := time.Now()
	if err := in.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("Close took %s", took)
	}
	p.Hold(false)
}

// TestPoison: a message that no codec can read is the message's failure, and comes with its bytes.
func TestPoison(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.send(t, stream+".a", `{"a":1}`, "\xff\xfe", strings.Repeat("[", 100_000), ``, `{"a":1,"a":2}`, `2`)
	in := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
	all := drive.Read(t, in, 6)
	drive.Compare(t, []string{all[0].Body, all[3].Body, all[5].Body}, []string{`{"a":1}`, `null`, `2`})
	if all[1].Body != "\xff\xfe" || len(all[2].Body) != 100_000 {
		t.Error("what can't be read is not as it came")
	}
	drive.SettleAll(t, in, all...)
	drive.Until(t, "all are acknowledged", func() bool { return f.consumer(t, stream, "flow-step").AckFloor.Stream == 6 })
}

// TestStopsAreInOrder: a source is stopped again and again with messages in flight, by a graceful end or none: the others come in order each time.
func TestStopsAreInOrder(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	f := on(t, server)
	c := SourceConfig{Stream: f.stream(t, memory), AckWait: penstock.Duration(200 * time.Millisecond)}
	f.send(t, c.Stream+".a", drive.Numbered(0, 60)...)
	var have []string
	for round := 0; len(have) < 60; round++ {
		one := through(t, server.URL())
		s := one.source(t, c)
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := min(round%7+1, 60-len(have))
		all := drive.Read(t, s, n)
		drive.SettleAll(t, s, all[:n]...)
		have = append(have, drive.Bodies(all[:n])...)
		if round%3 == 0 { // what a crash does
			if err := s.(*positioned).link.nc.FlushTimeout(5 * time.Second); err != nil {
				t.Fatal(err)
			}
			one.drop()
		}
		if err := s.Close(t.Context()); err != nil { // which nobody hears of any more behind a crash
			t.Fatal(err)
		}
	}
	drive.Compare(t, have, drive.Numbered(0, 60))
}

// TestStorm: processes that share a consumer come and go all the time, some of them without a word, while messages are written. All of them are worked on; what a process
// had when it was killed comes again at another.
func TestStorm(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	f := on(t, server)
	for what, c := range map[string]SourceConfig{"pull": {Prefetch: 10}, "push": {Prefetch: 10, Push: &Push{Group: "g"}}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c.Shared, c.Stream, c.AckWait = true, f.stream(t, memory), penstock.Duration(300*time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			bodies := drive.Numbered(0, 2000)
			members := drive.Members{Bodies: len(bodies), Join: func(int, int) (penstock.Source, func(bool)) {
				own := through(t, server.URL())
				s := own.source(t, c)
				return s, func(killed bool) {
					if killed {
						own.drop()
					}
					if err := s.Close(context.Background()); err != nil {
						t.Error(err)
					}
					own.drop()
				}
			}}
			members.Run(ctx, t, func() { f.send(t, c.Stream+".a", bodies...) })
		})
	}
}
