package http

import (
	"bytes"
	"crypto/sha256"
	nethttp "net/http"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// FuzzRecord holds that what is kept is read as it was written, and that nothing else is read as an answer that was not given.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{}, 200, "application/json", "Location", "/x", []byte(`{}`))
	f.Add(appendRecord(nil, fingerprint{1}, &answer{status: 201, body: []byte("x")}), 404, "", "", "", []byte{})
	f.Fuzz(func(t *testing.T, raw []byte, status int, contentType, name, value string, body []byte) {
		if a, _, err := readRecord(raw); err == nil && a != nil && (a.status < 200 || a.status > 599) {
			t.Errorf("status %d", a.status)
		}
		if status < 200 || status > 599 || len(body) > maxRecorded {
			return
		}
		in := answer{status: status, contentType: contentType, header: [][2]string{{name, value}}, body: body}
		fp := fingerprint(sha256.Sum256(raw))
		out, was, err := readRecord(appendRecord(nil, fp, &in))
		if err != nil || was != fp || out.status != status || out.contentType != contentType || out.header[0] != in.header[0] || !bytes.Equal(out.body, body) {
			t.Errorf("%+v became %+v, %v", in, out, err)
		}
	})
}

// still is a clock that stands still.
type still struct{ penstock.SystemClock }

// Now implements penstock.Clock.
func (still) Now() time.Time { return time.Unix(1_700_000_000, 0) }

// FuzzSignature holds that no header without the secret lets a body in.
func FuzzSignature(f *testing.F) {
	for _, s := range []string{"", "sha256=00", "t=1700000000,v1=00", "t=1700000000,v1=00,v1=11", ",,,", "v1:AAAA"} {
		f.Add(s, "1700000000", []byte("{}"))
	}
	secret := penstock.NewSecret("a secret that no fuzzer guesses")
	var all []*signature
	for _, c := range []SignatureConfig{{Scheme: "github"}, {Scheme: "stripe"}, {Scheme: "generic"}, {Scheme: "generic", Encoding: "base64", Prefix: "v1:", TimestampHeader: "x-time"}} {
		c.Secret = secret
		all = append(all, newSignature(&c, still{}))
	}
	f.Fuzz(func(t *testing.T, value, stamp string, body []byte) {
		for _, s := range all {
			h := nethttp.Header{s.header: {value}, "X-Time": {stamp}}
			if err := s.check(h, body); err == nil {
				t.Errorf("%s: %q lets a body in", s.header, value)
			}
		}
	})
}

// FuzzMedia holds that a content type is never taken for JSON that a browser may send without asking first (Fetch Standard,
// CORS-safelisted request-header).
func FuzzMedia(f *testing.F) {
	for _, s := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", "a/b+json", "application/json;charset=utf-16"} {
		f.Add(s)
	}
	m := mediaOf("json", nil)
	f.Fuzz(func(t *testing.T, value string) {
		if m.check([]string{value}) != nil || value == "" {
			return
		}
		if kind, _, _ := bytes.Cut(bytes.ToLower([]byte(value)), []byte{';'}); !bytes.HasSuffix(bytes.TrimSpace(kind), []byte("json")) {
			t.Errorf("%q is taken for JSON", value)
		}
	})
}
