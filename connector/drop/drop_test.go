package drop_test

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/connector/drop"
)

func harness() conform.SinkHarness {
	return conform.SinkHarness{
		New: func(testing.TB) conform.SinkMedium {
			return conform.SinkMedium{Sink: func(testing.TB) penstock.Sink { return drop.New(penstock.Env{}) }}
		},
		Features: conform.SinkFeatures{Loses: true},
	}
}

func TestConform(t *testing.T) { conform.Sink(t, harness()) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkSink(b, harness()) }

func TestCount(t *testing.T) {
	s := drop.New(penstock.Env{})
	for range 3 {
		if err := s.Write(t.Context(), conform.Batch("1", "2")); err != nil {
			t.Fatal(err)
		}
	}
	if s.Count() != 6 {
		t.Errorf("counted %d, want 6", s.Count())
	}
}
