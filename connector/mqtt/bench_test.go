package mqtt

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
)

// BenchmarkThrough writes messages of 300 bytes, 200 at a time, and reads and settles them, with the broker.
func BenchmarkThrough(b *testing.B) {
	for _, qos := range []int{0, 1, 2} {
		b.Run(fmt.Sprint("qos ", qos), func(b *testing.B) {
			f := onServer(b)
			topic := unique(b)
			in := drive.Opened(b, f.source(b, topic, SourceConfig{Topics: topics(topic), QoS: qos}))
			out := drive.Opened(b, f.sink(b, SinkConfig{Topic: text(topic), QoS: qos}))
			all := make([]string, 200)
			for i := range all {
				all[i] = fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 290))
			}
			msgs := conform.Batch(all...)
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
