package http

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func TestReplies(t *testing.T) {
	zip := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, s)
		_ = z.Close()
		return b.String()
	}
	for _, tt := range []struct {
		name, kind, coding, body string
		change                   func(c *CallConfig)
		want                     string
		format                   jsonview.Format
		code                     penstock.Code
	}{
		{"JSON", "application/json", "", ` {"a": 1.50}`, nil, `{"a": 1.50}`, jsonview.JSON, ""},
		{"JSON with a charset", "application/json; charset=utf-8", "", `[1]`, nil, `[1]`, jsonview.JSON, ""},
		{"a kind of JSON", "application/vnd.api+json", "", `{}`, nil, `{}`, jsonview.JSON, ""},
		{"JSON with a byte order mark", "application/json", "", "\ufeff{}", nil, `{}`, jsonview.JSON, ""},
		{"JSON that says nothing", "-", "", ` [2]`, nil, `[2]`, jsonview.JSON, ""},
		{"text that says nothing", "-", "", `hello`, nil, `"hello"`, jsonview.Text, ""},
		{"text", "text/plain", "", "grün", nil, `"grün"`, jsonview.Text, ""},
		{"latin text", "text/plain; charset=ISO-8859-1", "", "gr\xfcn", nil, `"grün"`, jsonview.Text, ""},
		{"HTML", "text/html", "", "<p>", nil, `"<p>"`, jsonview.Text, ""},
		{"bytes", "image/png", "", "\x89P", nil, `"iVA="`, jsonview.Binary, ""},
		{"text that is none", "text/plain", "", "\xff", nil, `"/w=="`, jsonview.Binary, ""},
		{"lines", "application/x-ndjson", "", "{\"a\":1}\r\n\n[2]\n", nil, `[{"a":1},[2]]`, jsonview.JSON, ""},
		{"nothing", "application/json", "", "", nil, `null`, jsonview.JSON, ""},
		{"half a document", "application/json", "", `{"a`, nil, ``, jsonview.JSON, penstock.Internal},
		{"the whole answer", "text/plain", "", `x`, func(c *CallConfig) { c.Reply = "full" }, `{"status":200,"headers":{"content-type":"text/plain","x-two":"a, b","content-length":"1"},"body":"x"}`, jsonview.JSON, ""},
		{"compressed", "application/json", "gzip", zip(`{"a":1}`), nil, `{"a":1}`, jsonview.JSON, ""},
		{"compressed too much", "application/json", "gzip", zip(strings.Repeat(" ", 1<<20)), func(c *CallConfig) { c.MaxResponse = 1 << 16 }, ``, 0, penstock.TooLarge},
		{"not compressed", "application/json", "gzip", `{"a":1}`, nil, ``, 0, penstock.Unavailable},
		{"half compressed", "application/json", "gzip", zip(strings.Repeat("abc", 1000))[:30], nil, ``, 0, penstock.Unavailable},
		{"compressed otherwise", "application/json", "br", `x`, nil, ``, 0, penstock.Invalid},
		{"too large", "text/plain", "", strings.Repeat("x", 101), func(c *CallConfig) { c.MaxResponse = 100 }, ``, 0, penstock.TooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				w.Header()["Date"] = nil
				w.Header()["Content-Type"] = nil
				if tt.kind != "-" {
					w.Header().Set("Content-Type", tt.kind)
				}
				if tt.coding != "" {
					w.Header().Set("Content-Encoding", tt.coding)
				}
				w.Header()["X-Two"] = []string{"a", "b"}
				_, _ = io.WriteString(w, tt.body)
			})
			c := CallConfig{Get: text("/")}
			if tt.change != nil {
				tt.change(&c)
			}
			got, into, err := ask(context.Background(), calling(t, connection(s.URL), c), `{}`)
			if penstock.CodeOf(err) != tt.code {
				t.Fatalf("%v, want %s", err, tt.code)
			}
			if tt.code == "" && (!sameReply(got, tt.want) || into.Body.Format() != tt.format) {
				t.Errorf("%s (%s), want %s (%s)", got, into.Body.Format(), tt.want, tt.format)
			}
		})
	}
}

// sameReply compares; the order of a server's headers is its own.
func sameReply(got, want string) bool {
	if !strings.HasPrefix(want, `{"status"`) {
		return got == want
	}
	for _, part := range []string{`{"status":200,"headers":{`, `"x-two":"a, b"`, `"content-type":"text/plain"`, `"content-length":"1"`, `},"body":"x"}`} {
		if !strings.Contains(got, part) {
			return false
		}
	}
	return len(got) == len(want)
}

func TestStatuses(t *testing.T) {
	for _, tt := range []struct {
		status int
		kind   string
		body   string
		change func(c *CallConfig)
		code   penstock.Code
		say    string
	}{
		{400, "application/problem+json", `{"title":"Bad","detail":"no\nline\u0000 \u202etrick"}`, nil, penstock.Invalid, "the answer is 400 Bad Request: Bad: no line trick"},
		{401, "application/json", `{"error":"expired"}`, nil, penstock.Unauthenticated, "the answer is 401 Unauthorized: expired (look at the Connection's auth)"},
		{403, "application/json", `{"error":{"message":"not yours"}}`, nil, penstock.Forbidden, "the answer is 403 Forbidden: not yours"},
		{404, "text/html", `<h1>Not found</h1>`, nil, penstock.NotFound, "the answer is 404 Not Found"},
		{410, "", ``, nil, penstock.NotFound, "the answer is 410 Gone"},
		{408, "", ``, nil, penstock.Timeout, ""},
		{409, "", ``, nil, penstock.Conflict, ""},
		{412, "", ``, nil, penstock.Conflict, ""},
		{413, "", ``, nil, penstock.TooLarge, ""},
		{418, "text/plain", strings.Repeat("é", 1000), nil, penstock.Invalid, "the answer is 418: " + strings.Repeat("é", maxDetail) + "…"},
		{422, "", ``, nil, penstock.Unprocessable, ""},
		{425, "", ``, nil, penstock.Unavailable, ""},
		{429, "", ``, nil, penstock.Limited, ""},
		{500, "application/json", `{"a`, nil, penstock.Unavailable, "the answer is 500 Internal Server Error"},
		{501, "", ``, nil, penstock.Unprocessable, ""},
		{502, "", ``, nil, penstock.Unavailable, ""},
		{503, "text/plain", "busy", nil, penstock.Unavailable, "the answer is 503 Service Unavailable: busy"},
		{504, "", ``, nil, penstock.Timeout, ""},
		{299, "", ``, nil, "", ""},
		{304, "", ``, nil, penstock.Invalid, ""},
		{404, "application/json", `{"detail":"none"}`, func(c *CallConfig) { c.MaxResponse = 1 << 10 }, penstock.NotFound, "the answer is 404 Not Found: none"},
		{201, "", ``, func(c *CallConfig) { c.Expect = []int{200} }, penstock.Invalid, ""},
		{404, "text/plain", `none`, func(c *CallConfig) { c.Expect = []int{404} }, "", ""},
	} {
		s := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
			w.Header().Set("Content-Type", tt.kind)
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		})
		c := CallConfig{Get: text("/")}
		if tt.change != nil {
			tt.change(&c)
		}
		_, _, err := ask(context.Background(), calling(t, connection(s.URL), c), `{}`)
		if penstock.CodeOf(err) != tt.code {
			t.Errorf("%d: %v, want %s", tt.status, err, tt.code)
		}
		if tt.say != "" && !strings.HasSuffix(err.Error(), tt.say) {
			t.Errorf("%d: %q, want %q", tt.status, err, tt.say)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 0, "": 0, "-1": 0, "x": 0, "1.5": 0, "99999999": maxRetryAfter, "99999999999999999999": 0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second, "Mon, 23 Nov 2026 11:00:00 GMT": 0, "Monday, 23-Nov-26 12:01:00 GMT": time.Minute,
	} {
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}
