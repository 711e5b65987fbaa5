package mqtt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// registered is a codec whose payloads need a registry, which does not know the schema of `{"n":3}` for the first few times that it is asked.
type registered struct {
	penstock.Codec
	away  atomic.Int64 // times that it is still away
	asked func()       // is called when it is away
}

// Prepare implements penstock.Preparing.
func (c *registered) Prepare(_ context.Context, payload []byte) error {
	if string(payload) == `{"n":3}` && c.away.Add(-1) >= 0 {
		c.asked()
		return penstock.E(penstock.Unavailable, "registry", "schema 3", "nobody answers")
	}
	return nil
}

// Decode implements penstock.Codec.
func (c *registered) Decode(dst, payload []byte) ([]byte, error) {
	return append(dst, payload...), nil
}

// waited reads `{"n":0}` to `{"n":7}` from a source with a codec whose registry is away at the fourth: nothing fails, nothing is lost where the reading is broken off meanwhile, and all comes once,
// in order.
func waited(t *testing.T, c *registered, s penstock.Source) {
	t.Helper()
	var have []string
	var outcomes []penstock.Outcome
	take := func(ctx context.Context) error {
		b := new(penstock.Batch)
		err := s.Read(ctx, b)
		for i, m := range b.Msgs {
			have = append(have, string(m.Body.Bytes()))
			outcomes = append(outcomes, penstock.Outcome{Pos: m.Pos})
			if err := b.Err(i); err != nil {
				t.Errorf("%s: %v", have[len(have)-1], err)
			}
		}
		return err
	}
	broken, cancel := context.WithCancel(t.Context())
	c.away.Store(3)
	c.asked = func() {
		if c.away.Load() < 2 { // it is the first that is left, and waits
			cancel()
		}
	}
	for broken.Err() == nil {
		if err := take(broken); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for len(have) < 8 {
		if err := take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{`{"n":0}`, `{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`, `{"n":5}`, `{"n":6}`, `{"n":7}`}; !slices.Equal(have, want) {
		t.Errorf("%s came", have)
	}
	if n := c.away.Load(); n >= 0 {
		t.Errorf("the registry was not asked until it answered: %d", n)
	}
	if err := s.Settle(t.Context(), outcomes); err != nil {
		t.Error(err)
	}
}

// TestRegistryIsAway: what can't be read yet is waited for, and no dead letter.
func TestRegistryIsAway(t *testing.T) {
	t.Parallel()
	f := onServer(t)
	c, n := &registered{Codec: jsonFormat(t).Codec}, unique(t)
	s := f.source(t, n, SourceConfig{Topics: []penstock.Template{text(n)}, QoS: 1})
	format := penstock.Format{Name: "avro", Codec: c}
	bodies, err := penstock.NewPayloads("mqtt", format, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.(*source).bodies, s.(*source).ready = bodies, bodies.Preparation(environment(n))
	open(t, s)
	out := open(t, f.sink(t, SinkConfig{Topic: text(n), QoS: 1}))
	b := new(penstock.Batch)
	for i := range 8 {
		b.Append().Body.Reset(jsonview.JSON, fmt.Appendf(nil, `{"n":%d}`, i))
	}
	if err := out.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	waited(t, c, s)
}
