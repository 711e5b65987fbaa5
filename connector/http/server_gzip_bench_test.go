package http

import (
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkSqueeze compresses 4 KiB of JSON.
func BenchmarkSqueeze(b *testing.B) {
	body := []byte(`[` + strings.Repeat(`{"id":"A-1","sku":"mug","total":"8.85","at":"2026-01-05T08:12:00Z"},`, 60) + `{}]`)
	x := &exchange{r: &nethttp.Request{Header: nethttp.Header{"Accept-Encoding": {"gzip"}}}}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		x.w = httptest.NewRecorder()
		a := answer{contentType: "application/json", body: body}
		x.squeeze(&a)
		if len(a.body) == len(body) {
			b.Fatal("it was not compressed")
		}
	}
}
