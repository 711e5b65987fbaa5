package resource

import (
	"slices"
	"strings"

	"penstock.dev/penstock"
)

// ReadEvent says that a CloudEvent is read. It has no fields.
type ReadEvent struct {
	Place
}

// WriteEvent is a CloudEvent that is written.
type WriteEvent struct {
	Place
	// How it travels. structured: the body becomes the envelope, in JSON. binary: the attributes become headers, and the body stays. batch: the body, a list of envelopes, is sent as a batch; it takes no other field.
	Mode string `json:"mode" penstock:"enum=structured|binary|batch,default=structured"`
	// What kind of event it is, such as com.example.order.placed. Left out, meta["ce-type"]; there must be one.
	Type penstock.Template `json:"type"`
	// Where it happened: a URI reference, such as /shop. Left out, meta["ce-source"]; there must be one.
	Source penstock.Template `json:"source"`
	// What it is unique by within its source. Left out, meta["ce-id"] of an event that goes on as it came, and else the identity of the message, which is the same again after a crash.
	ID penstock.Template `json:"id"`
	// What it is about within the source, such as an order's number.
	Subject penstock.Template `json:"subject"`
	// When it happened, as in RFC 3339.
	Time penstock.Template `json:"time"`
	// Where the schema of the data is: a URI.
	DataSchema penstock.Template `json:"dataSchema"`
	// Content type of the data. Left out, that of the message (meta["content-type"]) where it fits the body, and else application/json, text/plain or application/octet-stream.
	ContentType string `json:"contentType" penstock:"nonempty"`
	// Further attributes, by name: lower-case letters and digits.
	Extensions map[string]penstock.Template `json:"extensions"`
}

// reservedAttributes are names that no extension may have.
var reservedAttributes = []string{"specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype", "data"}

func (e *WriteEvent) check(d *Decoder) {
	for name := range e.Extensions {
		pos := e.Node.Get("extensions").Entry(name).KeyPos
		switch {
		case slices.Contains(reservedAttributes, name):
			d.errorf(pos, "wrong-value", name, "use the field of its own", "`%s` is an attribute of each event, and no extension", name)
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || name == "":
			d.errorf(pos, "wrong-value", name, "write it as in traceparent", "an attribute's name is of lower-case letters and digits, and this is %q", name)
		}
	}
	if e.Mode != "batch" {
		return
	}
	for _, f := range []string{"type", "source", "id", "subject", "time", "dataSchema", "contentType", "extensions"} {
		if e.Has(f) {
			d.errorf(e.AtKey(f), "wrong-field", f, "encode each event as `structured` before they are gathered", "`%s` speaks of one event, and a batch is a list of whole ones", f)
		}
	}
}
