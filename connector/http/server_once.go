package http

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	nethttp "net/http"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// IdempotencyConfig lets callers send a request again without fear that it is done twice, as the draft "The Idempotency-Key HTTP Header Field"
// (draft-ietf-httpapi-idempotency-key-header) has it: a request that comes again with the same key gets the reply that was recorded. The record is
// durable before the reply is given, and the run keeps state for it.
//
// The same key with another request (method, path, query, authorization or body) is answered with 422, and one whose request is still being
// worked on with 409. Replies and failures that would be the same again are recorded. Failures that may pass (429, 503, 504), those of this program (500) and
// requests that were given up are not, so that the request can be sent again.
//
// Where the process dies between what the flow has done and the recording of the reply, the request is done again when it comes again: once more is possible for
// what a flow that replies does to others; commands of entities are not done again. A flow that sends its messages to a durable channel (`to`) and demands a key (required) takes the key for
// the identity of its messages: it is then recorded in the same transaction as they are, and they are there once, within the window.
type IdempotencyConfig struct {
	// The header that holds the key: up to 255 visible characters, in quotes or not.
	Header string `json:"header" penstock:"default=Idempotency-Key,nonempty"`
	// How long keys are remembered, with their replies.
	Window penstock.Duration `json:"window" penstock:"default=24h,min=1s"`
	// Whether a request without a key is refused, with 400.
	Required bool `json:"required"`
}

// NeedsState implements penstock.Stateful.
func (c *ServerConfig) NeedsState() string {
	if c.Idempotency == nil {
		return ""
	}
	return "idempotency keys are remembered"
}

// Identity implements penstock.Identified.
func (c *ServerConfig) Identity() (meta string, remember time.Duration) {
	if c.Idempotency == nil || !c.Idempotency.Required {
		return "", 0
	}
	return strings.ToLower(c.Idempotency.Header), c.Idempotency.Window.Std()
}

// once remembers requests by their keys.
type once struct {
	header string // canonical
	config *IdempotencyConfig
	state  penstock.State
	flight *flight
}

// flight holds the keys of the requests that are being worked on. It is shared with the server that takes over in a reload.
type flight struct {
	mu   sync.Mutex
	keys map[string]fingerprint
}

// fingerprint tells one request from another.
type fingerprint [sha256.Size]byte

func newOnce(c *IdempotencyConfig, env penstock.Env) (*once, error) {
	if env.State == nil {
		return nil, penstock.E(penstock.Config, "http", "idempotency", "there is nothing to keep keys in")
	}
	o := &once{header: nethttp.CanonicalHeaderKey(c.Header), config: c, state: env.State, flight: &flight{keys: map[string]fingerprint{}}}
	if env.Shared == nil {
		return o, nil
	}
	v, err := env.Shared("http/idempotency/"+env.Name, func() (any, error) { return o.flight, nil })
	if err != nil {
		return nil, err
	}
	o.flight = v.(*flight)
	return o, nil
}

// keyOf reads the key of a request; "" where it needs none.
func (o *once) keyOf(r *nethttp.Request) (string, error) {
	values := r.Header[o.header]
	switch {
	case len(values) == 0 && (!o.config.Required || r.Method == nethttp.MethodGet || r.Method == nethttp.MethodHead):
		return "", nil
	case len(values) == 0:
		return "", &status{nethttp.StatusBadRequest, "the header " + o.header + " is missing: it tells a request that is sent again from a new one"}
	case len(values) > 1:
		return "", &status{nethttp.StatusBadRequest, "there are two " + o.header + " headers"}
	}
	key := strings.TrimSpace(values[0])
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	if key == "" || len(key) > 255 || !isHeaderValue(key) || strings.IndexFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0 {
		return "", &status{nethttp.StatusBadRequest, o.header + " is no key: up to 255 visible characters"}
	}
	return key, nil
}

// fingerprintOf sums up what makes the request what it is.
func (x *exchange) fingerprintOf() fingerprint {
	h := sha256.New()
	for _, part := range []string{x.r.Method, x.r.URL.EscapedPath(), x.r.URL.RawQuery, x.r.Header.Get("Authorization"), x.r.Header.Get("Content-Type")} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	h.Write(x.buf)
	return fingerprint(h.Sum(nil))
}

// begin looks a key up. The answer is there where the request was done before; else the caller works on it, and calls end in any case.
func (o *once) begin(ctx context.Context, key string, fp fingerprint) (done *answer, end func(), err error) {
	o.flight.mu.Lock()
	other, busy := o.flight.keys[key]
	if !busy {
		o.flight.keys[key] = fp
	}
	o.flight.mu.Unlock()
	switch {
	case busy && other != fp:
		return nil, nil, o.reused()
	case busy:
		return nil, nil, &status{nethttp.StatusConflict, "a request with this " + o.header + " is being worked on: ask again later"}
	}
	end = func() {
		o.flight.mu.Lock()
		delete(o.flight.keys, key)
		o.flight.mu.Unlock()
	}
	done, err = o.recorded(ctx, key, fp)
	if done != nil || err != nil {
		end()
		end = nil
	}
	return done, end, err
}

func (o *once) reused() error {
	return &status{nethttp.StatusUnprocessableEntity, "this " + o.header + " was used for another request"}
}

// recorded reads the answer that is recorded for a key; nil where there is none.
func (o *once) recorded(ctx context.Context, key string, fp fingerprint) (*answer, error) {
	v, err := o.state.Get(ctx, key)
	if err != nil || v == nil {
		return nil, err
	}
	a, was, err := readRecord(v)
	switch {
	case err != nil:
		return nil, err
	case was != fp:
		return nil, o.reused()
	case a == nil:
		return nil, &status{nethttp.StatusConflict, "this request was done; its reply was too large to be kept"}
	}
	a.header = append(a.header, [2]string{"Idempotency-Replayed", "true"})
	return a, nil
}

// record makes an answer durable before it is given. Where another one was recorded meanwhile, that one is given.
func (o *once) record(ctx context.Context, key string, fp fingerprint, a *answer) (*answer, error) {
	swapped, err := o.state.CompareAndSet(ctx, key, nil, appendRecord(nil, fp, a), o.config.Window.Std())
	switch {
	case err != nil:
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "http", Path: "idempotency", Err: err, Hint: "the request was done, and its reply was not recorded"}
	case swapped:
		return a, nil
	}
	return o.recorded(ctx, key, fp)
}

// lasting reports whether a failure is recorded: it would be the same again. Who may do what is not one: somebody may be given a right, also
// this program by a system that it asks.
func lasting(err error) bool {
	var st *status
	if errors.As(err, &st) {
		return false // said before the flow was asked
	}
	switch penstock.CodeOf(err) {
	case penstock.Invalid, penstock.NotFound, penstock.Conflict, penstock.TooLarge, penstock.Unprocessable:
		return true
	}
	return false
}

// maxRecorded is how large a reply may be to be kept.
const maxRecorded = 1 << 20

// A record: version, fingerprint, 1 where there is an answer, status, headers, body.
const recordVersion = 1

func appendRecord(b []byte, fp fingerprint, a *answer) []byte {
	b = append(append(b, recordVersion), fp[:]...)
	if len(a.body) > maxRecorded {
		return append(b, 0)
	}
	b = binary.AppendUvarint(append(b, 1), uint64(a.status))
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	text(a.contentType)
	b = binary.AppendUvarint(b, uint64(len(a.header)))
	for _, h := range a.header {
		text(h[0])
		text(h[1])
	}
	return append(b, a.body...)
}

var errRecord = errors.New("what is kept for an idempotency key can't be read")

func readRecord(b []byte) (*answer, fingerprint, error) {
	var fp fingerprint
	if len(b) < 2+len(fp) || b[0] != recordVersion {
		return nil, fp, errRecord
	}
	copy(fp[:], b[1:])
	if b = b[1+len(fp):]; b[0] == 0 {
		return nil, fp, nil
	}
	b = b[1:]
	ok := true
	number := func() int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<31 {
			ok = false
			return 0
		}
		b = b[n:]
		return int(v)
	}
	text := func() string {
		n := number()
		if !ok || n > len(b) {
			ok = false
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	a := &answer{status: number(), contentType: text()}
	for n := number(); ok && n > 0; n-- {
		a.header = append(a.header, [2]string{text(), text()})
	}
	if !ok || a.status < 200 || a.status > 599 {
		return nil, fp, fmt.Errorf("%w: it ends too early", errRecord)
	}
	a.body = b
	return a, fp, nil
}
