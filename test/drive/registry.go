package drive

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
)

// Registered is a codec whose payloads need a registry, which does not know the schema of `{"n":3}` for the first few times that it is asked.
type Registered struct {
	penstock.Codec
	away  atomic.Int64 // times that it is still away
	asked func()       // is called when it is away
}

// NewRegistered makes the codec of a format need a registry. Its payloads are what its documents are.
func NewRegistered(f penstock.Format) *Registered { return &Registered{Codec: f.Codec} }

// Format is the format of the codec.
func (c *Registered) Format() penstock.Format { return penstock.Format{Name: "avro", Codec: c} }

// Prepare implements penstock.Preparing.
func (c *Registered) Prepare(_ context.Context, payload []byte) error {
	if string(payload) == `{"n":3}` && c.away.Add(-1) >= 0 {
		c.asked()
		return penstock.E(penstock.Unavailable, "registry", "schema 3", "nobody answers")
	}
	return nil
}

// Decode implements penstock.Codec.
func (c *Registered) Decode(dst, payload []byte) ([]byte, error) { return append(dst, payload...), nil }

// Waits reads [Numbered] 0 to 7 from a source with this codec, whose registry is away at the fourth: nothing fails, nothing is lost where the reading is broken off meanwhile, and all comes
// once, in order.
func (c *Registered) Waits(t *testing.T, s penstock.Source) {
	t.Helper()
	var have []string
	var outcomes []penstock.Outcome
	take := func(ctx context.Context) error {
		b := new(penstock.Batch)
		err := s.Read(ctx, b)
		if errors.Is(err, penstock.ErrDisconnected) { // so some wait
			err = s.Open(t.Context())
		}
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
	if !slices.Equal(have, Numbered(0, 8)) {
		t.Errorf("%s came", have)
	}
	if n := c.away.Load(); n >= 0 {
		t.Errorf("the registry was not asked until it answered: %d", n)
	}
	if err := s.Settle(t.Context(), outcomes); err != nil {
		t.Error(err)
	}
}
