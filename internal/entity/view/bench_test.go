package view_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity/view"
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

// BenchmarkAsOf asks for rows as of a time, behind a million events in a store on SQLite. An operation is one query; accounts says how many rows there are.
func BenchmarkAsOf(b *testing.B) {
	const events = 1_000_000
	for _, accounts := range []int{1000, 100_000} {
		pl := compiled(b, base+balances)
		st, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "store.db"), Reserve: -1})
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 1))
		kinds := []string{"paid", "drawn"}
		some := make([]movement, 1000)
		for range events / len(some) {
			for i := range some {
				some[i] = movement{fmt.Sprint("a", r.IntN(accounts)), kinds[r.IntN(2)], int64(r.IntN(100))}
			}
			send(b, st, some)
		}
		e := open(b, st, pl)
		drain(b, e)
		as := &view.AsOf{Time: time.Now()}
		b.Run(fmt.Sprintf("page/accounts=%d", accounts), func(b *testing.B) {
			for b.Loop() {
				if p, err := e.FindAsOf(b.Context(), "balances", "poor", []penstock.Value{penstock.IntValue(1 << 30)}, "", as); err != nil || len(p.Rows) != 3 {
					b.Fatal(len(p.Rows), err)
				}
			}
		})
		b.Run(fmt.Sprintf("key/accounts=%d", accounts), func(b *testing.B) {
			for b.Loop() {
				if row, err := e.GetAsOf(b.Context(), "balances", "a7", as); err != nil || row == nil {
					b.Fatal(row, err)
				}
			}
		})
		e.Close()
		_ = st.Close()
	}
}
