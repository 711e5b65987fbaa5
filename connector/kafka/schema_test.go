package kafka

import (
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/avro"
	"penstock.dev/penstock/codec/protobuf"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/connector/schemaregistry"
	"penstock.dev/penstock/test/service"
)

// TestSchemaChangesInMidStream writes a topic with one schema, then with a next one, which its readers can read, and then with one which they can't: those messages
// fail by themselves, with the reason, and those behind them come.
func TestSchemaChangesInMidStream(t *testing.T) {
	server := service.Kafka(t)
	registry := service.NewRegistry(t)
	conn := penstock.ConnectionRef{Name: "registry", Config: &schemaregistry.Config{URL: registry.URL, Timeout: penstock.Duration(10 * time.Second)}}
	avroFormat := func(text, subject string) penstock.Format {
		c, err := avro.New(avro.Config{Schema: penstock.SchemaRef{Name: "order", Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(text)}}, Registry: conn, Subject: subject, Register: true}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return penstock.Format{Name: "avro", Codec: c}
	}
	protoFormat := func(text, subject string) penstock.Format {
		c, err := protobuf.New(protobuf.Config{Schema: penstock.SchemaRef{Name: "order", Schema: penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(text)}}, Registry: conn, Subject: subject, Register: true}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return penstock.Format{Name: "protobuf", Codec: c}
	}
	for name, c := range map[string]struct {
		format              func(text, subject string) penstock.Format
		first, next, broken string
		refused, reason     string
	}{
		"avro": {
			format:  avroFormat,
			first:   `{"type":"record","name":"o","fields":[{"name":"id","type":"int"}]}`,
			next:    `{"type":"record","name":"o","fields":[{"name":"id","type":"int"},{"name":"note","type":"string","default":""}]}`,
			broken:  `{"type":"record","name":"o","fields":[{"name":"id","type":"string"}]}`,
			refused: "incompatible with an earlier schema",
			reason:  "can't be read as order: reader schema",
		},
		"protobuf": {
			format:  protoFormat,
			first:   `syntax = "proto3"; message O { int32 id = 1; }`,
			next:    `syntax = "proto3"; message O { int32 id = 1; string note = 2; }`,
			broken:  `syntax = "proto3"; message O { string id = 1; }`,
			refused: "the kind of the field O.id (1) was int32, and is string",
			reason:  "can't be read as order: the field number 1 was written as O.id, a string, and is read as O.id, a int32",
		},
	} {
		t.Run(name, func(t *testing.T) {
			topic := service.KafkaName(t)
			server.Topic(t, topic, 1)
			write := func(text, subject string, bodies ...string) error {
				config := sinkConfig(connection(server.Brokers()), topic)
				config.Format = c.format(text, subject)
				return sent(t, config, conform.Batch(bodies...))
			}
			for _, w := range []struct{ text, subject, body string }{
				{c.first, name + "-value", `{"id":1}`},
				{c.next, name + "-value", `{"id":2,"note":"x"}`},
				{c.broken, name + "-elsewhere", `{"id":"three"}`}, // somebody who asks no registry about the subject
				{c.first, name + "-value", `{"id":4}`},
				{c.next, name + "-value", `{"id":5,"note":"y"}`},
			} {
				if err := write(w.text, w.subject, w.body); err != nil {
					t.Fatal(err)
				}
			}
			if err := write(c.broken, name+"-value", `{"id":"six"}`); err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("the registry refuses what is not compatible: %v", err)
			}
			config := sourceConfig(connection(server.Brokers()), topic, topic)
			config.Format = c.format(c.first, name+"-value")
			got := received(t, opened(t, config), 5)
			for i, want := range []string{`{"id":1}`, `{"id":2}`, "", `{"id":4}`, `{"id":5}`} {
				err := got.Err(i)
				if want != "" {
					if text := conform.Text(t, got.Msgs[i].Body); err != nil || text != want {
						t.Errorf("message %d: %s, %v; want %s", i, text, err, want)
					}
					continue
				}
				if penstock.CodeOf(err) != penstock.Unprocessable || !strings.Contains(err.Error(), c.reason) {
					t.Errorf("message %d: %v, want %s", i, err, c.reason)
				}
			}
		})
	}
}
