package http

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
)

// SignatureConfig says how requests prove that they come from who knows a secret: an HMAC (RFC 2104) over the body as it came, compared in
// constant time before anything of the body is looked at. A request without a right one is answered with 401.
type SignatureConfig struct {
	// Whose way of signing it is. github: X-Hub-Signature-256 holds sha256= and the HMAC-SHA-256 of the body. stripe: Stripe-Signature holds a time and one
	// or several HMAC-SHA-256 of that time, a dot and the body. generic: what the other settings say.
	Scheme string `json:"scheme" penstock:"required,enum=github|stripe|generic"`
	// The secret that both sides know.
	Secret penstock.Secret `json:"secret" penstock:"required"`
	// A second secret that is taken as well: while the secret is being changed, the one before.
	Previous penstock.Secret `json:"previous"`
	// The header that the signature stands in; several, separated by commas, are allowed, and one of them must be right. Only for generic. Default: x-signature.
	Header string `json:"header"`
	// The hash. Only for generic. Default: sha256.
	Algorithm string `json:"algorithm" penstock:"enum=sha256|sha512"`
	// How the signature is written. Only for generic. Default: hex.
	Encoding string `json:"encoding" penstock:"enum=hex|base64"`
	// What stands before the signature in its header, such as `sha256=`. Only for generic.
	Prefix string `json:"prefix"`
	// The header that holds the time of signing, in seconds since 1970; what is signed is then that text, a dot, and the body. Only for generic.
	TimestampHeader string `json:"timestampHeader"`
	// How far the time of signing may lie from now, so that a request that somebody has recorded can't be sent again later. Only where a time is signed: stripe, or
	// timestampHeader. Default: 5m.
	Tolerance penstock.Duration `json:"tolerance" penstock:"min=1s"`
}

// validate says what is wrong with it.
func (c *SignatureConfig) validate() []error {
	var errs []error
	if c.Scheme != "generic" {
		for _, f := range []struct{ name, value string }{{"header", c.Header}, {"algorithm", c.Algorithm}, {"encoding", c.Encoding}, {"prefix", c.Prefix}, {"timestampHeader", c.TimestampHeader}} {
			if f.value != "" {
				errs = append(errs, fmt.Errorf("signature.%s: the scheme %s has its own; it means something for generic only", f.name, c.Scheme))
			}
		}
	}
	for _, f := range []struct{ name, value string }{{"header", c.Header}, {"timestampHeader", c.TimestampHeader}} {
		if f.value != "" && !isToken(f.value) {
			errs = append(errs, fmt.Errorf("signature.%s: %q is no name of a header", f.name, f.value))
		}
	}
	if c.Tolerance != 0 && c.Scheme != "stripe" && c.TimestampHeader == "" {
		errs = append(errs, errors.New("signature.tolerance: no time is signed, so there is nothing to tolerate; it means something for stripe, or with timestampHeader"))
	}
	return errs
}

// signature checks requests.
type signature struct {
	header    string // canonical
	time      string // canonical name of the header of the time; "" if there is none
	stripe    bool
	prefix    string
	hash      func() hash.Hash
	base64    bool
	tolerance time.Duration
	secrets   [2]penstock.Secret
	clock     penstock.Clock
}

func newSignature(c *SignatureConfig, clock penstock.Clock) *signature {
	s := &signature{
		header: "X-Signature", hash: sha256.New, base64: c.Encoding == "base64", tolerance: c.Tolerance.Std(), prefix: c.Prefix,
		secrets: [2]penstock.Secret{c.Secret, c.Previous}, clock: clock,
	}
	if s.tolerance == 0 {
		s.tolerance = 5 * time.Minute
	}
	switch c.Scheme {
	case "github":
		s.header, s.prefix = "X-Hub-Signature-256", "sha256="
	case "stripe":
		s.header, s.stripe = "Stripe-Signature", true
	default:
		if c.Header != "" {
			s.header = nethttp.CanonicalHeaderKey(c.Header)
		}
		if c.TimestampHeader != "" {
			s.time = nethttp.CanonicalHeaderKey(c.TimestampHeader)
		}
	}
	if c.Algorithm == "sha512" {
		s.hash = sha512.New
	}
	return s
}

// maxSignatures is how many signatures of one request are looked at.
const maxSignatures = 8

// unsigned refuses a request.
func unsigned(detail string) error { return &status{nethttp.StatusUnauthorized, detail} }

// check refuses a request whose body was not signed with one of the secrets.
func (s *signature) check(h nethttp.Header, body []byte) error {
	values := h[s.header]
	if len(values) == 0 {
		return unsigned("the header " + s.header + " with the signature is missing")
	}
	var stamp string
	var texts []string
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		part = strings.TrimSpace(part)
		switch {
		case s.stripe && strings.HasPrefix(part, "t="):
			stamp = part[2:]
		case s.stripe && strings.HasPrefix(part, "v1="):
			texts = append(texts, part[3:])
		case !s.stripe && strings.HasPrefix(part, s.prefix):
			texts = append(texts, part[len(s.prefix):])
		}
	}
	if s.time != "" {
		stamp = h.Get(s.time)
	}
	if len(texts) > maxSignatures {
		return unsigned("there are too many signatures")
	}
	timed := s.stripe || s.time != ""
	if timed {
		if err := s.inTime(stamp); err != nil {
			return err
		}
	}
	right := false
	for _, secret := range s.secrets {
		key := secret.Reveal()
		if key == "" {
			continue // what anybody could sign
		}
		mac := hmac.New(s.hash, []byte(key))
		if timed {
			mac.Write([]byte(stamp))
			mac.Write([]byte{'.'})
		}
		mac.Write(body)
		sum := mac.Sum(nil)
		for _, t := range texts {
			if given, ok := s.decode(t); ok && hmac.Equal(given, sum) {
				right = true
			}
		}
	}
	if s.secrets[0].Reveal() == "" {
		return penstock.E(penstock.Internal, "http", "signature.secret", "the secret is empty, so no signature can be checked")
	}
	if !right {
		return unsigned("the signature does not fit the body")
	}
	return nil
}

// decode reads a signature.
func (s *signature) decode(text string) ([]byte, bool) {
	var b []byte
	var err error
	if s.base64 {
		b, err = base64.StdEncoding.DecodeString(text)
	} else {
		b, err = hex.DecodeString(text)
	}
	return b, err == nil
}

// inTime refuses what was signed too long ago, or too far ahead.
func (s *signature) inTime(stamp string) error {
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return unsigned("the time of the signature is missing or malformed")
	}
	if d := s.clock.Now().Sub(time.Unix(seconds, 0)); d > s.tolerance || d < -s.tolerance {
		return unsigned("the signature was not made within " + s.tolerance.String() + " of now")
	}
	return nil
}

// signed reads the body as it came, checks its signature, and then unpacks it.
func (x *exchange) signed(coding string) error {
	limit := int64(x.s.config.MaxBody)
	var err error
	if x.buf, err = x.readAll(x.buf, x.r.Body, limit, x.r.ContentLength); err != nil {
		return x.readError(err, limit)
	}
	if err := x.s.signature.check(x.r.Header, x.buf); err != nil || coding == "" {
		return err
	}
	from, err := unpack(coding, bytes.NewReader(x.buf))
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // it was read
	x.buf, err = x.readAll(nil, from, limit, -1)
	return x.readError(err, limit)
}
