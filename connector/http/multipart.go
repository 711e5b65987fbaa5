package http

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
	"penstock.dev/penstock/jsonview"
)

// Part is one part of a multipart body (RFC 7578): a field of a form, or a file. What it holds is said by body or text; with neither it is the body of the
// message, which is sent from where it lies, however large it is.
type Part struct {
	// Name of the field.
	Name string `json:"name" penstock:"required,nonempty"`
	// Name of the file, for a part that is one.
	Filename penstock.Template `json:"filename" penstock:"place=plain"`
	// Content type of the part. Default: that of what it holds.
	Type string `json:"type"`
	// What the part holds, a data tree, as JSON.
	Body penstock.DataTree `json:"body"`
	// What the part holds, a text.
	Text penstock.Template `json:"text" penstock:"place=plain"`
}

// check is what Validate says of a part.
func (p *Part) check() error {
	if !p.Body.IsZero() && !p.Text.IsZero() {
		return fmt.Errorf("multipart: the part %s has body and text: keep one of them", p.Name)
	}
	if _, err := upstream.AppendField(nil, "Content-Type", p.Type); err != nil {
		return fmt.Errorf("multipart: the part %s: %w", p.Name, err)
	}
	return nil
}

// piece is a run of a body: made text, or bytes that lie elsewhere.
type piece struct {
	from, to int // of the made text
	outside  []byte
}

// multipart makes the body of a request of parts. What was made lies in w.body.
func (k *caller) multipart(w *work, f *penstock.Frame) error {
	boundary, err := newBoundary(f)
	if err != nil {
		return err
	}
	out := w.body[:0]
	var pieces []piece
	from := 0
	for i := range k.config.Multipart {
		p := &k.config.Multipart[i]
		out = append(append(append(out, "--"...), boundary...), "\r\nContent-Disposition: form-data; name=\""...)
		out = appendQuoted(out, p.Name)
		out = append(out, '"')
		if !p.Filename.IsZero() {
			name, err := evalText(&p.Filename, f)
			if err != nil {
				return err
			}
			out = append(out, "; filename=\""...)
			out = append(appendQuoted(out, name), '"')
		}
		out = append(out, "\r\n"...)
		var outside []byte
		if out, outside, err = k.part(out, p, f); err != nil {
			return err
		}
		if len(outside) > 0 {
			pieces = append(pieces, piece{from: from, to: len(out)}, piece{outside: outside})
			from = len(out)
		}
		out = append(out, "\r\n"...)
	}
	out = append(append(append(out, "--"...), boundary...), "--\r\n"...)
	pieces = append(pieces, piece{from: from, to: len(out)})
	w.body = out
	w.req.Body, w.req.Parts = nil, make([][]byte, 0, len(pieces))
	for _, p := range pieces {
		if p.outside == nil {
			p.outside = out[p.from:p.to]
		}
		w.req.Parts = append(w.req.Parts, p.outside)
	}
	return k.contentType(w, "multipart/form-data; boundary="+boundary)
}

// part appends what is between a part's disposition and its end. What need not be copied is returned.
func (k *caller) part(out []byte, p *Part, f *penstock.Frame) (made, outside []byte, err error) {
	kind := p.Type
	typed := func(def string) {
		if kind == "" {
			kind = def
		}
		out = append(append(append(out, "Content-Type: "...), kind...), "\r\n\r\n"...)
	}
	switch {
	case p.Body.Mapping != nil:
		typed("application/json")
		out, err = p.Body.Mapping.Append(out, f)
		return out, nil, err
	case !p.Text.IsZero():
		text, err := evalText(&p.Text, f)
		if err != nil {
			return out, nil, err
		}
		typed("text/plain; charset=utf-8")
		return append(out, text...), nil, nil
	}
	body, def, err := encodeBody(nil, f.Msg.Body, k.format)
	if err != nil {
		return out, nil, &penstock.Error{Code: penstock.CodeOf(err), Op: "http", Path: "multipart", Err: err}
	}
	typed(def)
	return out, body, nil
}

// evalText is the text of a template; nothing where the value is absent or null.
func evalText(t *penstock.Template, f *penstock.Frame) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	v := t.Program.Eval(f)
	if v.Kind() == penstock.KindNode {
		if d, n := v.Node(); d.Kind(n) == jsonview.Bytes {
			return string(d.Bytes()), nil
		}
	}
	if v.Kind() == penstock.KindBytes {
		return string(v.Bytes()), nil
	}
	return plainText(v)
}

// appendQuoted appends a name within quotes, as browsers write it (WHATWG HTML, multipart/form-data): nothing in it can end the quotes or the line.
func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			dst = append(dst, "%22"...)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// newBoundary makes what separates parts: it can't be guessed, so that no part holds it.
func newBoundary(f *penstock.Frame) (string, error) {
	if f.Runtime != nil && f.Runtime.UUID != nil {
		return "penstock-" + strings.ReplaceAll(f.Runtime.UUID(), "-", ""), nil
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return "penstock-" + hex.EncodeToString(b[:]), nil
}

// formBody makes the body of a form (application/x-www-form-urlencoded).
func (k *caller) formBody(w *work, f *penstock.Frame) error {
	text, err := k.config.Form.Mapping.Append(w.body[:0], f)
	if err != nil {
		return err
	}
	w.doc.Reset(jsonview.JSON, text)
	if err = w.doc.Parse(jsonview.Limits{}); err == nil {
		at := len(text)
		if text, err = appendQuery(text, &w.doc, 0); err == nil {
			w.body, w.req.Body = text, text[at:]
			return k.contentType(w, "application/x-www-form-urlencoded")
		}
	}
	return &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: "form", Err: err}
}

// checkBody is what Validate says of the ways to say what the body is.
func (c *CallConfig) checkBody(method string) []error {
	var errs []error
	ways := 0
	for _, is := range []bool{!c.Body.IsZero(), !c.Form.IsZero(), len(c.Multipart) > 0} {
		if is {
			ways++
		}
	}
	if ways > 1 {
		errs = append(errs, errors.New("a request has one body: keep one of body, form and multipart"))
	}
	if ways > 0 && (method == "GET" || method == "HEAD") {
		errs = append(errs, fmt.Errorf("a %s request has no body: leave body, form and multipart out, or use query", strings.ToLower(method)))
	}
	if !c.BodyFormat.IsZero() && (!c.Form.IsZero() || method == "GET" || method == "HEAD") {
		errs = append(errs, errors.New("bodyFormat says how a body is written, and this request has none that could be written otherwise: leave it out"))
	}
	if k := c.Form.Tree.Kind; k != penstock.TreeNone && k != penstock.TreeMap {
		errs = append(errs, errors.New("form is a map"))
	}
	for i := range c.Multipart {
		if err := c.Multipart[i].check(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
