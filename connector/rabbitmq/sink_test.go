package rabbitmq

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
)

// value is a template that gives a field of the body, absent where it is not there.
func value(name string) penstock.Template {
	return penstock.Template{Source: "${body." + name + "}", Program: drive.Program(func(f *penstock.Frame) penstock.Value {
		d := f.Msg.Body
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return penstock.ErrorValue(err)
		}
		return penstock.NodeValue(d, d.Field(0, name, nil)).Load(f.Arena)
	})}
}

// bind makes a queue that gets what is published to an exchange with a key.
func (f *fixture) bind(t testing.TB, kind, exchange, key string, args amqp.Table) string {
	t.Helper()
	q := f.declare(t, kind, args)
	ch := f.channel(t)
	defer func() { _ = ch.Close() }()
	if err := ch.QueueBind(q, key, exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	return q
}

func (f *fixture) exchange(t testing.TB, kind string) string {
	t.Helper()
	name := unique(t)
	ch := f.channel(t)
	if err := ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ch.ExchangeDelete(name, false, false), ch.Close() })
	return name
}

func TestWhatIsPublished(t *testing.T) {
	f := onServer(t)
	ex := f.exchange(t, "topic")
	q := f.bind(t, typeClassic, ex, "order.#", nil)
	s := drive.Opened(t, f.sink(t, SinkConfig{Exchange: text(ex), RoutingKey: value("route"), Priority: value("prio"), Expiration: text("90s"), Type: text("order"),
		Headers: map[string]penstock.Template{"shop": text("7"), "n": value("n"), "gone": value("nothing")}}))
	b := conform.Batch(`{"route":"order.de","prio":3,"n":12}`, `{"route":"order.fr.paris","n":true}`)
	m := b.Msgs[0]
	m.Key, m.Time = "k-1", time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	m.Pos = penstock.Position{Stream: "in", Offset: 4}
	m.Meta.Set("traceparent", penstock.StringValue("00-1-2-01"))
	m.Meta.Set("correlation-id", penstock.StringValue("c-9"))
	m.Meta.Set("reply-to", penstock.StringValue("answers"))
	m.Meta.Set("redelivered", penstock.True) // of another queue
	m.Meta.Set("user-id", penstock.StringValue("somebody"))
	m.Meta.Set("priority", penstock.StringValue("high")) // no priority of AMQP: a header
	m.Meta.Set("list", penstock.ListValue(&penstock.List{Elems: []penstock.Value{penstock.IntValue(1), penstock.StringValue("x")}}))
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := f.drain(t, q)
	if len(got) != 2 {
		t.Fatalf("%d messages", len(got))
	}
	d := got[0]
	want := amqp.Table{"traceparent": "00-1-2-01", "priority": "high", "list": []any{int64(1), "x"}, "shop": "7", "n": int64(12), keyHeader: "k-1"}
	if !reflect.DeepEqual(d.Headers, want) {
		t.Errorf("headers %v, want %v", d.Headers, want)
	}
	if d.RoutingKey != "order.de" || d.Priority != 3 || d.Expiration != "90000" || d.Type != "order" || d.CorrelationId != "c-9" || d.ReplyTo != "answers" || d.UserId != "" ||
		!d.Timestamp.Equal(m.Time) || d.ContentType != "application/json" || d.DeliveryMode != amqp.Persistent || d.MessageId != "flow/step:@in:4" {
		t.Errorf("%+v", d)
	}
	if got[1].Priority != 0 || got[1].Headers["n"] != true || got[1].RoutingKey != "order.fr.paris" {
		t.Errorf("%+v", got[1])
	}
}

// TestWhatComesBackIsWhatWasSent: key, meta and body, through a queue.
func TestWhatComesBackIsWhatWasSent(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeClassic, nil)
	b := conform.Batch(`{"a":[1,2.50,"ü"]}`)
	m := b.Msgs[0]
	m.Key, m.Time = "käse", time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	meta := map[string]penstock.Value{
		"text": penstock.StringValue("ü"), "int": penstock.IntValue(-7), "double": penstock.DoubleValue(2.5), "true": penstock.True, "null": penstock.Null,
		"time": penstock.TimestampValue(m.Time), "type": penstock.StringValue("t"), "priority": penstock.IntValue(9), "app-id": penstock.StringValue("shop"),
		"map": penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: penstock.StringValue("a"), Value: penstock.IntValue(1)}, {Key: penstock.StringValue("b"), Value: penstock.ListValue(&penstock.List{Elems: []penstock.Value{penstock.True}})}}}),
	}
	for name, v := range meta {
		m.Meta.Set(name, v)
	}
	if err := drive.Opened(t, f.sink(t, SinkConfig{Queue: text(q)})).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var back penstock.Batch
	if err := drive.Opened(t, f.source(t, q, SourceConfig{})).Read(t.Context(), &back); err != nil {
		t.Fatal(err)
	}
	got := back.Msgs[0]
	if got.Key != "käse" || !got.Time.Equal(m.Time) || conform.Text(t, got.Body) != `{"a":[1,2.50,"ü"]}` {
		t.Errorf("key %q, time %v, body %s", got.Key, got.Time, conform.Text(t, got.Body))
	}
	for name, v := range meta {
		if name == "true" || name == "priority" {
			v = got.Meta.Get(name) // compared as text below
		}
		if g, w := got.Meta.Get(name).String(), v.String(); g != w {
			t.Errorf("meta %s is %s, want %s", name, g, w)
		}
	}
	if got.Meta.Get("priority").Int() != 9 || !got.Meta.Get("true").Bool() {
		t.Error("a number or a truth has become something else")
	}
}

func TestUnroutable(t *testing.T) {
	f := onServer(t)
	ex := f.exchange(t, "direct")
	q := f.bind(t, typeClassic, ex, "here", nil)
	bodies := []string{`{"route":"here","n":1}`, `{"route":"nowhere","n":2}`, `{"route":"here","n":3}`, `{"route":"nowhere","n":2}`, `{"route":"here","n":4}`}
	s := drive.Opened(t, f.sink(t, SinkConfig{Exchange: text(ex), RoutingKey: value("route")}))
	errs := drive.BatchErrors(t, s.Write(t.Context(), conform.Batch(bodies...)))
	if len(errs) != 2 || errs[1] == nil || errs[3] == nil {
		t.Fatal(errs)
	}
	drive.Code(t, errs[1], penstock.NotFound, "nowhere", "bind a queue")
	if got := payloads(f.drain(t, q)); len(got) != 3 {
		t.Error(got)
	}
	no := false
	if err := drive.Opened(t, f.sink(t, SinkConfig{Exchange: text(ex), RoutingKey: value("route"), Mandatory: &no})).Write(t.Context(), conform.Batch(bodies...)); err != nil {
		t.Error(err)
	}
}

// TestAFullQueue: what it refuses may be tried again, and with it what stands behind it with the same key.
// TestTheConnectionEndsBehindTheLastConfirmation: everything is written, and there is nobody left who would give anything back.
func TestTheConnectionEndsBehindTheLastConfirmation(t *testing.T) {
	s := &sink{config: SinkConfig{Format: drive.JSON(t)}, queue: "q", fates: []error{nil, nil}, env: penstock.Env{}}
	b := conform.Batch("1", "2")
	_, gone, err := s.letter(b, b.Msgs[1])
	if err != nil {
		t.Fatal(err)
	}
	r := round{sink: s, o: &outlet{returns: make(chan amqp.Return, 64)}, sent: []int{0, 1}, known: 2}
	r.o.returns <- amqp.Return{RoutingKey: "q", MessageId: gone.MessageId, Body: append([]byte(nil), gone.Body...), ReplyCode: 312}
	close(r.o.returns)
	r.returned(b)
	if len(r.refused) != 1 || s.fates[0] != nil || penstock.CodeOf(s.fates[1]) != penstock.NotFound {
		t.Errorf("%d came back: %v", len(r.refused), s.fates)
	}
}

func TestAFullQueue(t *testing.T) {
	for _, kind := range []string{typeClassic, typeQuorum} {
		t.Run(kind, func(t *testing.T) {
			f := onServer(t)
			q := f.declare(t, kind, amqp.Table{"x-max-length": int64(2), "x-overflow": rejectPublish})
			s := drive.Opened(t, f.sink(t, SinkConfig{Queue: text(q)}))
			// A queue takes a few more than it should.
			var refused map[int]error
			sent := 0
			for i := 0; i < 50 && refused == nil; i++ {
				if err := s.Write(t.Context(), conform.Batch(fmt.Sprint(i))); err != nil {
					refused = drive.BatchErrors(t, err)
				} else {
					sent++
				}
			}
			drive.Code(t, refused[0], penstock.Limited, "full")
			if err := s.Write(t.Context(), conform.Batch("100")); err == nil {
				t.Error("the queue is full, and took a message")
			}
			if got := f.drain(t, q); len(got) != sent {
				t.Errorf("%d messages, %d were acknowledged", len(got), sent)
			}
			if err := s.Write(t.Context(), conform.Batch("7")); err != nil {
				t.Error("there is room again: ", err)
			}
		})
	}
}

// TestAPoisonedMessageFailsAlone: one for which the server closes the channel.
func TestAPoisonedMessageFailsAlone(t *testing.T) {
	f := onServer(t)
	ex := f.exchange(t, "fanout")
	q := f.bind(t, typeClassic, ex, "", nil)
	s := drive.Opened(t, f.sink(t, SinkConfig{Exchange: text(ex)}))
	b := conform.Batch(`{"n":0}`, `{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`)
	b.Msgs[1].Meta.Set("cc", penstock.StringValue("x"))                           // fine
	b.Msgs[2].Meta.Set("BCC", penstock.StringValue("x"))                          // lowered: fine
	b.Msgs[3].Meta.Set("big", penstock.StringValue(strings.Repeat("x", 200<<10))) // does not fit into a frame
	errs := drive.BatchErrors(t, s.Write(t.Context(), b))
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	drive.Code(t, errs[3], penstock.TooLarge, "headers")
	// The headers CC and BCC must be lists (RabbitMQ: sender-selected distribution): the server closes the channel for any other.
	poison := drive.Opened(t, f.sink(t, SinkConfig{Exchange: text(ex), Headers: map[string]penstock.Template{"CC": value("cc")}}))
	errs = drive.BatchErrors(t, poison.Write(t.Context(), conform.Batch(`{"n":5}`, `{"n":6,"cc":"x"}`, `{"n":7}`)))
	if len(errs) != 1 || errs[1] == nil {
		t.Fatal(errs)
	}
	drive.Code(t, errs[1], penstock.Config, "CC")
	got := payloads(f.drain(t, q))
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 6 { // what was on its way when the channel was closed may be there twice
		t.Error(got)
	}
}

func TestLargeMessages(t *testing.T) {
	f := onServer(t)
	q := f.declare(t, typeClassic, nil)
	s := drive.Opened(t, f.sink(t, SinkConfig{Queue: text(q)}))
	var bodies []string
	for i := range 12 {
		bodies = append(bodies, fmt.Sprintf(`{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 1<<20)))
	}
	if err := s.Write(t.Context(), conform.Batch(bodies...)); err != nil {
		t.Fatal(err)
	}
	in := drive.Opened(t, f.source(t, q, SourceConfig{MaxRecord: 1 << 20}))
	if err := in.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	read := func(c SourceConfig) (out []string, failed int) {
		in := drive.Opened(t, f.source(t, q, c))
		for len(out)+failed < len(bodies) {
			var b penstock.Batch
			if err := in.Read(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			for i, m := range b.Msgs {
				if err := b.Err(i); err != nil {
					drive.Code(t, err, penstock.TooLarge, "maxRecord")
					failed++
				} else {
					out = append(out, conform.Text(t, m.Body))
				}
			}
		}
		if err := in.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		return out, failed
	}
	if out, failed := read(SourceConfig{MaxRecord: 1 << 20}); failed != len(bodies) || len(out) > 0 {
		t.Errorf("%d too large", failed)
	}
	if out, failed := read(SourceConfig{}); failed > 0 || !slices.Equal(out, bodies) {
		t.Errorf("%d came, %d failed", len(out), failed)
	}
}

func TestSinkConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config SinkConfig
		want   []string
	}{
		{SinkConfig{Queue: text("q")}, nil},
		{SinkConfig{Exchange: text("e"), RoutingKey: text("k")}, nil},
		{SinkConfig{}, []string{"say where to"}},
		{SinkConfig{Queue: text("q"), Exchange: text("e"), RoutingKey: text("k")}, []string{"default exchange", "leave `routingKey` out"}},
		{SinkConfig{Exchange: text("e"), Declare: &QueueConfig{}}, []string{"declareExchange"}},
		{SinkConfig{Queue: text("q"), DeclareExchange: &ExchangeConfig{}}, []string{"`declare`"}},
		{SinkConfig{Exchange: text("amq.topic"), DeclareExchange: &ExchangeConfig{}}, []string{"server's own"}},
		{SinkConfig{Queue: text("q"), Declare: &QueueConfig{Type: typeStream, MaxLength: 1, DeadLetter: &DeadLetterConfig{Exchange: "d"}}}, []string{"maxLength", "no dead letters"}},
		{SinkConfig{Queue: text("q"), Declare: &QueueConfig{Type: typeClassic, DeliveryLimit: 3, Overflow: rejectPublish}}, []string{"only a quorum queue", "give `maxLength`"}},
		{SinkConfig{Queue: text("q"), Declare: &QueueConfig{MaxPriority: 3, Overflow: "reject-publish-dlx", MaxLength: 1}}, []string{"knows no", "only a classic queue"}},
		{SinkConfig{Queue: text("q"), Declare: &QueueConfig{DeadLetter: &DeadLetterConfig{}}}, []string{"name an `exchange`"}},
		{SinkConfig{Queue: text("q"), Declare: &QueueConfig{DeadLetter: &DeadLetterConfig{Exchange: "d", Strategy: "at-least-once"}}}, []string{"reject-publish"}},
		{SinkConfig{Queue: text("q"), Headers: map[string]penstock.Template{keyHeader: text("x"), "": text("y")}}, []string{"1 to 255", "holds the key"}},
	} {
		errs := c.config.Validate()
		ok := len(errs) == len(c.want)
		for i := range min(len(errs), len(c.want)) {
			ok = ok && strings.Contains(errs[i].Error(), c.want[i])
		}
		if !ok {
			t.Errorf("%+v: %v, want %q", c.config, errs, c.want)
		}
	}
}
