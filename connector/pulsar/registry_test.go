package pulsar

import (
	"context"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/service"
)

// registered is a codec whose payloads need a registry, which does not know the schema of `{"n":3}` for the first few times that it is asked.
type registered struct {
	penstock.Codec
	away atomic.Int64 // times that it is still away
}

// Prepare implements penstock.Preparing.
func (c *registered) Prepare(_ context.Context, payload []byte) error {
	if string(payload) == `{"n":3}` && c.away.Add(-1) >= 0 {
		return penstock.E(penstock.Unavailable, "registry", "schema 3", "nobody answers")
	}
	return nil
}

// Decode implements penstock.Codec.
func (c *registered) Decode(dst, payload []byte) ([]byte, error) {
	return append(dst, payload...), nil
}

// TestRegistryIsAway: messages that can't be read yet are waited for, and not dead-lettered; those before them and behind them come once, in order.
func TestRegistryIsAway(t *testing.T) {
	for _, kind := range []string{exclusive, "shared"} {
		t.Run(kind, func(t *testing.T) {
			f := on(t, service.Pulsar(t))
			topic := f.topic(t, 0)
			want := numbered(0, 8)
			f.send(t, topic, want...)
			c := &registered{Codec: jsonFormat(t).Codec}
			c.away.Store(3)
			s := opened(t, f.source(t, SourceConfig{Topic: template(topic), Subscription: template("s"), Type: kind, Format: penstock.Format{Name: "avro", Codec: c}}))
			all := read(t, s, len(want))
			for _, g := range all {
				if g.err != nil {
					t.Errorf("%s: %v", g.body, g.err)
				}
			}
			compare(t, bodies(all), want)
			if n := c.away.Load(); n >= 0 {
				t.Errorf("the registry was not asked until it answered: %d", n)
			}
			settleAll(t, s, all...)
		})
	}
}
