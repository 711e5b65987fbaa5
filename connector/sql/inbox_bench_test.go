package sql

import (
	"fmt"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/service"
)

// BenchmarkInsert measures rows of about 100 bytes in batches of 8192, without an inbox and with one.
func BenchmarkInsert(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres"} {
		for _, inbox := range []*Inbox{nil, newInbox()} {
			b.Run(fmt.Sprintf("%s/inbox=%v", name, inbox != nil), func(b *testing.B) {
				f := onSQLite(b)
				if name == "postgres" {
					f = onPostgres(b, service.Postgres(b))
				}
				f.exec(b, "CREATE TABLE t (id INTEGER, name TEXT, note TEXT, at INTEGER)")
				s := f.mustSink(b, SinkConfig{Table: "t", Inbox: inbox}, nil)
				const size = 8192
				batch := new(penstock.Batch)
				for range size {
					batch.Append().Body.Reset(jsonview.JSON, []byte(`{"id":1234567,"name":"somebody of that name","note":"what there is to be said of it, in some words","at":1700000000}`))
				}
				b.ResetTimer()
				for n := 0; n < b.N; n += size {
					for i, m := range batch.Msgs {
						m.Pos = penstock.Position{Stream: "orders/0", Offset: int64(n + i)}
					}
					if err := s.Write(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
