package nats

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestStreamsOfChannels(t *testing.T) {
	f := on(t, service.NATS(t))
	no := false
	topic := penstock.ChannelUse{Groups: []string{"billing", "mail"}}
	queue := penstock.ChannelUse{Queue: true, Groups: []string{"orders"}}
	for what, c := range map[string]struct {
		is      *jetstream.StreamConfig
		config  ChannelConfig
		use     penstock.ChannelUse
		action  penstock.ObjectAction
		want    []string // settings: name is want
		mention string   // in why or hint
	}{
		"is made": {config: ChannelConfig{MaxAge: penstock.Duration(time.Hour), MaxBytes: 1 << 20, MaxMessages: 100}, use: topic, action: penstock.ObjectCreate,
			want: []string{"subject  S.x", "retention  limits", "dedupe  2m0s", "maxAge  1h0m0s", "maxBytes  1048576", "maxMessages  100", "discard  new"}},
		"is made as a queue":           {use: queue, action: penstock.ObjectCreate, want: []string{"subject  S.x", "retention  workqueue", "dedupe  2m0s", "discard  new"}},
		"is made for interest":         {config: ChannelConfig{Retention: "interest", Discard: "old", Dedupe: penstock.Duration(time.Minute)}, use: topic, action: penstock.ObjectCreate, want: []string{"subject  S.x", "retention  interest", "dedupe  1m0s"}},
		"is not made":                  {config: ChannelConfig{Create: &no}, use: topic, action: penstock.ObjectConflict, mention: "nats stream add"},
		"is as it is":                  {is: &jetstream.StreamConfig{}, use: topic, action: penstock.ObjectKeep},
		"is there for more":            {is: &jetstream.StreamConfig{Subjects: []string{"S.>"}, Duplicates: time.Hour, MaxMsgs: 17, Discard: jetstream.DiscardOld}, use: topic, action: penstock.ObjectKeep},
		"gets a subject":               {is: &jetstream.StreamConfig{Subjects: []string{"S.y"}}, use: topic, action: penstock.ObjectChange, want: []string{"subject S.y S.x"}},
		"remembers longer":             {is: &jetstream.StreamConfig{Duplicates: time.Second}, use: topic, action: penstock.ObjectChange, want: []string{"dedupe 1s 2m0s"}},
		"keeps more":                   {is: &jetstream.StreamConfig{MaxMsgs: 10, MaxBytes: 1000, MaxAge: time.Hour}, config: ChannelConfig{MaxMessages: 20, MaxBytes: 2000, MaxAge: penstock.Duration(2 * time.Hour)}, use: topic, action: penstock.ObjectChange, want: []string{"maxAge 1h0m0s 2h0m0s", "maxBytes 1000 2000", "maxMessages 10 20"}},
		"loses nothing":                {is: &jetstream.StreamConfig{MaxMsgs: 10}, config: ChannelConfig{MaxMessages: 9}, use: topic, action: penstock.ObjectConflict, want: []string{"maxMessages 10 9"}, mention: "--max-msgs 9"},
		"loses nothing by a new limit": {is: &jetstream.StreamConfig{}, config: ChannelConfig{MaxAge: penstock.Duration(time.Hour)}, use: topic, action: penstock.ObjectConflict, want: []string{"maxAge any 1h0m0s"}, mention: "could be lost"},
		"loses nothing when full":      {is: &jetstream.StreamConfig{Discard: jetstream.DiscardNew}, config: ChannelConfig{Discard: "old"}, use: topic, action: penstock.ObjectConflict, want: []string{"discard new old"}, mention: "could be lost"},
		"refuses when full":            {is: &jetstream.StreamConfig{Discard: jetstream.DiscardOld}, config: ChannelConfig{Discard: "new"}, use: topic, action: penstock.ObjectChange, want: []string{"discard old new"}},
		"is a queue for all":           {is: &jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, use: topic, action: penstock.ObjectConflict, want: []string{"retention workqueue limits"}, mention: "changes no stream"},
		"is a queue on a log":          {is: &jetstream.StreamConfig{}, use: queue, action: penstock.ObjectKeep},
		"confirms":                     {is: &jetstream.StreamConfig{NoAck: true}, use: topic, action: penstock.ObjectChange, want: []string{"confirms no yes"}},
		"is not changed":               {is: &jetstream.StreamConfig{Duplicates: time.Second}, config: ChannelConfig{Create: &no}, use: topic, action: penstock.ObjectConflict, want: []string{"dedupe 1s 2m0s"}, mention: "--dupe-window 2m0s"},
		"is in memory":                 {is: &jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, use: topic, action: penstock.ObjectConflict, want: []string{"storage memory file"}, mention: "lost when the servers stop"},
	} {
		t.Run(what, func(t *testing.T) {
			stream := name()
			mine := func(s string) string { return strings.ReplaceAll(s, "S.", stream+".") }
			if c.is != nil {
				c.is.Name = stream
				if c.is.Subjects == nil {
					c.is.Subjects = []string{"S.x"}
				}
				c.is.Subjects[0] = mine(c.is.Subjects[0])
				f.stream(t, *c.is)
			}
			c.config.Connection, c.config.Stream, c.config.Subject = f.ref, stream, stream+".x"
			if errs := append(c.config.Validate(), c.config.Refuses(c.use)...); len(errs) > 0 {
				t.Fatal(errs)
			}
			top := c.config.Topology(c.use)
			all, err := top.Describe(t.Context(), f.env)
			if err != nil || len(all) != 1+len(c.use.Groups) {
				t.Fatal(all, err)
			}
			o := all[0]
			var have []string
			for _, s := range o.Settings {
				have = append(have, s.Name+" "+s.Is+" "+s.Want)
			}
			if o.Action != c.action || o.Name != stream || strings.Join(have, ", ") != mine(strings.Join(c.want, ", ")) {
				t.Errorf("%+v", o)
			}
			if !strings.Contains(o.Why+o.Hint, c.mention) {
				t.Errorf("it says %q, %q", o.Why, o.Hint)
			}
			err = top.Ensure(t.Context(), f.env)
			if c.action == penstock.ObjectConflict {
				drive.Code(t, err, penstock.Config)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if all, err = top.Describe(t.Context(), f.env); err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				if o.Action != penstock.ObjectKeep {
					t.Errorf("afterwards: %+v", o)
				}
			}
			if err := top.Ensure(t.Context(), f.env); err != nil {
				t.Error("again: ", err)
			}
		})
	}
}

func TestConsumersOfChannels(t *testing.T) {
	f := on(t, service.NATS(t))
	no := false
	for what, c := range map[string]struct {
		is     jetstream.ConsumerConfig
		config ChannelConfig
		action penstock.ObjectAction
		says   string
	}{
		"is as it is":       {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "S.x"}, action: penstock.ObjectKeep},
		"is changed":        {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "S.x"}, config: ChannelConfig{AckWait: penstock.Duration(time.Second), MaxAckPending: 7}, action: penstock.ObjectChange},
		"is not changed":    {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "S.x"}, config: ChannelConfig{AckWait: penstock.Duration(time.Second), Create: &no}, action: penstock.ObjectConflict, says: "create: false"},
		"acknowledges none": {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, FilterSubject: "S.x"}, action: penstock.ObjectConflict, says: "explicit"},
		"reads too much":    {is: jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy}, action: penstock.ObjectConflict, says: "reads all subjects"},
	} {
		t.Run(what, func(t *testing.T) {
			stream := f.stream(t, jetstream.StreamConfig{})
			c.is.Durable, c.is.FilterSubject = "p-billing", strings.Replace(c.is.FilterSubject, "S.", stream+".", 1)
			if _, err := f.js.CreateConsumer(t.Context(), stream, c.is); err != nil {
				t.Fatal(err)
			}
			c.config.Connection, c.config.Stream, c.config.Subject, c.config.ConsumerPrefix = f.ref, stream, stream+".x", "p-"
			top := c.config.Topology(penstock.ChannelUse{Groups: []string{"billing"}})
			all, err := top.Describe(t.Context(), f.env)
			if err != nil {
				t.Fatal(err)
			}
			if o := all[1]; o.Kind != "consumer" || o.Name != stream+"/p-billing" || o.Action != c.action || !strings.Contains(o.Why, c.says) {
				t.Errorf("%+v", o)
			}
			if err := top.Ensure(t.Context(), f.env); (err != nil) != (c.action == penstock.ObjectConflict) {
				t.Error(err)
			}
			if is := f.consumer(t, stream, "p-billing").Config; c.action == penstock.ObjectChange && (is.AckWait != time.Second || is.MaxAckPending != 7) {
				t.Errorf("%+v", is)
			}
		})
	}
}

// TestManyMakeAStream: several processes start at once.
func TestManyMakeAStream(t *testing.T) {
	f := on(t, service.NATS(t))
	c := ChannelConfig{Connection: f.ref, Stream: name()}
	use := penstock.ChannelUse{Name: strings.ToLower(c.Stream), Groups: []string{"a", "b", "c"}}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := c.Topology(use).Ensure(t.Context(), f.env); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestChannelsAreReadAsTheyAreWritten(t *testing.T) {
	f := on(t, service.NATS(t))
	c := ChannelConfig{Connection: f.ref, Stream: name(), Subject: name()}
	for _, use := range []penstock.ChannelUse{{Name: "orders", Groups: []string{"billing"}, Group: "billing"}} {
		if err := c.Topology(use).Ensure(t.Context(), f.env); err != nil {
			t.Fatal(err)
		}
		in, out := SourceConfig{}, SinkConfig{}
		c.FillSource(use, &in)
		c.FillSink(use, &out)
		s := drive.Opened(t, f.sink(t, out))
		b := drive.Batch("x", 0, `{"a":1}`)
		b.Msgs[0].Key = "k"
		b.Msgs[0].Meta.Set("x", penstock.StringValue("y"))
		if err := s.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		g := drive.Read(t, drive.Opened(t, f.source(t, in)), 1)[0]
		if id, keep := in.Identity(); g.Key != "k" || g.Meta["x"] != "y" || g.Body != `{"a":1}` || g.Meta[id] == "" || keep == 0 {
			t.Errorf("%+v", g)
		}
	}
}

func TestChannelsAreChecked(t *testing.T) {
	for what, c := range map[string]struct {
		config ChannelConfig
		use    penstock.ChannelUse
		says   string
	}{
		"fine":                   {use: penstock.ChannelUse{Name: "orders"}},
		"a queue":                {use: penstock.ChannelUse{Name: "orders", Queue: true}},
		"dead letters":           {use: penstock.ChannelUse{Name: "orders.dead"}, says: "say `stream`"},
		"bad stream":             {config: ChannelConfig{Stream: "a.b"}, use: penstock.ChannelUse{Name: "orders"}, says: "no spaces, dots"},
		"bad subject":            {config: ChannelConfig{Subject: "a.*"}, use: penstock.ChannelUse{Name: "orders"}, says: "wildcard"},
		"bad prefix":             {config: ChannelConfig{ConsumerPrefix: "a.b"}, use: penstock.ChannelUse{Name: "orders"}, says: "consumerPrefix"},
		"remembers what is gone": {config: ChannelConfig{Dedupe: penstock.Duration(time.Hour), MaxAge: penstock.Duration(time.Minute)}, use: penstock.ChannelUse{Name: "orders"}, says: "longer than `maxAge`"},
		"one gets what all want": {config: ChannelConfig{Retention: "workqueue"}, use: penstock.ChannelUse{Name: "orders", Groups: []string{"a", "b"}}, says: "mode: queue"},
		"nobody wants it":        {config: ChannelConfig{Retention: "interest"}, use: penstock.ChannelUse{Name: "orders"}, says: "no flow here reads it"},
	} {
		t.Run(what, func(t *testing.T) {
			var all []string
			for _, err := range append(c.config.Validate(), c.config.Refuses(c.use)...) {
				all = append(all, err.Error())
			}
			text := strings.Join(all, "; ")
			if (c.says == "") != (text == "") || !strings.Contains(text, c.says) {
				t.Errorf("it says %q", text)
			}
		})
	}
}
