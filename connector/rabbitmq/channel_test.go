package rabbitmq

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
)

// described is what Describe says, a line for each object.
func described(t *testing.T, top penstock.Topology, env penstock.Env) string {
	t.Helper()
	objects, err := top.Describe(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range objects {
		line := fmt.Sprintf("%s %s %s", o.Action, o.Kind, o.Name)
		for _, s := range o.Settings {
			line += fmt.Sprintf(" %s=%s", s.Name, s.Want)
			if s.Is != "" {
				line += " not " + s.Is
			}
		}
		out = append(out, line+o.Why)
	}
	return strings.Join(out, "\n")
}

func (f *fixture) forget(t testing.TB, queues []string, exchanges ...string) {
	t.Cleanup(func() {
		ch := f.channel(t)
		for _, q := range queues {
			_, _ = ch.QueueDelete(q, false, false, false)
		}
		for _, e := range exchanges {
			_ = ch.ExchangeDelete(e, false, false)
		}
	})
}

func TestChannels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config ChannelConfig
		use    penstock.ChannelUse
		made   string
	}{
		{"a queue", ChannelConfig{}, penstock.ChannelUse{Queue: true, Groups: []string{"orders"}}, "create queue - x-queue-type=quorum"},
		{"a queue of messages with keys", ChannelConfig{Type: typeClassic, MaxLength: 1000}, penstock.ChannelUse{Queue: true, Keyed: true, Groups: []string{"orders"}},
			"create queue - x-max-length=1000 x-overflow=reject-publish x-queue-type=classic x-single-active-consumer=true"},
		{"a topic", ChannelConfig{}, penstock.ChannelUse{Groups: []string{"billing", "shipping"}},
			"create exchange - type=fanout\ncreate queue -.billing x-queue-type=quorum\ncreate queue -.shipping x-queue-type=quorum"},
		{"a stream", ChannelConfig{Type: typeStream}, penstock.ChannelUse{Groups: []string{"billing", "shipping"}}, "create queue - x-queue-type=stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := onServer(t)
			name := unique(t)
			c.config.Connection, c.config.Prefetch, c.use.Name = f.ref, 100, name
			if errs := c.config.Refuses(c.use); len(errs) > 0 {
				t.Fatal(errs)
			}
			var queues []string
			for _, g := range c.use.Groups {
				queues = append(queues, name+"."+g)
			}
			f.forget(t, append(queues, name), name)
			top := c.config.Topology(c.use)
			if got := strings.ReplaceAll(described(t, top, f.env), name, "-"); got != c.made {
				t.Errorf("it would make\n%s\nwant\n%s", got, c.made)
			}
			for range 2 { // as several processes do
				if err := top.Ensure(t.Context(), f.env); err != nil {
					t.Fatal(err)
				}
			}
			if got := described(t, top, f.env); strings.Contains(got, "create") || strings.Contains(got, "conflict") {
				t.Errorf("after it was made: %s", got)
			}
			var sink SinkConfig
			sink.Format = drive.JSON(t)
			c.config.FillSink(c.use, &sink)
			if errs := sink.Validate(); len(errs) > 0 {
				t.Fatal(errs)
			}
			out, err := newSink(sink, f.env)
			if err != nil {
				t.Fatal(err)
			}
			if err := drive.Opened(t, out).Write(t.Context(), conform.Batch("1", "2", "3")); err != nil {
				t.Fatal(err)
			}
			for _, g := range c.use.Groups {
				use := c.use
				use.Group = g
				var source SourceConfig
				source.Format = drive.JSON(t)
				c.config.FillSource(use, &source)
				if errs := source.Validate(); len(errs) > 0 {
					t.Fatal(errs)
				}
				in, err := newSource(source, f.env)
				if err != nil {
					t.Fatal(err)
				}
				for i, m := range drive.Some(t, drive.Opened(t, in), 3) {
					if got := conform.Text(t, m.Body); got != fmt.Sprint(i+1) {
						t.Errorf("%s: message %d is %s", g, i, got)
					}
				}
				if meta, remember := source.Identity(); c.config.Type != typeStream && (meta != "message-id" || remember <= 0) {
					t.Error("the messages of a channel have identities")
				}
			}
		})
	}
}

// TestATopicThatNobodyReads: what is sent there is gone, as the broker has it, and no error.
func TestATopicThatNobodyReads(t *testing.T) {
	f := onServer(t)
	c := ChannelConfig{Connection: f.ref}
	use := penstock.ChannelUse{Name: unique(t)}
	f.forget(t, nil, use.Name)
	if err := c.Topology(use).Ensure(t.Context(), f.env); err != nil {
		t.Fatal(err)
	}
	sink := SinkConfig{Format: drive.JSON(t)}
	c.FillSink(use, &sink)
	out, err := newSink(sink, f.env)
	if err != nil {
		t.Fatal(err)
	}
	if err := drive.Opened(t, out).Write(t.Context(), conform.Batch("1")); err != nil {
		t.Error(err)
	}
}

func TestChannelsThatCannotBe(t *testing.T) {
	if errs := (&ChannelConfig{Type: typeStream, MaxLength: 3}).Refuses(penstock.ChannelUse{Queue: true}); len(errs) != 2 {
		t.Error(errs)
	}
}

// TestWhatIsThereOtherwise: an operator sees what differs, before anything is started.
func TestWhatIsThereOtherwise(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeClassic, map[string]any{"x-max-length": int64(10)})
	ex := f.exchange(t, "direct")
	source := &SourceConfig{Connection: f.ref, Queue: text(q), Declare: &QueueConfig{Type: typeClassic, MaxLength: 20}}
	if got := described(t, source, f.env); !strings.HasPrefix(got, "conflict queue") || !strings.HasSuffix(got, "x-max-length=20 not 10") {
		t.Error(got)
	}
	sink := &SinkConfig{Connection: f.ref, Exchange: text(ex), DeclareExchange: &ExchangeConfig{Type: "topic"}}
	if got := described(t, sink, f.env); !strings.HasPrefix(got, "conflict exchange") || !strings.HasSuffix(got, "type=topic not direct") {
		t.Error(got)
	}
	if got := described(t, &SourceConfig{Connection: f.ref, Queue: text("nowhere")}, f.env); got != "" {
		t.Error("what is not declared is not looked after: ", got)
	}
	away := on(t, nil, "127.0.0.1:1")
	source.Connection = away.ref
	_, err := source.Describe(context.Background(), away.env)
	drive.Code(t, err, penstock.Unavailable)
}
