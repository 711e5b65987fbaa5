package step_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// eventBatch makes a batch of one message with a body and headers.
func eventBatch(body string, format jsonview.Format, meta ...string) *penstock.Batch {
	b := &penstock.Batch{Runtime: &penstock.Runtime{}}
	m := b.Append()
	m.Body.Reset(format, b.Arena().Copy([]byte(body)))
	m.Pos = penstock.Position{Stream: "in", Offset: 7}
	for i := 0; i < len(meta); i += 2 {
		m.Meta.Set(meta[i], penstock.StringValue(meta[i+1]))
	}
	return b
}

// eventText shows a message: its headers by name, then its body.
func eventText(t testing.TB, m *penstock.Message) string {
	t.Helper()
	var out []string
	for _, e := range m.Meta.Entries() {
		out = append(out, e.Name+"="+e.Value.Str())
	}
	body := string(m.Body.Bytes())
	if m.Body.Format() == jsonview.JSON {
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		body = string(m.Body.AppendJSON(nil, 0))
	} else {
		body = m.Body.Format().String() + " " + body
	}
	return strings.Join(append(out, body), "\n")
}

func TestReadEvent(t *testing.T) {
	const envelope = `{"specversion":"1.0","id":"A-1","source":"/shop","type":"order.placed"`
	for _, c := range []struct {
		name, body string
		format     jsonview.Format
		meta       []string
		want       string // or the error, where it begins with !
	}{
		{name: "structured", body: envelope + `,"time":"2026-01-05T10:00:00Z","traceparent":"x","n":3,"ok":true,"gone":null,"data":{"total":1.50}}`, meta: []string{"content-type", "application/cloudevents+json; charset=utf-8"},
			want: "content-type=application/json\nce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\nce-time=2026-01-05T10:00:00Z\nce-traceparent=x\nce-n=3\nce-ok=true\n{\"total\":1.50}"},
		{name: "structured, known by its envelope", body: envelope + `,"data":[1]}`, want: "ce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\ncontent-type=application/json\n[1]"},
		{name: "no data", body: envelope + `}`, want: "ce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\ncontent-type=application/json\nnull"},
		{name: "text", body: envelope + `,"datacontenttype":"text/xml","data":"<a/>"}`, want: "ce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\ncontent-type=text/xml\ntext <a/>"},
		{name: "a JSON string", body: envelope + `,"datacontenttype":"application/json","data":"<a/>"}`, want: "ce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\ncontent-type=application/json\n\"<a/>\""},
		{name: "bytes", body: envelope + `,"datacontenttype":"image/png","data_base64":"AAEC"}`, want: "ce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\ncontent-type=image/png\nbinary \x00\x01\x02"},
		{name: "JSON in base64", body: envelope + `,"data_base64":"eyJhIjoxfQ=="}`, want: "ce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\ncontent-type=application/json\n{\"a\":1}"},
		{name: "binary", body: `{"a":1}`, meta: []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, want: "ce-specversion=1.0\nce-id=1\nce-source=/s\nce-type=t\n{\"a\":1}"},
		{name: "of a batch", body: envelope + `,"data":1}`, meta: []string{"content-type", "application/cloudevents-batch+json"}, want: "content-type=application/json\nce-specversion=1.0\nce-id=A-1\nce-source=/shop\nce-type=order.placed\n1"},
		{name: "a batch", body: `[` + envelope + `}]`, meta: []string{"content-type", "application/cloudevents-batch+json"}, want: "!a batch of them (split it first: `split: { each: body }`)"},
		{name: "none", body: `{"a":1}`, want: "!neither the header ce-specversion"},
		{name: "no JSON", body: `{`, meta: []string{"content-type", "application/cloudevents+json"}, want: "!body"},
		{name: "a number", body: `1`, meta: []string{"content-type", "application/cloudevents+json"}, want: "!its envelope is a number"},
		{name: "no id", body: `{"specversion":"1.0","source":"/s","type":"t"}`, want: "!it has no id"},
		{name: "another version", body: `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, want: "!its specversion is \"0.3\""},
		{name: "a wrong time", body: envelope + `,"time":"yesterday"}`, want: "!its time \"yesterday\""},
		{name: "a wrong name", body: envelope + `,"x-y":"1"}`, want: "!the attribute \"x-y\""},
		{name: "an attribute that is an object", body: envelope + `,"x":{}}`, want: "!the attribute x is an object"},
		{name: "data twice", body: envelope + `,"data":1,"data_base64":"AA=="}`, want: "!both data and data_base64"},
		{name: "no base64", body: envelope + `,"data_base64":"%"}`, want: "!no base64"},
		{name: "binary without a type", body: `1`, meta: []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s"}, want: "!it has no type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := eventBatch(c.body, c.format, c.meta...)
			before := b.Msgs[0].Body
			if err := (&step.ReadEvent{}).Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if want, fails := strings.CutPrefix(c.want, "!"); fails {
				if err := b.Err(0); err == nil || !strings.Contains(err.Error(), want) || penstock.CodeOf(err) != penstock.Invalid {
					t.Errorf("%v, want %s", err, want)
				}
				if b.Msgs[0].Body != before {
					t.Error("a message that failed was changed")
				}
				return
			}
			if err := b.Err(0); err != nil {
				t.Fatal(err)
			}
			if got := eventText(t, b.Msgs[0]); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// constant is a program that gives a text.
type constant string

func (c constant) Eval(*penstock.Frame) penstock.Value { return penstock.StringValue(string(c)) }

func TestWriteEvent(t *testing.T) {
	attributes := []step.EventAttribute{{Name: "source", Value: constant("/shop")}, {Name: "type", Value: constant("order.placed")}, {Name: "subject", Value: constant("")}}
	came := []string{"ce-specversion", "1.0", "ce-id", "A", "ce-source", "/s", "ce-type", "t", "ce-time", "2026-01-05T10:00:00Z", "ce-part", "7", "content-type", "application/xml"}
	for _, c := range []struct {
		name, body string
		format     jsonview.Format
		meta       []string
		step       step.WriteEvent
		want       string
	}{
		{name: "structured", body: `{"a":1}`, step: step.WriteEvent{Mode: step.Structured, Attributes: attributes},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","source":"/shop","type":"order.placed","id":"f/s:@in:7","datacontenttype":"application/json","data":{"a":1}}`},
		{name: "binary", body: `{"a":1}`, step: step.WriteEvent{Mode: step.Binary, Attributes: attributes},
			want: "ce-specversion=1.0\nce-source=/shop\nce-type=order.placed\nce-id=f/s:@in:7\ncontent-type=application/json\n" + `{"a":1}`},
		{name: "what came as an event goes on as it", body: `1`, meta: came, step: step.WriteEvent{Mode: step.Structured},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","id":"A","source":"/s","type":"t","time":"2026-01-05T10:00:00Z","part":"7","datacontenttype":"application/json","data":1}`},
		{name: "another event", body: `1`, meta: came, step: step.WriteEvent{Mode: step.Structured, Attributes: attributes[1:2]},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","type":"order.placed","source":"/s","part":"7","id":"f/s:@in:7","datacontenttype":"application/json","data":1}`},
		{name: "text", body: "<a>\"</a>", format: jsonview.Text, meta: []string{"content-type", "text/xml"}, step: step.WriteEvent{Mode: step.Structured, Attributes: attributes},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","source":"/shop","type":"order.placed","id":"f/s:@in:7","datacontenttype":"text/xml","data":"<a>\"</a>"}`},
		{name: "text that is JSON", body: `{"a":1}`, format: jsonview.Text, step: step.WriteEvent{Mode: step.Structured, Attributes: attributes, ContentType: "application/json"},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","source":"/shop","type":"order.placed","id":"f/s:@in:7","datacontenttype":"application/json","data":{"a":1}}`},
		{name: "bytes", body: "\x00\x01\x02", format: jsonview.Binary, step: step.WriteEvent{Mode: step.Structured, Attributes: attributes},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","source":"/shop","type":"order.placed","id":"f/s:@in:7","datacontenttype":"application/octet-stream","data_base64":"AAEC"}`},
		{name: "null", body: `null`, step: step.WriteEvent{Mode: step.Structured, Attributes: attributes},
			want: "content-type=application/cloudevents+json\n" + `{"specversion":"1.0","source":"/shop","type":"order.placed","id":"f/s:@in:7","datacontenttype":"application/json"}`},
		{name: "batch", body: `[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]`, step: step.WriteEvent{Mode: step.Batched},
			want: "content-type=application/cloudevents-batch+json\n" + `[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]`},
		{name: "a batch of something else", body: `[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"a":1}]`, step: step.WriteEvent{Mode: step.Batched}, want: "!body[1]"},
		{name: "a batch that is no list", body: `{}`, step: step.WriteEvent{Mode: step.Batched}, want: "!a batch is a list of events"},
		{name: "no type", body: `1`, step: step.WriteEvent{Mode: step.Binary, Attributes: attributes[:1]}, want: "!the event has no type"},
		{name: "a wrong time", body: `1`, step: step.WriteEvent{Mode: step.Binary, Attributes: append(attributes[:2:2], step.EventAttribute{Name: "time", Value: constant("soon")})}, want: "!\"soon\" is no time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := eventBatch(c.body, c.format, c.meta...)
			if err := c.step.Bind(penstock.Env{Name: "f/s"}).Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if want, fails := strings.CutPrefix(c.want, "!"); fails {
				if err := b.Err(0); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %s", err, want)
				}
				return
			}
			if err := b.Err(0); err != nil {
				t.Fatal(err)
			}
			if got := eventText(t, b.Msgs[0]); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// FuzzEvent holds that what is written is read again as it was, and that nothing that is read breaks the steps.
func FuzzEvent(f *testing.F) {
	f.Add(`{"a":1}`, "/shop", "order.placed")
	f.Add(`"text"`, "s", "t")
	f.Add(`null`, "\x00", "\"")
	f.Add(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[]}`, "", "")
	f.Fuzz(func(t *testing.T, body, source, kind string) {
		b := eventBatch(body, jsonview.JSON)
		_ = (&step.ReadEvent{}).Process(t.Context(), b)
		b = eventBatch(body, jsonview.JSON)
		var d jsonview.Doc
		d.Reset(jsonview.JSON, []byte(body))
		if d.Parse(jsonview.Limits{}) != nil {
			return
		}
		want := string(d.AppendJSON(nil, 0))
		write := step.WriteEvent{Mode: step.Structured, Attributes: []step.EventAttribute{{Name: "source", Value: constant(source)}, {Name: "type", Value: constant(kind)}}}
		if err := write.Bind(penstock.Env{Name: "f/s"}).Process(t.Context(), b); err != nil || b.Err(0) != nil {
			return
		}
		if err := (&step.ReadEvent{}).Process(t.Context(), b); err != nil || b.Err(0) != nil {
			t.Fatalf("what was written can't be read: %v %v\n%s", err, b.Err(0), b.Msgs[0].Body.Bytes())
		}
		m := b.Msgs[0]
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := string(m.Body.AppendJSON(nil, 0)); got != want {
			t.Errorf("data is %s, was %s", got, want)
		}
	})
}
