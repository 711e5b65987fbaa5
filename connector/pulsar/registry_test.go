package pulsar

import (
	"testing"

	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestRegistryIsAway: messages that can't be read yet are waited for, and not dead-lettered; those before them and behind them come once, in order.
func TestRegistryIsAway(t *testing.T) {
	for _, kind := range []string{exclusive, "shared"} {
		t.Run(kind, func(t *testing.T) {
			f := on(t, service.Pulsar(t))
			topic := f.topic(t, 0)
			f.send(t, topic, drive.Numbered(0, 8)...)
			c := drive.NewRegistered(drive.JSON(t))
			s := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("s"), Type: kind, Format: c.Format()}))
			c.Waits(t, s)
		})
	}
}
