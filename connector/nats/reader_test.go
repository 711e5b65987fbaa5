package nats

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

var memory = jetstream.StreamConfig{Storage: jetstream.MemoryStorage}

func TestWhatIsReadOfAMessage(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	m := nats.NewMsg(stream + ".eu.new")
	m.Data = []byte(`{"a":1.50}`)
	m.Header = nats.Header{"X-Trace": {"one", "two"}, "Penstock-Key": {"k1"}, "Nats-Msg-Id": {"id-1"}, "Bad": {"\xff"}}
	if _, err := f.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f.send(t, stream+".de", "", "no json")
	before := time.Now()
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
	all := drive.Read(t, s, 3)
	g := all[0]
	want := map[string]string{"nats-subject": stream + ".eu.new", "x-trace": "one, two", "nats-msg-id": "id-1", "bad": "\uFFFD"}
	for name, v := range want {
		if g.Meta[name] != v {
			t.Errorf("%s is %q, want %q", name, g.Meta[name], v)
		}
	}
	if len(g.Meta) != len(want) || g.Key != "k1" || g.Body != `{"a":1.50}` {
		t.Errorf("%+v", g)
	}
	if p := g.Pos; p.Stream != stream || p.Offset != 1 || p.Next != 2 {
		t.Errorf("it is at %+v", p)
	}
	if all[1].Body != "null" || all[2].Body != "no json" || all[2].Err != nil {
		t.Errorf("%+v", all[1:])
	}
	c := f.consumer(t, stream, "flow-step")
	if c.Config.AckPolicy != jetstream.AckExplicitPolicy || c.Config.AckWait != 10*time.Second || c.Config.MaxAckPending != 10_000 || c.NumAckPending != 3 {
		t.Errorf("the consumer is %+v", c)
	}
	if time.Since(before) > time.Minute {
		t.Error("slow")
	}
	drive.SettleAll(t, s, all...)
	drive.Until(t, "all are acknowledged", func() bool { return f.consumer(t, stream, "flow-step").AckFloor.Stream == 3 })
}

// TestOnlyWhatIsDoneIsAcknowledged: what was not settled comes again, in order, and before what is new.
func TestOnlyWhatIsDoneIsAcknowledged(t *testing.T) {
	for what, c := range map[string]SourceConfig{"pull": {}, "push": {Push: &Push{}}, "shared": {Shared: true}} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.NATS(t))
			c.Stream = f.stream(t, memory)
			f.send(t, c.Stream+".a", drive.Numbered(0, 10)...)
			s := drive.Opened(t, f.source(t, c))
			all := drive.Read(t, s, 10)
			drive.SettleAll(t, s, all[0], all[2], all[5])
			if err := s.Settle(t.Context(), []penstock.Outcome{{Pos: all[1].Pos, Err: io.ErrUnexpectedEOF}}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.send(t, c.Stream+".a", drive.Numbered(10, 12)...)
			s = drive.Opened(t, f.source(t, c))
			rest := drive.Read(t, s, 9)
			have, want := drive.Bodies(rest), []string{`{"n":1}`, `{"n":3}`, `{"n":4}`, `{"n":6}`, `{"n":7}`, `{"n":8}`, `{"n":9}`, `{"n":10}`, `{"n":11}`}
			if c.Shared { // it has no order
				slices.Sort(have)
				slices.Sort(want)
			}
			drive.Compare(t, have, want)
			drive.SettleAll(t, s, rest...)
			drive.Until(t, "all are acknowledged", func() bool {
				i, err := s.(interface {
					info(context.Context) (*jetstream.ConsumerInfo, error)
				}).info(t.Context())
				return err == nil && i.AckFloor.Stream == 12 && i.NumAckPending == 0
			})
		})
	}
}

func (r *reader) info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	return r.handle.Info(ctx)
}

// TestAProcessDies: its messages come again once ackWait is over, and nothing that is newer is handed out before.
func TestAProcessDies(t *testing.T) {
	t.Parallel()
	s := service.NATS(t)
	f := on(t, s)
	c := SourceConfig{Stream: f.stream(t, memory), AckWait: penstock.Duration(700 * time.Millisecond)}
	f.send(t, c.Stream+".a", drive.Numbered(0, 20)...)
	one := through(t, s.URL())
	first := drive.Opened(t, one.source(t, c))
	all := drive.Read(t, first, 20)
	drive.SettleAll(t, first, all[3], all[4])
	drive.Until(t, "two are acknowledged", func() bool { return f.consumer(t, c.Stream, "flow-step").NumAckPending == 18 })
	one.drop() // as a kill does: nothing is given back
	f.send(t, c.Stream+".a", drive.Numbered(20, 30)...)
	second := drive.Opened(t, f.source(t, c))
	want := slices.Delete(drive.Numbered(0, 30), 3, 5)
	drive.Compare(t, drive.Bodies(drive.Read(t, second, 28)), want)
}

// TestWorkTakesLong: while a message is worked on the server is told so, however short its patience.
func TestWorkTakesLong(t *testing.T) {
	t.Parallel()
	f := on(t, service.NATS(t))
	c := SourceConfig{Stream: f.stream(t, memory), AckWait: penstock.Duration(200 * time.Millisecond)}
	f.send(t, c.Stream+".a", drive.Numbered(0, 5)...)
	s := drive.Opened(t, f.source(t, c))
	all := drive.Read(t, s, 5)
	// Another message is sent at a time when those five would have come again twice.
	end := time.Now().Add(600 * time.Millisecond)
	drive.Until(t, "it is over", func() bool { return time.Now().After(end) })
	if i := f.consumer(t, c.Stream, "flow-step"); i.NumRedelivered != 0 || i.NumAckPending != 5 {
		t.Errorf("%d came again, %d are out", i.NumRedelivered, i.NumAckPending)
	}
	f.send(t, c.Stream+".a", `{"n":5}`)
	drive.Compare(t, drive.Bodies(drive.Read(t, s, 1)), []string{`{"n":5}`})
	drive.SettleAll(t, s, all...)
}

func TestWhereAConsumerBegins(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.send(t, stream+".a", drive.Numbered(0, 3)...)
	f.send(t, stream+".b", drive.Numbered(3, 5)...)
	three, err := f.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := three.GetMsg(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		start    Start
		subjects []string
		want     []string
	}{
		{Start{}, nil, drive.Numbered(0, 5)},
		{Start{At: "all"}, []string{stream + ".b"}, drive.Numbered(3, 5)},
		{Start{At: "last"}, nil, drive.Numbered(4, 5)},
		{Start{At: "lastPerSubject"}, nil, []string{`{"n":2}`, `{"n":4}`}},
		{Start{Sequence: 3}, nil, drive.Numbered(2, 5)},
		{Start{Time: msg.Time.Format(time.RFC3339Nano)}, nil, drive.Numbered(3, 5)},
		{Start{}, []string{stream + ".a", stream + ".b"}, drive.Numbered(0, 5)},
		{Start{At: "new"}, nil, drive.Numbered(5, 6)},
	} {
		s := drive.Opened(t, f.source(t, SourceConfig{Stream: stream, Start: c.start, Subjects: c.subjects, Consumer: fmt.Sprint("c", i)}))
		if c.start.At == "new" {
			f.send(t, stream+".b", `{"n":5}`)
		}
		drive.Compare(t, drive.Bodies(drive.Read(t, s, len(c.want))), c.want)
	}
}

// TestOnceEnds: `--once` reads what is there.
func TestOnceEnds(t *testing.T) {
	f := on(t, service.NATS(t))
	f.env.Once = true
	stream := f.stream(t, memory)
	for round := range 3 {
		f.send(t, stream+".a", drive.Numbered(round*2000, round*2000+2000)...)
		s := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
		var all []drive.Got
		for {
			var b penstock.Batch
			err := s.Read(t.Context(), &b)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			some := drive.Those(t, &b)
			drive.SettleAll(t, s, some...)
			all = append(all, some...)
		}
		drive.Compare(t, drive.Bodies(all), drive.Numbered(round*2000, round*2000+2000))
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBucketIsRead: what a bucket holds, and then each change.
func TestBucketIsRead(t *testing.T) {
	f := on(t, service.NATS(t))
	kv, err := f.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: name(), Storage: jetstream.MemoryStorage, History: 5})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		t.Helper()
		if _, err := kv.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("de.price", `1`)
	put("de.price", `2`)
	put("fr.price", `3`)
	s := drive.Opened(t, f.source(t, SourceConfig{Bucket: kv.Bucket(), Keys: []string{"*.price"}}))
	all := drive.Read(t, s, 2)
	put("fr.price", `4`)
	put("fr.other", `5`)
	if err := kv.Delete(t.Context(), "de.price"); err != nil {
		t.Fatal(err)
	}
	all = append(all, drive.Read(t, s, 2)...)
	var have []string
	for _, g := range all {
		have = append(have, g.Key+"="+g.Body+g.Meta["kv-operation"])
	}
	drive.Compare(t, have, []string{"de.price=2", "fr.price=3", "fr.price=4", "de.price=nullDEL"})
}

// TestConsumerThatIsThere: one that can't keep what the source promises, or is not what the configuration says, is refused with the fix.
func TestConsumerThatIsThere(t *testing.T) {
	f := on(t, service.NATS(t))
	for what, c := range map[string]struct {
		is     jetstream.ConsumerConfig
		config SourceConfig
		says   string
	}{
		"acknowledges all":  {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckAllPolicy}, says: "explicit"},
		"acknowledges none": {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy}, says: "explicit"},
		"gives up":          {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3}, says: "--max-deliver=-1"},
		"reads something":   {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "S.a"}, says: "reads S.a, not all subjects"},
		"reads something else": {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "S.a"}, config: SourceConfig{Subjects: []string{"S.b", "S.c"}},
			says: "reads S.a, not S.b, S.c"},
		"pushes":            {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "somewhere"}, says: "push: { subject: somewhere }"},
		"does not push":     {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy}, config: SourceConfig{Push: &Push{}}, says: "leave `push` out"},
		"pushes elsewhere":  {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "here"}, config: SourceConfig{Push: &Push{Subject: "there"}}, says: "pushes to here, not there"},
		"has another group": {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, DeliverSubject: "here.1", DeliverGroup: "g"}, config: SourceConfig{Push: &Push{}}, says: `group "g"`},
	} {
		t.Run(what, func(t *testing.T) {
			stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, Name: name(), Subjects: []string{name() + "." + "x"}})
			c.is.Durable = "flow-step"
			c.is.FilterSubject = strings.Replace(c.is.FilterSubject, "S.", stream+".", 1)
			st, err := f.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: stream, Storage: jetstream.MemoryStorage, Subjects: []string{stream + ".>"}})
			if err != nil {
				t.Fatal(err)
			}
			if c.is.DeliverSubject != "" {
				_, err = st.CreatePushConsumer(t.Context(), c.is)
			} else {
				_, err = st.CreateConsumer(t.Context(), c.is)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.config.Stream = stream
			for i, s := range c.config.Subjects {
				c.config.Subjects[i] = strings.Replace(s, "S.", stream+".", 1)
			}
			drive.Code(t, f.source(t, c.config).Open(t.Context()), penstock.Config, strings.ReplaceAll(c.says, "S.", stream+"."))
		})
	}
}

// TestConsumerIsChanged: what can be changed without harm is.
func TestConsumerIsChanged(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	for _, c := range []SourceConfig{{AckWait: penstock.Duration(5 * time.Second)}, {MaxAckPending: 17}, {AckWait: penstock.Duration(6 * time.Second), MaxAckPending: 18}, {}} {
		c.Stream = stream
		s := drive.Opened(t, f.source(t, c))
		is := f.consumer(t, stream, "flow-step").Config
		if c.AckWait != 0 && is.AckWait != c.AckWait.Std() || c.MaxAckPending != 0 && is.MaxAckPending != c.MaxAckPending {
			t.Errorf("%+v: it is %+v", c, is)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if is := f.consumer(t, stream, "flow-step").Config; is.AckWait != 6*time.Second || is.MaxAckPending != 18 {
		t.Errorf("what nobody said was changed: %+v", is)
	}
}

// TestWhatIsMissing: streams and buckets are not made behind anybody's back.
func TestWhatIsMissing(t *testing.T) {
	f := on(t, service.NATS(t))
	drive.Code(t, f.source(t, SourceConfig{Stream: "NONE"}).Open(t.Context()), penstock.Config, "no such stream", "nats stream add NONE")
	drive.Code(t, f.source(t, SourceConfig{Bucket: "none"}).Open(t.Context()), penstock.Config, "no such bucket", "nats kv add none")
	drive.Code(t, f.sink(t, SinkConfig{Stream: "NONE", Subject: drive.Template("x")}).Open(t.Context()), penstock.Config, "no such stream", "nats stream add NONE")
	drive.Code(t, f.sink(t, SinkConfig{Bucket: "none"}).Open(t.Context()), penstock.Config, "no such bucket", "nats kv add none")
}

// TestConsumerIsDeleted: another is made, which goes on behind what was read.
func TestConsumerIsDeleted(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	f.send(t, stream+".a", drive.Numbered(0, 5)...)
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
	all := drive.Read(t, s, 5)
	if err := f.js.DeleteConsumer(t.Context(), stream, "flow-step"); err != nil {
		t.Fatal(err)
	}
	f.send(t, stream+".a", drive.Numbered(5, 10)...)
	all = append(all, drive.Read(t, s, 5)...)
	drive.Compare(t, drive.Bodies(all), drive.Numbered(0, 10))
	drive.SettleAll(t, s, all...)
}

// TestStreamIsDeleted: then there is nothing to go on with.
func TestStreamIsDeleted(t *testing.T) {
	f := on(t, service.NATS(t))
	stream := f.stream(t, memory)
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
	if err := f.js.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	var b penstock.Batch
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Read(ctx, &b); err == nil || !strings.Contains(err.Error(), penstock.ErrDisconnected.Error()) {
		t.Fatal(err)
	}
	drive.Code(t, s.Open(t.Context()), penstock.Config, "no such stream")
}

// TestSharedConsumer: several processes get each message once.
func TestSharedConsumer(t *testing.T) {
	server := service.NATS(t)
	f := on(t, server)
	for what, c := range map[string]SourceConfig{"pull": {Prefetch: 10}, "push": {Push: &Push{Group: "g"}}} {
		t.Run(what, func(t *testing.T) {
			c.Shared, c.Stream = true, f.stream(t, memory)
			one, two := drive.Opened(t, through(t, server.URL()).source(t, c)), drive.Opened(t, through(t, server.URL()).source(t, c))
			f.send(t, c.Stream+".a", drive.Numbered(0, 200)...)
			all := make(chan string, 400)
			for _, s := range []penstock.Source{one, two} {
				go func() {
					var b penstock.Batch
					for s.Read(t.Context(), &b) == nil {
						some := drive.Those(t, &b)
						drive.SettleAll(t, s, some...)
						for _, g := range some {
							all <- g.Body
						}
						b.Reset()
					}
				}()
			}
			var have []string
			for range 200 {
				have = append(have, <-all)
			}
			want := drive.Numbered(0, 200)
			slices.Sort(have)
			slices.Sort(want)
			drive.Compare(t, have, want)
		})
	}
}

// TestWhoSharesUnasked: two processes that both think that they are alone lose nothing and stop nobody, and each is in order.
func TestWhoSharesUnasked(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	f := on(t, server)
	c := SourceConfig{Stream: f.stream(t, memory), Prefetch: 7, AckWait: penstock.Duration(300 * time.Millisecond)}
	type one struct {
		who int
		g   drive.Got
	}
	all := make(chan one, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for who := range 2 {
		x := through(t, server.URL())
		x.env.Resumes = true
		s := drive.Opened(t, x.source(t, c))
		go func() {
			var b penstock.Batch
			for s.Read(ctx, &b) == nil {
				some := drive.Those(t, &b)
				drive.SettleAll(t, s, some...)
				for _, g := range some {
					all <- one{who, g}
				}
				b.Reset()
			}
		}()
	}
	f.send(t, c.Stream+".a", drive.Numbered(0, 300)...)
	seen := map[string]bool{}
	var last [2]int64
	for len(seen) < 300 {
		select {
		case o := <-all:
			seen[o.g.Body] = true
			if o.g.Pos.Stream == c.Stream {
				if o.g.Pos.Offset <= last[o.who] {
					t.Errorf("process %d: %d behind %d", o.who, o.g.Pos.Offset, last[o.who])
				}
				last[o.who] = o.g.Pos.Offset
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of 300", len(seen))
		}
	}
}
