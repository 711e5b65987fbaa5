package mqtt

import (
	"context"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
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

// TestWhatComesBackIsWhatWasSent: key, meta, body, topic and properties.
func TestWhatComesBackIsWhatWasSent(t *testing.T) {
	f := onServer(t)
	topic := unique(t)
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic + "/#"), QoS: 1}))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: value("to"), QoS: 1, ResponseTopic: text("answers"), CorrelationData: value("n"), Expiry: penstock.Duration(time.Minute),
		Properties: map[string]penstock.Template{"shop": text("7"), "n": value("n"), "gone": value("nothing")}}))
	b := conform.Batch(`{"to":"`+topic+`/a","n":12}`, `{"to":"`+topic+`/b/c","n":true}`)
	m := b.Msgs[0]
	m.Key, m.Pos = "käse", penstock.Position{Stream: "in", Offset: 4}
	m.Meta.Set("traceparent", penstock.StringValue("00-1-2-01"))
	m.Meta.Set("n", penstock.StringValue("overwritten"))
	m.Meta.Set("topic", penstock.StringValue("of another broker"))
	m.Meta.Set("list", penstock.ListValue(&penstock.List{}))
	if err := w.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := drive.Some(t, s, 2)
	for name, want := range map[string]string{"topic": topic + "/a", "traceparent": "00-1-2-01", "n": "12", "shop": "7", "response-topic": "answers", "correlation-data": "12",
		"content-type": "application/json", "list": "", "gone": ""} {
		v := got[0].Meta.Get(name)
		if text, _ := plain(v); text != want {
			t.Errorf("%s is %q, want %q", name, text, want)
		}
	}
	if id := got[0].Meta.Get("message-id").Str(); !strings.HasSuffix(id, ":@in:4") || got[0].Key != "käse" || conform.Text(t, got[0].Body) != `{"to":"`+topic+`/a","n":12}` {
		t.Errorf("identity %q, key %q, body %s", id, got[0].Key, conform.Text(t, got[0].Body))
	}
	if got[1].Meta.Get("topic").Str() != topic+"/b/c" || got[1].Key != "" {
		t.Error(got[1].Meta.Entries())
	}
}

// TestAWrittenMessageSurvivesALostConnection: the acknowledgement does not arrive; the client publishes again under the same number, and with QoS 2 the message is
// there once.
func TestAWrittenMessageSurvivesALostConnection(t *testing.T) {
	server := service.Mosquitto(t)
	proxy := service.NewProxy(t, server.Address())
	f, direct := on(server, address(proxy)), on(server, server.Address())
	topic := unique(t)
	s := drive.Opened(t, direct.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 2}, once))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 2}))
	if err := w.Write(t.Context(), conform.Batch("0")); err != nil {
		t.Fatal(err)
	}
	proxy.CutWhen(func(sent []byte) bool { return strings.Contains(string(sent), `"cut"`) })
	if err := w.Write(t.Context(), conform.Batch("1", `"cut"`, "2")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(everything(t, s), " "); got != `0 1 "cut" 2` {
		t.Error(got)
	}
}

func TestWhatTheBrokerDoesNotTake(t *testing.T) {
	server := service.NewMosquitto(t, "max_packet_size 2000", "max_qos 1", "retain_available false")
	f := on(server, server.Address())
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text("a"), QoS: 1}))
	errs := drive.BatchErrors(t, w.Write(t.Context(), conform.Batch("0", `"`+strings.Repeat("x", 3000)+`"`, "2")))
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	drive.Code(t, errs[1], penstock.TooLarge, "2000")
	drive.Code(t, f.sink(t, SinkConfig{Topic: text("a"), QoS: 2}).Open(t.Context()), penstock.Config, "lower `qos`")
	drive.Code(t, f.sink(t, SinkConfig{Topic: text("a"), Retain: true}).Open(t.Context()), penstock.Config, "leave `retain` out")
}

// TestPatience: it ends, and what could not be written may be written later.
func TestPatience(t *testing.T) {
	server := service.Mosquitto(t)
	proxy := service.NewProxy(t, server.Address())
	f := on(server, address(proxy))
	f.config.Patience = penstock.Duration(200 * time.Millisecond)
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(unique(t)), QoS: 1}))
	proxy.Refuse(true)
	proxy.Cut()
	drive.Code(t, drive.BatchErrors(t, w.Write(t.Context(), conform.Batch("0")))[0], penstock.Unavailable)
	f.config.Patience = penstock.Duration(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	drive.Code(t, drive.BatchErrors(t, w.Write(ctx, conform.Batch("1")))[0], penstock.Timeout)
	proxy.Refuse(false)
	if err := w.Write(t.Context(), conform.Batch("2")); err != nil {
		t.Error(err)
	}
}

func TestSinkConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config SinkConfig
		want   []string
	}{
		{SinkConfig{Topic: text("a/${body.x}")}, nil},
		{SinkConfig{Topic: text("a/+")}, []string{"wildcard"}},
		{SinkConfig{Topic: text("a"), Properties: map[string]penstock.Template{keyProperty: text("x")}}, []string{"holds the key"}},
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
	if (&SinkConfig{QoS: 0}).SpecFor(sinkSpec).Loses == "" || (&SinkConfig{QoS: 1}).SpecFor(sinkSpec).Loses != "" {
		t.Error("QoS 0 loses, and QoS 1 does not")
	}
}
