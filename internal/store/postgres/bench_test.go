package postgres_test

import (
	"testing"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/conform"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// BenchmarkStore is with a server that waits for the disk.
func BenchmarkStore(b *testing.B) {
	server := service.NewPostgres(b)
	n := 0
	conform.Bench(b, func(t testing.TB) func() store.Store {
		n++
		schema := "bench_" + string(rune('a'+n%26)) + string(rune('a'+n/26%26)) + string(rune('a'+n/26/26))
		return func() store.Store {
			return open(t, server.URI("postgres"), func(o *postgres.Options) { o.Schema = schema; o.Volatile = false })
		}
	})
}
