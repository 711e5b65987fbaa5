package pulsar

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// BenchmarkThrough writes messages of 300 bytes, 500 at a time, and reads and settles them, with the broker.
func BenchmarkThrough(b *testing.B) {
	for _, kind := range []string{"exclusive", "shared"} {
		b.Run(kind, func(b *testing.B) {
			f := on(b, service.Pulsar(b))
			topic := f.topic(b, 0)
			out := drive.Opened(b, f.sink(b, SinkConfig{Topic: drive.Template(topic)}))
			in := drive.Opened(b, f.source(b, SourceConfig{Topic: drive.Template(topic), Subscription: drive.Template("bench"), Type: kind}))
			all := make([]string, 500)
			for i := range all {
				all[i] = fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 290))
			}
			msgs := drive.Batch("bench", 0, all...)
			var into penstock.Batch
			var fates []penstock.Outcome
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(all) {
				if err := out.Write(context.Background(), msgs); err != nil {
					b.Fatal(err)
				}
				for have := 0; have < len(all); have += len(into.Msgs) {
					into.Reset()
					if err := in.Read(context.Background(), &into); err != nil {
						b.Fatal(err)
					}
					fates = fates[:0]
					for _, m := range into.Msgs {
						fates = append(fates, penstock.Outcome{Pos: m.Pos})
					}
					if err := in.Settle(context.Background(), fates); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
