package pulsar

import (
	"context"
	"errors"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/avro"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestSchemas: what is declared on a topic, what the brokers refuse, and what was written with another version.
func TestSchemas(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	f.config.AdminURL = penstock.Template{Source: f.server.AdminURL()}
	of := func(name, fields string) penstock.SchemaRef {
		return penstock.SchemaRef{Name: name, Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(`{"type":"record","name":"order","fields":[` + fields + `]}`)}}
	}
	const id = `{"name":"id","type":"string"}`
	one, two, other := of("one", id), of("two", id+`,{"name":"items","type":["null","int"],"default":null}`), of("other", `{"name":"id","type":"int"}`)
	format := func(name string, s penstock.SchemaRef) penstock.Format {
		if name == "json" {
			return drive.JSON(t)
		}
		c, err := avro.New(avro.Config{Schema: s}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return penstock.Format{Name: "avro", Codec: c}
	}
	for _, kind := range []string{"json", "avro"} {
		t.Run(kind, func(t *testing.T) {
			topic := f.topic(t, 0)
			write := func(s penstock.SchemaRef, body string) {
				t.Helper()
				out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), TopicSchema: s, Format: format(kind, s)}))
				if err := out.Write(t.Context(), drive.Batch("x", 0, body)); err != nil {
					t.Fatal(err)
				}
			}
			write(one, `{"id":"A-1"}`)
			in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), TopicSchema: one, Format: format(kind, one)}))
			g := drive.Read(t, in, 1)[0]
			if g.Body != `{"id":"A-1"}` || g.Err != nil {
				t.Errorf("%+v", g)
			}
			text := f.server.Do(t, "GET", "/admin/v2/schemas/public/default/"+topic+"/schema", "")
			if !strings.Contains(text, `"type":"`+strings.ToUpper(kind)+`"`) || !strings.Contains(text, "order") {
				t.Errorf("the topic has %s", text)
			}
			drive.Code(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), TopicSchema: other, Format: format(kind, other)}).Open(t.Context()), penstock.Config, "compatible")
			r := f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("other"), TopicSchema: other, Format: format(kind, other)})
			drive.Code(t, r.Open(t.Context()), penstock.Config, "compatible")
			write(two, `{"id":"A-2","items":3}`)
			g = drive.Read(t, in, 1)[0]
			if kind == "json" && (g.Err != nil || g.Body != `{"id":"A-2","items":3}`) {
				t.Errorf("%+v", g)
			}
			if kind == "json" {
				return
			}
			if g.Err != nil || g.Body != `{"id":"A-2"}` { // as the reader's schema has it
				t.Errorf("%+v", g)
			}
			later := f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("later"), TopicSchema: two, Format: format(kind, two)}).(*positioned)
			if err := later.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := later.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			// Where the administration is away the message is not read wrong, and is no dead letter: it comes again.
			later.topics[0].versions.admin.base = "http://127.0.0.1:1"
			if err := later.Read(t.Context(), new(penstock.Batch)); !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatalf("without the administration: %v", err)
			}
			drive.Compare(t, drive.Bodies(drive.Read(t, later, 2)), []string{`{"id":"A-1","items":null}`, `{"id":"A-2","items":3}`})
		})
	}
	drive.Code(t, f.sink(t, SinkConfig{Topic: drive.Template("x"), TopicSchema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.JSONSchema}}}).Open(t.Context()), penstock.Config, "avro")
}
