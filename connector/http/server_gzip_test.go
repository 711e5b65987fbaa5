package http_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http"
)

// TestGzip holds when an answer is compressed, that it is the same then, and that caches are told.
func TestGzip(t *testing.T) {
	long := `"` + strings.Repeat("penstock ", 500) + `"`
	for _, tc := range []struct {
		name, accept, body, kind string
		off                      bool
		zipped, vary             bool
	}{
		{name: "asked for", accept: "gzip", body: long, zipped: true, vary: true},
		{name: "one of several", accept: "br;q=1.0, gzip;q=0.8, *;q=0.1", body: long, zipped: true, vary: true},
		{name: "any", accept: "*", body: long, zipped: true, vary: true},
		{name: "by its old name", accept: "X-GZIP", body: long, zipped: true, vary: true},
		{name: "not asked for", body: long, vary: true},
		{name: "refused", accept: "gzip;q=0", body: long, vary: true},
		{name: "refused among all", accept: "*, gzip;q=0.000", body: long, vary: true},
		{name: "all refused", accept: "*;q=0", body: long, vary: true},
		{name: "another one", accept: "br", body: long, vary: true},
		{name: "small", accept: "gzip", body: `"x"`, vary: true},
		{name: "a picture", accept: "gzip", body: long, kind: "image/png"},
		{name: "not configured", accept: "gzip", body: long, off: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, http.ServerConfig{Post: "/x", Reply: http.ReplyConfig{Gzip: !tc.off, ContentType: tc.kind}}, handler(echo), nil)
			got := s.do("POST", "/x", tc.body, "Accept-Encoding: "+tc.accept)
			body := got.body
			if tc.zipped {
				body = unzipped(t, got.body)
				if len(got.body) >= len(tc.body)/10 {
					t.Errorf("%d bytes of %d", len(got.body), len(tc.body))
				}
			}
			if got.status != 200 || body != tc.body || (got.header.Get("Content-Encoding") == "gzip") != tc.zipped || (got.header.Get("Vary") == "Accept-Encoding") != tc.vary {
				t.Errorf("status %d, %v, %d bytes", got.status, got.header, len(body))
			}
			if n := got.header.Get("Content-Length"); n != "" && n != strconv.Itoa(len(got.body)) {
				t.Errorf("%s bytes are announced, and %d came", n, len(got.body))
			}
		})
	}
}

// TestGzipOfWhatWasRecorded holds that an answer is recorded as it is, and given to each caller as that one takes it.
func TestGzipOfWhatWasRecorded(t *testing.T) {
	var k kept
	asked := 0
	long := `"` + strings.Repeat("penstock ", 500) + `"`
	s := idempotentWith(t, http.ServerConfig{Post: "/x", Idempotency: &http.IdempotencyConfig{}, Reply: http.ReplyConfig{Gzip: true}}, &k, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
		asked++
		return nil
	}))
	for _, accept := range []string{"gzip", "", "gzip"} {
		got := s.do("POST", "/x", long, "Idempotency-Key: a", "Accept-Encoding: "+accept)
		if accept != "" {
			got.body = unzipped(t, got.body)
		}
		if got.body != long {
			t.Errorf("%q gets %d bytes", accept, len(got.body))
		}
	}
	if asked != 1 {
		t.Errorf("the flow was asked %d times", asked)
	}
}

func unzipped(t *testing.T, text string) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
