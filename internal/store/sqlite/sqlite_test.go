package sqlite_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/conform"
	"penstock.dev/penstock/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func harness(t testing.TB) func() store.Store {
	path := filepath.Join(t.TempDir(), "folder", "store.db")
	return func() store.Store {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
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

func TestConformMemory(t *testing.T) {
	conform.RunVolatile(t, func(t testing.TB) func() store.Store {
		return func() store.Store {
			s, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlite.Memory})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

func BenchmarkStore(b *testing.B) { conform.Bench(b, harness) }
