package view_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"penstock.dev/penstock/internal/store/sqlite"
)

// BenchmarkRebuild builds the rows of a view on SQLite anew. An operation is one event; accounts says how many rows there are.
func BenchmarkRebuild(b *testing.B) {
	for _, accounts := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("accounts=%d", accounts), func(b *testing.B) {
			pl := compiled(b, base+balances)
			st, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "store.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = st.Close() }()
			r := rand.New(rand.NewPCG(1, 1))
			kinds := []string{"paid", "drawn"}
			for left := b.N; left > 0; {
				n := min(left, 1000)
				some := make([]movement, n)
				for i := range some {
					some[i] = movement{fmt.Sprint("a", r.IntN(accounts)), kinds[r.IntN(2)], int64(r.IntN(100))}
				}
				send(b, st, some)
				left -= n
			}
			b.ReportAllocs()
			b.ResetTimer()
			e := open(b, st, pl)
			drain(b, e)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			e.Close()
		})
	}
}
