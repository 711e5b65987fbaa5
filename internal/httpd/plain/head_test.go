package plain

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// understood reads a request as a connection does: what it says, and how long it is. It is nil for one that is none for this package.
func understood(b []byte) (*http.Request, int) {
	end, v := ends(b, 0, maxHead)
	if v != whole {
		return nil, 0
	}
	c := &conn{buf: b, fields: http.Header{}, values: make([]string, 0, 4)}
	r := &http.Request{URL: new(url.URL)}
	if !c.understand(end) || len(b) < end+c.head.length || !c.head.url(r.URL) {
		return nil, 0
	}
	h := &c.head
	r.Method, r.RequestURI, r.Host, r.Close, r.Header, r.ContentLength = h.method, h.target, h.host, h.close, c.fields, int64(h.length)
	return r, end + h.length
}

var heads = []struct {
	name, text string
	plain      bool
}{
	{"the least", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a body", "POST /a/b?c=d HTTP/1.1\r\nHost: x:80\r\nContent-Length: 3\r\n\r\nabc", true},
	{"headers", "PUT /a HTTP/1.1\r\nhost: [::1]:80\r\nACCEPT: a\r\nx-a:b\r\nX-A: \t c \t\r\nX-Empty:\r\nConnection: keep-alive\r\n\r\n", true},
	{"closes", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true},
	{"pragma", "GET /a HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\n\r\n", true},
	{"an encoded path", "GET /a%20b/%C3%A4/!* HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a query with everything", "GET /a?b=%zz&?/:@!$'()*+,;=c HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a lone question mark", "GET /a? HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"two question marks", "GET /a?? HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"dots", "GET /a/../b HTTP/1.1\r\nHost: x\r\n\r\n", true}, // the router refuses them
	{"a length of nothing", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true},

	{"no encoding", "GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"two slashes", "GET //a HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"another form of target", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"every target", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a fragment", "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a backslash", "GET /a\\b HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a byte beyond ASCII in a path", "GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a space in a path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"another method", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a trace", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a method in small letters", "get / HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"an old version", "GET / HTTP/1.0\r\nHost: x\r\n\r\n", false},
	{"a small version", "GET / http/1.1\r\nHost: x\r\n\r\n", false},
	{"a space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", false},
	{"no version", "GET /\r\nHost: x\r\n\r\n", false},
	{"an empty line in front", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"no host", "GET / HTTP/1.1\r\n\r\n", false},
	{"an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", false},
	{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", false},
	{"a host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", false},
	{"two lengths", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", false},
	{"a list of lengths", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n", false},
	{"a length with a sign", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", false},
	{"a length with a zero in front", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 00\r\n\r\n", false},
	{"an empty length", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", false},
	{"a length beyond the bound", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n", false},
	{"chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
	{"trailers", "POST / HTTP/1.1\r\nHost: x\r\nTrailer: a\r\n\r\n", false},
	{"an upgrade", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", false},
	{"expects", "GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", false},
	{"a connection of two words", "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", false},
	{"two connections", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: close\r\n\r\n", false},
	{"a bare line feed", "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", false},
	{"a bare carriage return", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", false},
	{"a continued header", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", false},
	{"a space in front of the colon", "GET / HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n", false},
	{"no name", "GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", false},
	{"no colon", "GET / HTTP/1.1\r\nHost: x\r\nX\r\n\r\n", false},
	{"NUL", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00\r\n\r\n", false},
	{"DEL", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x7f\r\n\r\n", false},
	{"a byte beyond ASCII in a header", "GET / HTTP/1.1\r\nHost: x\r\nX: \xe4\r\n\r\n", false},
	{"many headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: a\r\n", maxHeaders) + "\r\n", false},
	{"a long head", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", maxHead) + "\r\n\r\n", false},
}

func TestHeads(t *testing.T) {
	for _, tc := range heads {
		if r, _ := understood([]byte(tc.text)); (r != nil) != tc.plain {
			t.Errorf("%s: %v", tc.name, r)
		}
		same(t, []byte(tc.text))
	}
}

// same holds that net/http understands what is understood here, and the same.
func same(t *testing.T, b []byte) {
	t.Helper()
	got, n := understood(b)
	if got == nil {
		return
	}
	in := bufio.NewReaderSize(bytes.NewReader(b), 2*maxRequest)
	want, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q: net/http refuses it: %v", b, err)
	}
	body, err := io.ReadAll(want.Body)
	if err != nil || int64(len(body)) != want.ContentLength || !bytes.HasSuffix(b[:n], body) {
		t.Fatalf("%q: the body is %q of %d, %v", b, body, want.ContentLength, err)
	}
	if rest, _ := io.ReadAll(in); !bytes.Equal(rest, b[n:]) {
		t.Fatalf("%q: net/http finds the end of it elsewhere, in front of %q", b, rest)
	}
	if want.Close != got.Close || got.Method != want.Method || got.RequestURI != want.RequestURI || got.Host != want.Host || got.ContentLength != want.ContentLength || len(want.TransferEncoding) > 0 || len(want.Trailer) > 0 {
		t.Fatalf("%q:\n%+v\n%+v", b, got, want)
	}
	if !reflect.DeepEqual(got.URL, want.URL) || got.URL.EscapedPath() != want.URL.EscapedPath() {
		t.Fatalf("%q: the address is %#v, not %#v", b, got.URL, want.URL)
	}
	delete(want.Header, "Host") // net/http's server does so
	if !maps.EqualFunc(got.Header, want.Header, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
		t.Fatalf("%q: the headers are %v, not %v", b, got.Header, want.Header)
	}
}

// FuzzHead holds that whatever is understood here means the same to net/http.
func FuzzHead(f *testing.F) {
	for _, tc := range heads {
		f.Add([]byte(tc.text))
	}
	f.Fuzz(same)
}

// FuzzPieces holds that it makes no difference in which pieces a head comes.
func FuzzPieces(f *testing.F) {
	f.Add([]byte(heads[1].text), 5)
	f.Add([]byte("\r\n\r\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		want, verdict := ends(b, 0, maxHead)
		piece = max(1, piece%64)
		looked := 0
		for n := min(piece, len(b)); ; n = min(n+piece, len(b)) {
			end, v := ends(b[:n], looked, maxHead)
			if v != partial {
				if end != want || v != verdict && len(b) < maxHead {
					t.Fatalf("%q in pieces of %d ends at %d (%d), not at %d (%d)", b, piece, end, v, want, verdict)
				}
				return
			}
			if looked = n; n == len(b) {
				break
			}
		}
		if verdict != partial {
			t.Fatalf("%q in pieces of %d has no end", b, piece)
		}
	})
}
