package mqtt

import (
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock"
)

// TestEvents sends a CloudEvent, and receives it again, under the names of the MQTT binding.
func TestEvents(t *testing.T) {
	var b penstock.Batch
	m := b.Append()
	for name, v := range map[string]string{"ce-specversion": "1.0", "ce-id": "A 1", "ce-type": "order.placed", "ce-source": "/shop", "Other": "x"} {
		m.Meta.Set(name, penstock.StringValue(v))
	}
	all, err := (&sink{}).properties(b.Frame(m), m, "")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]string{}
	for _, u := range all {
		sent[u.Key] = u.Value
	}
	for name, want := range map[string]string{"specversion": "1.0", "id": "A 1", "type": "order.placed", "source": "/shop", "other": "x"} {
		if sent[name] != want {
			t.Errorf("%s: %q, want %s", name, sent[name], want)
		}
	}
	got := b.Append()
	receive(got, &paho.Publish{Properties: &paho.PublishProperties{User: append(all, paho.UserProperty{Key: "Not-An-Attribute", Value: "y"})}})
	for name, want := range map[string]string{"ce-specversion": "1.0", "ce-id": "A 1", "ce-type": "order.placed", "ce-source": "/shop", "not-an-attribute": "y"} {
		if v := got.Meta.Get(name); v.Kind() != penstock.KindString || v.Str() != want {
			t.Errorf("%s: %v, want %s", name, v, want)
		}
	}
	plain := b.Append() // no event: nothing is renamed
	receive(plain, &paho.Publish{Properties: &paho.PublishProperties{User: paho.UserProperties{{Key: "id", Value: "1"}}}})
	if v := plain.Meta.Get("id"); v.Kind() != penstock.KindString {
		t.Errorf("%v", v)
	}
}
