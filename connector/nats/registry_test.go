package nats

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestRegistryIsAway: what can't be read yet is waited for, and no dead letter.
func TestRegistryIsAway(t *testing.T) {
	f := on(t, service.NATS(t))
	for what, config := range map[string]SourceConfig{"pull": {}, "push": {Push: &Push{}}, "shared": {Shared: true}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := drive.NewRegistered(drive.JSON(t))
			config.Stream, config.Format = f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}), c.Format()
			f.send(t, config.Stream+".a", drive.Numbered(0, 8)...)
			c.Waits(t, drive.Opened(t, f.source(t, config)))
		})
	}
	t.Run("subject", func(t *testing.T) {
		t.Parallel()
		c, subject := drive.NewRegistered(drive.JSON(t)), name()
		s := f.source(t, SourceConfig{Subject: drive.Template(subject), Format: c.Format()})
		drive.Opened(t, s)
		for _, b := range drive.Numbered(0, 8) {
			if err := f.nc.Publish(subject, []byte(b)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		c.Waits(t, s)
	})
}
