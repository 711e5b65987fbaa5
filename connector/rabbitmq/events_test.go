package rabbitmq

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// TestEvents sends a CloudEvent, and receives it again, under the names of the AMQP binding.
func TestEvents(t *testing.T) {
	var b penstock.Batch
	m := b.Append()
	for name, v := range map[string]string{"ce-specversion": "1.0", "ce-id": "A 1", "ce-type": "order.placed", "ce-source": "/shop", "other": "x", "content-type": "application/json"} {
		m.Meta.Set(name, penstock.StringValue(v))
	}
	table, err := (&sink{}).headers(b.Frame(m), m)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cloudEvents:specversion": "1.0", "cloudEvents:id": "A 1", "cloudEvents:type": "order.placed", "cloudEvents:source": "/shop", "other": "x"} {
		if table[name] != want {
			t.Errorf("%s: %v, want %s", name, table[name], want)
		}
	}
	if m.EventContentType() != "application/json" {
		t.Errorf("content type %q", m.EventContentType())
	}
	table["cloudEvents_subject"] = "7" // as clients write it that have no colon
	got := b.Append()
	receive(got, &amqp.Delivery{Headers: table})
	for name, want := range map[string]string{"ce-specversion": "1.0", "ce-id": "A 1", "ce-type": "order.placed", "ce-source": "/shop", "ce-subject": "7", "other": "x"} {
		if v := got.Meta.Get(name); v.Kind() != penstock.KindString || v.Str() != want {
			t.Errorf("%s: %v, want %s", name, v, want)
		}
	}
	plain := b.Append() // no event: nothing is renamed
	plain.Meta.Set("ce-id", penstock.StringValue("1"))
	if table, err = (&sink{}).headers(b.Frame(plain), plain); err != nil || table["ce-id"] != "1" {
		t.Errorf("%v, %v", table, err)
	}
}
