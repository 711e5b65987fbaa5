package rabbitmq

import (
	"fmt"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
)

// TestRegistryIsAway: what can't be read yet is waited for, and no dead letter.
func TestRegistryIsAway(t *testing.T) {
	for kind, config := range map[string]SourceConfig{typeClassic: {}, typeQuorum: {}, "pull": {Mode: modePull, Every: 1}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := onServer(t)
			c := drive.NewRegistered(drive.JSON(t))
			if kind == "pull" {
				kind = typeClassic
			}
			q := f.declare(t, kind, nil)
			for i := range 8 {
				f.put(t, q, fmt.Sprintf(`{"n":%d}`, i))
			}
			s := f.source(t, q, config)
			bodies, err := penstock.NewPayloads("rabbitmq", c.Format(), 0)
			if err != nil {
				t.Fatal(err)
			}
			s.(*source).bodies, s.(*source).ready = bodies, bodies.Preparation(f.env)
			drive.Opened(t, s)
			c.Waits(t, s)
			drive.Closed(t, s)
			f.left(t, q, 0)
		})
	}
}
