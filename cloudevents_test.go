package penstock_test

import (
	"testing"

	"penstock.dev/penstock"
)

func TestEventsAreKnown(t *testing.T) {
	for name, c := range map[string]struct {
		meta map[string]penstock.Value
		is   bool
		kind string
	}{
		"nothing":      {},
		"binary":       {map[string]penstock.Value{"ce-specversion": penstock.StringValue("1.0"), "content-type": penstock.StringValue("text/plain")}, true, "text/plain"},
		"no type":      {map[string]penstock.Value{"ce-specversion": penstock.StringValue("1.0")}, true, ""},
		"structured":   {map[string]penstock.Value{"content-type": penstock.StringValue(penstock.EventType + "; charset=utf-8")}, false, penstock.EventType + "; charset=utf-8"},
		"batch":        {map[string]penstock.Value{"content-type": penstock.StringValue(penstock.EventBatchType)}, false, penstock.EventBatchType},
		"other":        {map[string]penstock.Value{"content-type": penstock.StringValue("text/plain"), "ce-id": penstock.StringValue("1")}, false, ""},
		"type no text": {map[string]penstock.Value{"ce-specversion": penstock.StringValue("1.0"), "content-type": penstock.IntValue(1)}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var b penstock.Batch
			m := b.Append()
			for name, v := range c.meta {
				m.Meta.Set(name, v)
			}
			if m.IsEvent() != c.is || m.EventContentType() != c.kind {
				t.Fatalf("%v, %q, want %v, %q", m.IsEvent(), m.EventContentType(), c.is, c.kind)
			}
		})
	}
}

func TestNamesOfAttributes(t *testing.T) {
	for _, c := range []struct {
		header, meta, back string
		prefixes           []string
	}{
		{"ce_id", "ce-id", "ce_id", []string{"ce_"}},
		{"cloudEvents:id", "ce-id", "cloudEvents:id", []string{"cloudEvents:", "cloudEvents_"}},
		{"cloudEvents_id", "ce-id", "cloudEvents:id", []string{"cloudEvents:", "cloudEvents_"}},
		{"id", "ce-id", "id", []string{""}},
		{"trace", "trace", "trace", []string{"ce_"}},
		{"ce_id", "ce_id", "ce_id", nil},
	} {
		meta := penstock.EventMeta(c.header, c.prefixes...)
		back := meta
		if len(c.prefixes) > 0 {
			back = penstock.EventHeader(meta, c.prefixes[0])
		}
		if meta != c.meta || back != c.back {
			t.Errorf("%q: %q and back %q, want %q and %q", c.header, meta, back, c.meta, c.back)
		}
	}
	for name, want := range map[string]bool{"": false, "id": true, "x7": true, "ID": false, "data-id": false, "a_b": false, "ä": false} {
		if penstock.IsEventAttribute(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
