package nats

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"penstock.dev/penstock"
)

// The header that carries the key of a message, unless the configuration names another, and where a message's subject is found in its meta.
const (
	keyHeader   = "Penstock-Key"
	metaSubject = "nats-subject"
)

// message is one that the client has received.
type message struct {
	subject string
	header  nats.Header
	data    []byte
}

// decoder makes messages of what comes.
type decoder struct {
	bodies  *penstock.Payloads
	keyName string // header of the key
}

// preparation is for a source that can hold back what can't be read yet.
func (d *decoder) preparation(env penstock.Env) *penstock.Preparation {
	return d.bodies.Preparation(env)
}

func newDecoder(f penstock.Format, keyName string) (*decoder, error) {
	bodies, err := penstock.NewPayloads("nats", f, 0) // the server bounds them
	if err != nil {
		return nil, err
	}
	return &decoder{bodies: bodies, keyName: cmp.Or(keyName, keyHeader)}, nil
}

// decode fills m, which is the last of b. Where the body can't be read it is left as bytes, and the error is the message's.
func (d *decoder) decode(b *penstock.Batch, m *penstock.Message, in *message) error {
	m.Meta.Add(metaSubject, penstock.StringValue(in.subject))
	for name, values := range in.header {
		if len(values) == 0 {
			continue
		}
		v := values[0]
		if len(values) > 1 {
			v = strings.Join(values, ", ")
		}
		if name == d.keyName {
			m.Key = valid(v)
			continue
		}
		m.Meta.Set(name, penstock.StringValue(valid(v)))
	}
	return d.bodies.Body(b, m.Body, b.Arena().Copy(in.data))
}

// valid makes text of what a header may hold.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// reserved says of a name of meta that it is no header of ours to send: NATS gives those that begin so a meaning (Nats-Rollup empties a stream), and those
// that a received message brought along are not meant for the next.
func reserved(name string) bool {
	return len(name) >= 5 && strings.EqualFold(name[:5], "nats-") || name == "status" || name == "description"
}
