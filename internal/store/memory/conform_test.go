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

func BenchmarkStore(b *testing.B) { conform.Bench(b, harness) }
