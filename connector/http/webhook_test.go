package http_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http"
)

// stopped is a clock that stands still.
type stopped struct{ penstock.SystemClock }

// signingTime is where it stands.
var signingTime = time.Unix(1_700_000_000, 0)

// Now implements penstock.Clock.
func (stopped) Now() time.Time { return signingTime }

func mac(h func() hash.Hash, key, text string) []byte {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hexMAC(key, text string) string { return hex.EncodeToString(mac(sha256.New, key, text)) }

func TestSignatures(t *testing.T) {
	const body = `{"a":1}`
	github := http.SignatureConfig{Scheme: "github", Secret: penstock.NewSecret("new"), Previous: penstock.NewSecret("old")}
	stripe := http.SignatureConfig{Scheme: "stripe", Secret: penstock.NewSecret("new"), Previous: penstock.NewSecret("old")}
	generic := http.SignatureConfig{Scheme: "generic", Secret: penstock.NewSecret("new")}
	custom := http.SignatureConfig{Scheme: "generic", Secret: penstock.NewSecret("new"), Header: "x-sig", Algorithm: "sha512", Encoding: "base64", Prefix: "v1:", TimestampHeader: "x-time", Tolerance: penstock.Duration(time.Minute)}
	at := func(d time.Duration) string { return fmt.Sprint(signingTime.Add(d).Unix()) }
	stamped := func(d time.Duration, key, text string) string {
		return "t=" + at(d) + ",v1=" + hexMAC(key, at(d)+"."+text)
	}
	custom64 := func(d time.Duration) string {
		return "v1:" + base64.StdEncoding.EncodeToString(mac(sha512.New, "new", at(d)+"."+body))
	}
	for _, tc := range []struct {
		name    string
		config  http.SignatureConfig
		headers []string
		body    string // default: the one that was signed
		want    string // of the refusal; "" if it is let in
	}{
		{name: "github", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("new", body)}},
		{name: "github, in capitals", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + strings.ToUpper(hexMAC("new", body))}},
		{name: "the secret before", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("old", body)}},
		{name: "another secret", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("other", body)}, want: "does not fit"},
		{name: "no secret", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("", body)}, want: "does not fit"},
		{name: "another body", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("new", body)}, body: `{"a":2}`, want: "does not fit"},
		{name: "a body that can't be read is not looked at", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("new", body)}, body: `{`, want: "does not fit"},
		{name: "no signature", config: github, want: "is missing"},
		{name: "half a signature", config: github, headers: []string{"X-Hub-Signature-256: sha256=" + hexMAC("new", body)[:32]}, want: "does not fit"},
		{name: "an empty signature", config: github, headers: []string{"X-Hub-Signature-256: sha256="}, want: "does not fit"},
		{name: "the hash before", config: github, headers: []string{"X-Hub-Signature: sha1=00"}, want: "is missing"},
		{name: "no prefix", config: github, headers: []string{"X-Hub-Signature-256: " + hexMAC("new", body)}, want: "does not fit"},
		{name: "compressed as it was signed", config: github, body: zipped(body), headers: []string{"Content-Encoding: gzip", "X-Hub-Signature-256: sha256=" + hexMAC("new", zipped(body))}},
		{name: "signed before it was compressed", config: github, body: zipped(body), headers: []string{"Content-Encoding: gzip", "X-Hub-Signature-256: sha256=" + hexMAC("new", body)}, want: "does not fit"},
		{name: "stripe", config: stripe, headers: []string{"Stripe-Signature: " + stamped(0, "new", body)}},
		{name: "stripe, at the edge", config: stripe, headers: []string{"Stripe-Signature: " + stamped(-5*time.Minute, "new", body)}},
		{name: "stripe, too late", config: stripe, headers: []string{"Stripe-Signature: " + stamped(-5*time.Minute-time.Second, "new", body)}, want: "within 5m0s of now"},
		{name: "stripe, from the future", config: stripe, headers: []string{"Stripe-Signature: " + stamped(5*time.Minute+time.Second, "new", body)}, want: "within 5m0s of now"},
		{name: "stripe, two signatures", config: stripe, headers: []string{"Stripe-Signature: t=" + at(0) + ",v1=" + hexMAC("x", "y") + ",v1=" + hexMAC("old", at(0)+"."+body) + ",v0=ab"}},
		{name: "stripe, an old scheme alone", config: stripe, headers: []string{"Stripe-Signature: t=" + at(0) + ",v0=" + hexMAC("new", at(0)+"."+body)}, want: "does not fit"},
		{name: "stripe, another time", config: stripe, headers: []string{"Stripe-Signature: t=" + at(time.Second) + ",v1=" + hexMAC("new", at(0)+"."+body)}, want: "does not fit"},
		{name: "stripe, no time", config: stripe, headers: []string{"Stripe-Signature: v1=" + hexMAC("new", "."+body)}, want: "missing or malformed"},
		{name: "stripe, a time that is none", config: stripe, headers: []string{"Stripe-Signature: t=99999999999999999999,v1=00"}, want: "missing or malformed"},
		{name: "stripe, many", config: stripe, headers: []string{"Stripe-Signature: t=" + at(0) + strings.Repeat(",v1=00", 9)}, want: "too many"},
		{name: "generic", config: generic, headers: []string{"X-Signature: " + hexMAC("new", body)}},
		{name: "generic, two", config: generic, headers: []string{"X-Signature: 00, " + hexMAC("new", body)}},
		{name: "generic, two headers", config: generic, headers: []string{"X-Signature: zz", "X-Signature: " + hexMAC("new", body)}},
		{name: "custom", config: custom, headers: []string{"X-Sig: " + custom64(0), "X-Time: " + at(0)}},
		{name: "custom, too late", config: custom, headers: []string{"X-Sig: " + custom64(-2*time.Minute), "X-Time: " + at(-2*time.Minute)}, want: "within 1m0s of now"},
		{name: "custom, no time", config: custom, headers: []string{"X-Sig: " + custom64(0)}, want: "missing or malformed"},
	} {
		for _, way := range ways {
			t.Run(tc.name+", "+way.name, func(t *testing.T) {
				asked := false
				s := start(t, http.ServerConfig{Post: "/hook", Signature: &tc.config}, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
					asked = true
					return nil
				}), func(e *penstock.Env) {
					e.Clock = stopped{}
					way.take(e)
				})
				text := tc.body
				if text == "" {
					text = body
				}
				got := s.do("POST", "/hook", text, tc.headers...)
				switch {
				case tc.want == "" && (got.status != 200 || got.body != body):
					t.Errorf("refused with %d: %s", got.status, got.body)
				case tc.want != "" && (got.status != 401 || !strings.Contains(got.body, tc.want) || got.header.Get("WWW-Authenticate") == ""):
					t.Errorf("status %d, %s; want 401 and %q", got.status, got.body, tc.want)
				case asked != (tc.want == ""):
					t.Errorf("the flow was asked: %v", asked)
				}
			})
		}
	}
}

func TestEmptySecretLetsNobodyIn(t *testing.T) {
	c := http.SignatureConfig{Scheme: "github", Secret: penstock.NewSecret("")}
	s := start(t, http.ServerConfig{Post: "/hook", Signature: &c}, handler(echo), nil)
	got := s.do("POST", "/hook", "{}", "X-Hub-Signature-256: sha256="+hexMAC("", "{}"))
	if got.status != 500 || !strings.Contains(s.log.String(), "the secret is empty") || strings.Contains(got.body, "secret") {
		t.Errorf("status %d, %s; log %s", got.status, got.body, s.log)
	}
}

// TestSecretsAreRotated holds that a secret that changes is used at once.
func TestSecretsAreRotated(t *testing.T) {
	values := penstock.NewSecretValues()
	secret := penstock.EmptySecret()
	secret.Bind(values, "hook")
	values.Replace(map[string]string{"hook": "one"})
	s := start(t, http.ServerConfig{Post: "/hook", Signature: &http.SignatureConfig{Scheme: "github", Secret: secret}}, handler(echo), nil)
	for _, key := range []string{"one", "two"} {
		values.Replace(map[string]string{"hook": key})
		for _, with := range []string{"one", "two"} {
			want := 401
			if with == key {
				want = 200
			}
			if got := s.do("POST", "/hook", "{}", "X-Hub-Signature-256: sha256="+hexMAC(with, "{}")); got.status != want {
				t.Errorf("the secret is %s, and %s was used: %d", key, with, got.status)
			}
		}
	}
}
