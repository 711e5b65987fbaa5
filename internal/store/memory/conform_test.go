package memory_test

import (
	"testing"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/conform"
	"penstock.dev/penstock/internal/store/memory"
)

func harness(testing.TB) func() store.Store {
	s := memory.New()
	return func() store.Store {
		s = s.Reopen()
		return s
	}
}

func TestConform(t *testing.T) { conform.Run(t, harness) }

func TestConformTwice(t *testing.T) {
	conform.Run(t, func(t testing.TB) func() store.Store {
		open := harness(t)
		return func() store.Store { return conform.Twice(open()) }
	})
}

// TestConformParts has a store of as many parts as one that is shared.
func TestConformParts(t *testing.T) {
	conform.Run(t, func(testing.TB) func() store.Store {
		s := memory.NewParts(64)
		return func() store.Store {
			s = s.Reopen()
			return s
		}
	})
}

func BenchmarkStore(b *testing.B) { conform.Bench(b, harness) }
