package penstock

import (
	"context"
	"fmt"

	"penstock.dev/penstock/jsonview"
)

// Payloads makes the bodies of messages that come one by one, each whole: the value of a record in Kafka, the payload of a message in AMQP or
// MQTT. It is what connectors to brokers have in common, as [Records] is for those that read streams. It is not changed by its use, and safe for
// concurrent use with different batches.
type Payloads struct {
	op     string
	codec  Codec
	framer Framer // of formats that are read where they lie, when somebody asks; nil: the codec decodes the whole at once
	max    int
}

// NewPayloads makes bodies by a format. op is what errors begin with (the driver's name), and max the largest payload in bytes, the `maxRecord` of
// a configuration; 0 or less is no bound of this one's. It fails with Config where the format has no codec.
func NewPayloads(op string, f Format, max Size) (*Payloads, error) {
	p := &Payloads{op: op, codec: f.Codec, max: int(max)}
	if p.codec == nil {
		return nil, E(Config, op, "format", "no codec")
	}
	if l, ok := p.codec.(Limiter); ok && p.max > 0 {
		p.codec = l.WithMaxRecord(p.max)
	}
	switch f.Name {
	case "json", "text", "bytes": // a payload is one record of theirs, whatever is in it
		p.framer = p.codec.NewFramer(op)
	}
	return p, nil
}

// Prepares says that the codec may have to ask another system before it can read a payload: then Prepare is to be called before Body.
func (p *Payloads) Prepares() bool {
	_, ok := p.codec.(Preparing)
	return ok && p.framer == nil
}

// Prepare asks for what is needed to read a payload, if that is not known: see [Preparing]. An error says that it can't be had now.
func (p *Payloads) Prepare(ctx context.Context, payload []byte) error {
	c, ok := p.codec.(Preparing)
	if !ok || p.framer != nil || p.max > 0 && len(payload) > p.max {
		return nil
	}
	return c.Prepare(ctx, payload)
}

// Body makes d, the body of a message of into, the document of a payload, which stays unchanged as long as d lives. An empty payload is null: JSON
// has no empty document, and few brokers have a null. On an error, which is the message's (see [Batch.Fail]), d is the payload as bytes: TooLarge where
// it is over the bound, else what the codec says of it, Invalid where that is no [Error]. JSON is not looked at here, but when it is first read.
func (p *Payloads) Body(into *Batch, d *jsonview.Doc, payload []byte) error {
	switch {
	case len(payload) == 0:
		return nil
	case p.max > 0 && len(payload) > p.max:
		d.Reset(jsonview.Binary, payload)
		return &Error{Code: TooLarge, Op: p.op, Path: "body", Err: fmt.Errorf("the payload has %d bytes, more than the %s that are read", len(payload), Size(p.max)), Hint: "raise `maxRecord`"}
	case p.framer != nil:
		p.framer.Bind(d, payload)
		return nil
	}
	text, err := p.codec.Decode(into.Arena().Tail(len(payload)), payload)
	if err != nil {
		d.Reset(jsonview.Binary, payload)
		code := CodeOf(err)
		if code == Internal {
			code = Invalid
		}
		return &Error{Code: code, Op: p.op, Path: "body", Err: err}
	}
	d.Reset(jsonview.JSON, into.Arena().Keep(text))
	return nil
}

// ContentType is the media type (RFC 6838) of what the codec of a format writes, as drivers send it where the configuration names none; "" for a codec
// that is not one of Penstock's own.
func (f Format) ContentType() string {
	switch f.Name {
	case "json":
		return "application/json"
	case "csv":
		return "text/csv; charset=utf-8"
	case "text":
		return "text/plain; charset=utf-8"
	case "xml":
		return "application/xml"
	case "form":
		return "application/x-www-form-urlencoded"
	case "bytes":
		return "application/octet-stream"
	case "protobuf":
		return "application/x-protobuf"
	case "avro":
		return "application/avro"
	}
	return ""
}
