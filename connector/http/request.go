package http

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
	"penstock.dev/penstock/jsonview"
)

// requester makes the requests of one use: everything of them that does not depend on what becomes of the answer. It is safe for
// concurrent use; the memory that it works in is not.
type requester struct {
	up        *client
	method    string
	path      *penstock.Template
	query     *penstock.DataTree // nil, or zero: none
	headers   *headerSet
	key       *penstock.Template // of idempotency; nil, or zero: none
	format    penstock.Format    // of the body
	place     string             // for errors: the method, and the path as it stands in the file
	repeats   bool
	max       int64 // of the answer's body
	redirects Redirects
}

// work is the memory of one request and its answer, used again.
type work struct {
	req     upstream.Request
	res     upstream.Response
	head    []byte
	target  []byte
	body    []byte // made
	doc     jsonview.Doc
	queries jsonview.Doc
}

// forget lets go of what belongs to a message.
func (w *work) forget() {
	w.req.Body, w.req.Parts, w.req.Alloc, w.res.Body = nil, nil, nil, nil
	if cap(w.body) > 1<<20 {
		w.body = nil
	}
}

// prepare makes the request for the message of f. Its body is that of doc; nil is none.
func (k *requester) prepare(ctx context.Context, w *work, f *penstock.Frame, doc *jsonview.Doc) error {
	if err := k.head(ctx, w, f); err != nil {
		return err
	}
	w.req.Body = nil
	if doc == nil {
		return nil
	}
	body, kind, err := encodeBody(w.body[:0], doc, k.format)
	if err != nil {
		return &penstock.Error{Code: penstock.CodeOf(err), Op: "http", Path: "body", Err: err}
	}
	if k.format.Codec != nil {
		w.body = body
	}
	w.req.Body = body
	if own := f.Msg.EventContentType(); own != "" {
		kind = own
	}
	return k.contentType(w, kind)
}

func (k *requester) contentType(w *work, kind string) (err error) {
	if !k.headers.has["content-type"] {
		w.head, err = upstream.AppendField(w.head, "Content-Type", kind)
		w.req.Header = w.head
	}
	return err
}

func (k *requester) addQuery(w *work, f *penstock.Frame) error {
	from := len(w.target)
	var err error
	if w.target, err = k.query.Mapping.Append(w.target, f); err != nil {
		return err
	}
	w.queries.Reset(jsonview.JSON, f.Arena.Copy(w.target[from:]))
	if err = w.queries.Parse(jsonview.Limits{}); err == nil {
		sep := byte('?')
		if bytes.IndexByte(w.target[:from], '?') >= 0 {
			sep = '&'
		}
		w.target, err = appendQuery(w.target[:from], &w.queries, sep)
	}
	if err != nil {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: "query", Err: err}
	}
	return nil
}

// method is a key that says what is asked for, with its path.
type method struct {
	name string
	path *penstock.Template
}

// chosen gives the one method that is there; an error where there is not exactly one.
func chosen(all []method) (string, *penstock.Template, error) {
	var found *method
	var names []string
	for i := range all {
		m := &all[i]
		names = append(names, strings.ToLower(m.name))
		if m.path.IsZero() {
			continue
		}
		if found != nil {
			return "", nil, fmt.Errorf("there are two methods, %s and %s: keep one", strings.ToLower(found.name), strings.ToLower(m.name))
		}
		found = m
	}
	if found == nil {
		last := len(names) - 1
		return "", nil, fmt.Errorf("it says no method: add one of %s and %s, with a path such as \"/orders\"", strings.Join(names[:last], ", "), names[last])
	}
	if err := checkPathSource(found.path.Source); err != nil {
		return "", nil, fmt.Errorf("%s: %w", strings.ToLower(found.name), err)
	}
	return found.name, found.path, nil
}

// idempotent says whether a second request has no second effect (RFC 9110, section 9.2.2).
func idempotent(method string, key penstock.Template) bool {
	switch method {
	case "GET", "HEAD", "PUT", "DELETE":
		return true
	}
	return !key.IsZero()
}

// encodeBody gives the bytes of a document and their content type. Text and JSON are not copied.
func encodeBody(dst []byte, d *jsonview.Doc, format penstock.Format) ([]byte, string, error) {
	if format.Codec != nil {
		out, err := format.Codec.Encode(dst, d)
		return out, typeOf(format.Name), err
	}
	switch d.Format() {
	case jsonview.Text:
		return notNil(d.Bytes()), "text/plain; charset=utf-8", nil
	case jsonview.Binary:
		return notNil(d.Bytes()), "application/octet-stream", nil
	case jsonview.JSON:
		if b := d.Bytes(); len(b) > 0 && (!d.Parsed() || d.Kind(0) != jsonview.Invalid) {
			return b, "application/json", nil
		}
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, "", &penstock.Error{Code: penstock.Invalid, Op: "http", Path: "body", Err: err}
	}
	return d.AppendJSON(nil, 0), "application/json", nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// typeOf is the content type of what a codec writes.
func typeOf(codec string) string {
	switch codec {
	case "json":
		return "application/json"
	case "csv":
		return "text/csv; charset=utf-8"
	case "text":
		return "text/plain; charset=utf-8"
	case "xml":
		return "application/xml"
	}
	return "application/octet-stream"
}

func appendValue(dst []byte, name string, v penstock.Value) ([]byte, error) {
	text, err := plainText(v)
	if err != nil || text == "" {
		return dst, err
	}
	if dst, err = upstream.AppendField(dst, name, text); err != nil {
		return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: "headers", Err: err}
	}
	return dst, nil
}

// plainText is the text of a value; "" where it is absent or null.
func plainText(v penstock.Value) (string, error) {
	for v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	switch v.Kind() {
	case penstock.KindString:
		return v.Str(), nil
	case penstock.KindError:
		return "", v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	case penstock.KindNode:
		if v = v.Load(nil); v.IsAbsent() || v.Kind() == penstock.KindNull {
			return "", nil
		}
	}
	b, err := v.AppendText(nil)
	return string(b), err
}
