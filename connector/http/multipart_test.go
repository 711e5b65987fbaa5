package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	nethttp "net/http"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// upload answers with the parts that it was sent.
func upload(w nethttp.ResponseWriter, r *nethttp.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		nethttp.Error(w, err.Error(), nethttp.StatusBadRequest)
		return
	}
	var parts [][]string
	for m := multipart.NewReader(r.Body, params["boundary"]); ; {
		p, err := m.NextRawPart()
		if err != nil {
			break
		}
		b, _ := io.ReadAll(p)
		body := string(b)
		if len(b) > 100 {
			body = fmt.Sprintf("%d bytes", len(b))
		}
		parts = append(parts, []string{p.Header.Get("Content-Disposition"), p.Header.Get("Content-Type"), body})
	}
	out, _ := json.Marshal(parts)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}

func TestMultipart(t *testing.T) {
	s := serve(t, upload)
	for _, tt := range []struct {
		name   string
		parts  []Part
		body   []byte
		format jsonview.Format
		want   string
	}{
		{"fields", []Part{{Name: "a", Text: text("${body.x}")}, {Name: "b", Body: tree(`{"n":1}`)}}, []byte(`{"x":"1\r\n--"}`), jsonview.JSON,
			`[["form-data; name=\"a\"","text/plain; charset=utf-8","1\r\n--"],["form-data; name=\"b\"","application/json","{\"n\":1}"]]`},
		{"a file", []Part{{Name: "file", Filename: text(`a"b${body.x}.csv`), Type: "text/csv"}}, []byte(`{"x":"\r\nX: y"}`), jsonview.JSON,
			`[["form-data; name=\"file\"; filename=\"a%22b%0D%0AX: y.csv\"","text/csv","{\"x\":\"\\r\\nX: y\"}"]]`},
		{"a large file between others", []Part{{Name: "a", Text: text("1")}, {Name: "file"}, {Name: "b", Text: text("2")}}, bytes.Repeat([]byte{0xff}, 3<<20), jsonview.Binary,
			`[["form-data; name=\"a\"","text/plain; charset=utf-8","1"],["form-data; name=\"file\"","application/octet-stream","3145728 bytes"],["form-data; name=\"b\"","text/plain; charset=utf-8","2"]]`},
		{"nothing in it", []Part{{Name: "file", Text: text("${body.none}")}}, []byte(`{}`), jsonview.JSON, `[["form-data; name=\"file\"","text/plain; charset=utf-8",""]]`},
	} {
		got, _, err := ask(context.Background(), calling(t, connection(s.URL), CallConfig{Post: text("/"), Multipart: tt.parts}), ``, func(m *penstock.Message) { m.Body.Reset(tt.format, tt.body) })
		if err != nil || got != tt.want {
			t.Errorf("%s: %v\n%s, want\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestForm(t *testing.T) {
	s := serve(t, asked)
	got, _, err := ask(context.Background(), calling(t, connection(s.URL), CallConfig{Post: text("/"), Form: tree(`{"grant_type":"client&credentials","scope":["a","b"],"n":1,"none":null}`)}), `{}`)
	var q question
	if err == nil {
		err = json.Unmarshal([]byte(got), &q)
	}
	if err != nil || q.Body != "grant_type=client%26credentials&scope=a&scope=b&n=1" || q.Headers["content-type"] != "application/x-www-form-urlencoded" {
		t.Errorf("%v, %+v", err, q)
	}
}

func TestValidate(t *testing.T) {
	secret := penstock.NewSecret("x")
	fixed := func(s string) penstock.Template { return penstock.Template{Source: s} }
	headers := func(names ...string) map[string]penstock.Template {
		m := map[string]penstock.Template{}
		for _, n := range names {
			m[n] = fixed("x")
		}
		return m
	}
	list := penstock.DataTree{Tree: penstock.Tree{Kind: penstock.TreeList}}
	for _, tt := range []struct {
		config penstock.Resolver
		want   string // of the findings; "" for none
	}{
		{&CallConfig{Get: text("/a/${body.x}?b=${body.y}")}, ""},
		{&CallConfig{Get: text("${body.path}")}, ""},
		{&CallConfig{}, "says no method"},
		{&CallConfig{Get: text("/"), Post: text("/")}, "two methods, get and post"},
		{&CallConfig{Get: text("a")}, "begins with /"},
		{&CallConfig{Get: text("https://example.com/")}, "the Connection says where"},
		{&CallConfig{Get: text("/a b/${body.x}")}, "percent-encoded"},
		{&CallConfig{Get: text("/a#b")}, "percent-encoded"},
		{&CallConfig{Get: text("/a/../b")}, "would lead elsewhere"},
		{&CallConfig{Get: text("/a/%2e%2E/b")}, "would lead elsewhere"},
		{&CallConfig{Get: text("/a/..;x=1/b")}, "would lead elsewhere"},
		{&CallConfig{Get: text("/"), Body: tree("{}")}, "no body"},
		{&CallConfig{Head: text("/"), Form: tree("{}")}, "no body"},
		{&CallConfig{Post: text("/"), Body: tree("{}"), Form: tree("{}")}, "keep one of body, form and multipart"},
		{&CallConfig{Post: text("/"), Form: list}, "form is a map"},
		{&CallConfig{Get: text("/"), Query: list}, "query is a map"},
		{&CallConfig{Post: text("/"), Multipart: []Part{{Name: "a", Text: text("x"), Body: tree("{}")}}}, "keep one"},
		{&CallConfig{Post: text("/"), Multipart: []Part{{Name: "a", Type: "a\r\nb"}}}, "control character"},
		{&CallConfig{Post: text("/"), Form: tree("{}"), BodyFormat: penstock.Format{Name: "csv"}}, "bodyFormat"},
		{&CallConfig{Post: text("/"), Missing: "absent"}, "for get and head"},
		{&CallConfig{Put: text("/"), IdempotencyKey: text("x")}, "for post and patch"},
		{&CallConfig{Get: text("/"), Expect: []int{100}}, "no status"},
		{&CallConfig{Get: text("/"), Headers: headers("Content-Length")}, "the client's own business"},
		{&CallConfig{Get: text("/"), Headers: headers("a b")}, "no name of a header"},
		{&CallConfig{Get: text("/"), Headers: headers("X-A", "x-a")}, "twice"},
		{&CallConfig{Get: text("/"), Headers: headers("x-a"), Forward: []string{"X-A"}}, "twice"},
		{&CallConfig{Get: text("/"), Headers: headers("Authorization")}, "holds a secret"},
		{&CallConfig{Get: text("/"), Forward: []string{"host"}}, "forward"},
		{&SinkConfig{Post: text("/${body.x}"), InFlight: 3}, ""},
		{&SinkConfig{}, "says no method"},
		{&SinkConfig{Post: text("/${params.x}"), Batch: &SinkBatch{Size: 2}}, ""},
		{&SinkConfig{Post: text("/${body.x}"), Batch: &SinkBatch{Size: 2}}, "the path can't depend"},
		{&SinkConfig{Post: text("/"), Batch: &SinkBatch{Size: 2}, Headers: map[string]penstock.Template{"x": text("${params.x} ${key}")}}, "the header x can't depend"},
		{&SinkConfig{Post: text("/"), Batch: &SinkBatch{Size: 2}, InFlight: 2}, "inFlight"},
		{&SinkConfig{Post: text("/"), Batch: &SinkBatch{Size: 2}, Format: penstock.Format{Name: "csv"}}, "format"},
		{&SinkConfig{Post: text("/"), Batch: &SinkBatch{Size: 2}, IdempotencyKey: text("${key}")}, "idempotencyKey"},
		{&SinkConfig{Delete: text("/"), Batch: &SinkBatch{Size: 2}}, "delete has no body"},
		{&ConnectionConfig{URL: fixed("https://example.com/v1/")}, ""},
		{&ConnectionConfig{URL: fixed("https://${params.host}/")}, ""},
		{&ConnectionConfig{URL: fixed("example.com")}, "write it as https://host"},
		{&ConnectionConfig{URL: fixed("ftp://example.com")}, "not http or https"},
		{&ConnectionConfig{URL: fixed("https://")}, "names no host"},
		{&ConnectionConfig{URL: fixed("https://user:s3cret@example.com")}, "use auth"},
		{&ConnectionConfig{URL: fixed("https://example.com/?a=b")}, "belongs to the call"},
		{&ConnectionConfig{URL: fixed("https://example.com:99999")}, "no port"},
		{&ConnectionConfig{URL: fixed("https://exa mple.com")}, "url"},
		{&ConnectionConfig{URL: fixed("https://a/../b")}, "would lead elsewhere"},
		{&ConnectionConfig{URL: fixed("https://a"), Proxy: &ProxyConfig{URL: fixed("socks5://a")}}, "proxy"},
		{&ConnectionConfig{URL: fixed("http://a"), HTTP2: "prior", Proxy: &ProxyConfig{URL: fixed("http://b")}}, "through a proxy"},
		{&ConnectionConfig{URL: fixed("https://a"), Headers: headers("Cookie")}, "use auth"},
		{&ConnectionConfig{URL: fixed("https://a"), Headers: headers("Transfer-Encoding")}, "own business"},
		{&ConnectionConfig{URL: fixed("https://a"), Auth: Auth{Bearer: &secret, Header: &HeaderAuth{Name: "x"}}}, "2 ways"},
		{&ConnectionConfig{URL: fixed("https://a"), Auth: Auth{Header: &HeaderAuth{Name: "a:b"}}}, "auth.header"},
		{&ConnectionConfig{URL: fixed("https://a"), TLS: TLSConfig{Certificate: &secret}}, "belong together"},
		{&ConnectionConfig{URL: fixed("https://a"), TLS: TLSConfig{Insecure: true, CA: &secret}}, "means nothing"},
	} {
		all := fmt.Sprint(tt.config.Validate())
		if tt.want == "" && all != "[]" || !strings.Contains(all, tt.want) {
			t.Errorf("%+v: %s, want %q", tt.config, all, tt.want)
		}
		if strings.Contains(all, "s3cret") {
			t.Errorf("it shows a password: %s", all)
		}
	}
}
