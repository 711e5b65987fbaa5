package pulsar

import (
	"context"
	"errors"
	"strings"
	"testing"

	client "github.com/apache/pulsar-client-go/pulsar"
	"google.golang.org/protobuf/types/dynamicpb"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/avro"
	"penstock.dev/penstock/codec/protobuf"
	"penstock.dev/penstock/codec/protobuf/protofile"
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

// TestProtobufSchemas: descriptors are declared as other clients do it, and what was written with another version is read as the reader's own has it.
func TestProtobufSchemas(t *testing.T) {
	t.Parallel()
	f := on(t, service.Pulsar(t))
	f.config.AdminURL = penstock.Template{Source: f.server.AdminURL()}
	of := func(name, message, fields string) (penstock.SchemaRef, penstock.Format) {
		ref := penstock.SchemaRef{Name: name, Schema: penstock.SchemaText{Language: penstock.Protobuf, Message: "shop." + message,
			Text: []byte(`syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto"; message ` + message + ` { google.protobuf.Timestamp placed = 9; ` + fields + ` }`)}}
		c, err := protobuf.New(protobuf.Config{Schema: ref}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return ref, penstock.Format{Name: "protobuf", Codec: c}
	}
	one, oneFormat := of("one", "Order", "string id = 1;")
	two, twoFormat := of("two", "Order", "string id = 1; optional int32 items = 2;")
	bad, badFormat := of("bad", "Order", "int64 id = 1;")
	other, otherFormat := of("other", "Parcel", "string id = 1;")
	topic := f.topic(t, 0)
	write := func(s penstock.SchemaRef, format penstock.Format, body string) {
		t.Helper()
		out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), TopicSchema: s, Format: format}))
		if err := out.Write(t.Context(), drive.Batch("x", 0, body)); err != nil {
			t.Fatal(err)
		}
	}
	write(one, oneFormat, `{"id":"A-1","placed":"2026-01-05T10:15:00Z"}`)
	in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), TopicSchema: one, Format: oneFormat}))
	if g := drive.Read(t, in, 1)[0]; g.Err != nil || g.Body != `{"id":"A-1","placed":"2026-01-05T10:15:00Z"}` {
		t.Errorf("%+v", g)
	}
	text := f.server.Do(t, "GET", "/admin/v2/schemas/public/default/"+topic+"/schema", "")
	if !strings.Contains(text, `"type":"PROTOBUF_NATIVE"`) || !strings.Contains(text, "shop.Order") {
		t.Errorf("the topic has %s", text)
	}
	// Another client, whose descriptors are of the same message, declares what it has itself, and both are compatible.
	theirs, err := f.own.CreateProducer(client.ProducerOptions{Topic: topic, Schema: client.NewProtoNativeSchemaWithMessage(message(t, two), nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	drive.Code(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), TopicSchema: other, Format: otherFormat}).Open(t.Context()), penstock.Config, "compatible")
	drive.Code(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("other"), TopicSchema: other, Format: otherFormat}).Open(t.Context()), penstock.Config, "compatible")
	write(two, twoFormat, `{"id":"A-2","items":3}`)
	if g := drive.Read(t, in, 1)[0]; g.Err != nil || g.Body != `{"id":"A-2"}` { // as the reader's schema has it
		t.Errorf("%+v", g)
	}
	// The brokers compare the names of messages; that a field has become another one is found here.
	write(bad, badFormat, `{"id":7}`)
	if g := drive.Read(t, in, 1)[0]; penstock.CodeOf(g.Err) != penstock.Unprocessable || !strings.Contains(g.Err.Error(), "number 1") {
		t.Errorf("%+v", g)
	}
	// A topic that another client has declared as PROTOBUF, by an Avro schema of the message, is read and written without a schema of ours.
	older := f.topic(t, 0)
	producer, err := f.own.CreateProducer(client.ProducerOptions{Topic: older, Schema: client.NewProtoSchema(`{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"}]}`, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if _, err := producer.Send(t.Context(), &client.ProducerMessage{Payload: []byte("\x0a\x03A-3")}); err != nil {
		t.Fatal(err)
	}
	out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(older), Format: oneFormat}))
	if err := out.Write(t.Context(), drive.Batch("x", 0, `{"id":"A-4"}`)); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, drive.Bodies(drive.Read(t, drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(older), Format: oneFormat})), 2)), []string{`{"id":"A-3"}`, `{"id":"A-4"}`})

	drive.Code(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), TopicSchema: one, Format: drive.JSON(t)}).Open(t.Context()), penstock.Config, "protobuf: { schema: one }")
	drive.Code(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), TopicSchema: one, Format: otherFormat}).Open(t.Context()), penstock.Config, "shop.Parcel")
}

// message is an empty message of a schema.
func message(t *testing.T, s penstock.SchemaRef) *dynamicpb.Message {
	t.Helper()
	m, err := protofile.Compile(s.Schema)
	if err != nil {
		t.Fatal(err)
	}
	set, _, err := protofile.Descriptors(m)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = protofile.CompileDescriptors(set, string(m.FullName())); err != nil { // so that its file has a name
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(m)
}
