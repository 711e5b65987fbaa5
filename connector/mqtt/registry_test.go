package mqtt

import (
	"fmt"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/drive"
)

// TestRegistryIsAway: what can't be read yet is waited for, and no dead letter.
func TestRegistryIsAway(t *testing.T) {
	t.Parallel()
	f := onServer(t)
	c, n := drive.NewRegistered(drive.JSON(t)), unique(t)
	s := f.source(t, n, SourceConfig{Topics: []penstock.Template{text(n)}, QoS: 1})
	format := c.Format()
	bodies, err := penstock.NewPayloads("mqtt", format, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.(*source).bodies, s.(*source).ready = bodies, bodies.Preparation(environment(n))
	drive.Opened(t, s)
	out := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(n), QoS: 1}))
	b := new(penstock.Batch)
	for i := range 8 {
		b.Append().Body.Reset(jsonview.JSON, fmt.Appendf(nil, `{"n":%d}`, i))
	}
	if err := out.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	c.Waits(t, s)
}
