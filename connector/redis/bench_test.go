package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// BenchmarkRead reads and settles messages of 300 bytes, with the server.
func BenchmarkRead(b *testing.B) {
	for _, what := range []string{"stream", "list"} {
		b.Run(what, func(b *testing.B) {
			f := on(b, service.Redis(b))
			key := name()
			body := fmt.Sprintf(`{"x":"%s"}`, strings.Repeat("x", 290))
			to, from := SinkConfig{Stream: text(key)}, SourceConfig{Stream: text(key)}
			if what == "list" {
				to, from = SinkConfig{List: text(key)}, SourceConfig{List: text(key)}
			}
			out := drive.Opened(b, f.sink(b, to))
			all := make([]string, 500)
			for i := range all {
				all[i] = body
			}
			for n := 0; n < b.N; n += len(all) {
				if err := out.Write(context.Background(), drive.Batch("bench", int64(n), all...)); err != nil {
					b.Fatal(err)
				}
			}
			in := drive.Opened(b, f.source(b, from))
			var into penstock.Batch
			var fates []penstock.Outcome
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
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
				n += len(into.Msgs)
			}
			b.StopTimer()
			f.do(b, "DEL", key)
		})
	}
}

// BenchmarkWrite writes messages of 300 bytes in batches of 500, with the server.
func BenchmarkWrite(b *testing.B) {
	for _, what := range []string{"stream", "list", "set"} {
		b.Run(what, func(b *testing.B) {
			f := on(b, service.Redis(b))
			key := name()
			c := map[string]SinkConfig{"stream": {Stream: text(key), MaxLen: 10000}, "list": {List: text(key)}, "set": {Set: text(key)}}[what]
			out := drive.Opened(b, f.sink(b, c))
			all := make([]string, 500)
			for i := range all {
				all[i] = fmt.Sprintf(`{"x":"%s"}`, strings.Repeat("x", 290))
			}
			msgs := drive.Batch("bench", 0, all...)
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(all) {
				if err := out.Write(context.Background(), msgs); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			f.do(b, "DEL", key)
		})
	}
}

// TestReadAllocates: what reading and settling 500 entries costs.
func TestReadAllocates(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	f.send(t, stream, drive.Numbered(0, 20_000)...)
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream)}))
	var into penstock.Batch
	fates := make([]penstock.Outcome, 0, 1000)
	n := 0
	one := func() {
		for before := n; n < before+500; {
			into.Reset()
			if err := s.Read(context.Background(), &into); err != nil {
				t.Fatal(err)
			}
			fates = fates[:0]
			for _, m := range into.Msgs {
				fates = append(fates, penstock.Outcome{Pos: m.Pos})
			}
			if err := s.Settle(context.Background(), fates); err != nil {
				t.Fatal(err)
			}
			n += len(into.Msgs)
		}
	}
	one()
	if per := testing.AllocsPerRun(10, one) / 500; per > 12 {
		t.Errorf("%.1f allocations a message", per)
	}
}
