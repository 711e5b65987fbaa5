package xml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// misfit is why a value can't be written, at a path that is filled in on the way out.
type misfit struct{ path, text string }

func (m *misfit) at(step string) *misfit {
	m.path = step + m.path
	return m
}

func (m *misfit) error() error {
	return &penstock.Error{Code: penstock.Unprocessable, Op: "xml", Path: "body" + m.path, Err: errors.New(m.text)}
}

// Encode implements penstock.Codec: one document. With `records` a list is many records.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "xml", Err: err}
	}
	if err := c.writable(); err != nil {
		return dst, err
	}
	out := c.begin(dst)
	name, level := c.recordName()
	if c.path != nil && d.Kind(0) == jsonview.Array {
		i := 0
		for e := d.First(0); e != jsonview.None; e = d.Next(e) {
			var bad *misfit
			if out, bad = c.element(out, name, d, e, level, len(c.path) == 1); bad != nil {
				return dst, bad.at("[" + strconv.Itoa(i) + "]").error()
			}
			out = append(out, '\n')
			if i++; i > 1 && len(c.path) == 1 {
				return dst, (&misfit{text: "`records` names the root itself, and a document has one of it"}).error()
			}
		}
		return c.end(out), nil
	}
	out, bad := c.element(out, name, d, 0, level, level == 0)
	if bad != nil {
		return dst, bad.error()
	}
	return c.end(append(out, '\n')), nil
}

// writable says why nothing can be written.
func (c *codec) writable() error {
	if c.root == "" && c.path == nil {
		return &penstock.Error{Code: penstock.Config, Op: "xml", Err: errors.New("nothing can be written without the name of the root"), Hint: "add `root: order`, or `records: /orders/order` for a document of many"}
	}
	for _, s := range c.path {
		if s == "*" {
			return &penstock.Error{Code: penstock.Config, Op: "xml", Err: errors.New("`*` in `records` is no name that can be written"), Hint: "name the elements"}
		}
	}
	return nil
}

// recordName is what the element of a record is called, and how deep it is.
func (c *codec) recordName() (string, int) {
	if c.path == nil {
		return c.root, 0
	}
	return c.path[len(c.path)-1], len(c.path) - 1
}

// begin appends what stands before the records.
func (c *codec) begin(dst []byte) []byte {
	if c.declare {
		dst = append(dst, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"...)
	}
	if c.path == nil {
		return dst
	}
	for i, name := range c.path[:len(c.path)-1] {
		dst = append(append(c.pad(dst, i), '<'), name...)
		if i == 0 {
			dst = c.declarations(dst)
		}
		dst = append(dst, '>', '\n')
	}
	return dst
}

// end appends what stands behind them.
func (c *codec) end(dst []byte) []byte {
	if c.path == nil {
		return dst
	}
	for i := len(c.path) - 2; i >= 0; i-- {
		dst = append(append(append(c.pad(dst, i), '<', '/'), c.path[i]...), '>', '\n')
	}
	return dst
}

// declarations of the namespaces, at the root.
func (c *codec) declarations(dst []byte) []byte {
	for _, b := range c.namespaces {
		dst = append(dst, " xmlns"...)
		if b.prefix != "" {
			dst = append(append(dst, ':'), b.prefix...)
		}
		dst = append(dst, '=', '"')
		dst, _ = appendEscaped(dst, b.uri, true)
		dst = append(dst, '"')
	}
	if c.nulls == "nil" && c.prefixes[xsiSpace] == "" {
		dst = append(dst, ` xmlns:xsi="`+xsiSpace+`"`...)
	}
	return dst
}

func (c *codec) pad(dst []byte, level int) []byte {
	for range level * c.indent {
		dst = append(dst, ' ')
	}
	return dst
}

// known says whether a name can be written: its prefix is declared.
func (c *codec) known(name string) bool {
	if !isName(name) {
		return false
	}
	prefix, _, ok := strings.Cut(name, ":")
	if !ok || prefix == "xml" {
		return name != "xmlns" || !ok
	}
	for _, b := range c.namespaces {
		if b.prefix == prefix {
			return true
		}
	}
	return false
}

const noName = "is no name of XML, or its prefix is not in `namespaces`"

// element appends an element; root says that it declares the namespaces.
func (c *codec) element(dst []byte, name string, d *jsonview.Doc, v jsonview.Node, level int, root bool) ([]byte, *misfit) {
	if level > c.depth {
		return dst, &misfit{text: fmt.Sprintf("elements are nested more than %d deep", c.depth)}
	}
	dst = append(append(c.pad(dst, level), '<'), name...)
	if root {
		dst = c.declarations(dst)
	}
	switch d.Kind(v) {
	case jsonview.Null:
		if c.nulls == "nil" {
			xsi := "xsi"
			if as := c.prefixes[xsiSpace]; as != "" {
				xsi = as
			}
			dst = append(dst, " "+xsi+`:nil="true"`...)
		}
		return append(dst, '/', '>'), nil
	case jsonview.Array:
		return dst, &misfit{text: "a list stands where one element is written"}
	case jsonview.Object:
		return c.object(dst, name, d, v, level)
	}
	mark := len(dst)
	dst, bad := c.scalar(append(dst, '>'), d, v, false)
	if bad == nil && len(dst) == mark+1 {
		return append(dst[:mark], '/', '>'), nil
	}
	return closeTag(dst, name), bad
}

func closeTag(dst []byte, name string) []byte {
	return append(append(append(dst, '<', '/'), name...), '>')
}

// scalar appends a value that is text.
func (c *codec) scalar(dst []byte, d *jsonview.Doc, v jsonview.Node, attribute bool) ([]byte, *misfit) {
	var text string
	switch d.Kind(v) {
	case jsonview.String:
		text = d.Str(v, nil)
	case jsonview.Number:
		return append(dst, d.Raw(v)...), nil
	case jsonview.True:
		return append(dst, "true"...), nil
	case jsonview.False:
		return append(dst, "false"...), nil
	case jsonview.Bytes:
		quoted := d.AppendJSON(nil, v)
		return append(dst, quoted[1:len(quoted)-1]...), nil
	default:
		return dst, &misfit{text: "text is wanted here, and this is " + d.Kind(v).String()}
	}
	dst, bad := appendEscaped(dst, text, attribute)
	if bad >= 0 {
		return dst, &misfit{text: fmt.Sprintf("the character U+%04X can't stand in XML", bad)}
	}
	return dst, nil
}

// appendEscaped appends text; bad is a character that can't stand there, -1 for none.
func appendEscaped(dst []byte, text string, attribute bool) (out []byte, bad rune) {
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		with := ""
		switch {
		case c == '&':
			with = "&amp;"
		case c == '<':
			with = "&lt;"
		case c == '>':
			with = "&gt;"
		case c == '\r':
			with = "&#13;"
		case c == '"' && attribute:
			with = "&quot;"
		case c == '\n' && attribute:
			with = "&#10;"
		case c == '\t' && attribute:
			with = "&#9;"
		case c < 0x20 && c != '\n' && c != '\t':
			return dst, rune(c)
		case c >= 0x80:
			r, n := utf8.DecodeRuneInString(text[i:])
			if !allowed(r) {
				return dst, r
			}
			i += n
			continue
		}
		if i++; with != "" {
			dst = append(append(dst, text[from:i-1]...), with...)
			from = i
		}
	}
	return append(dst, text[from:]...), -1
}

// object appends the attributes, the text and the elements of an object, and closes its element.
func (c *codec) object(dst []byte, name string, d *jsonview.Doc, v jsonview.Node, level int) ([]byte, *misfit) {
	text, elements := jsonview.None, 0
	for k := d.First(v); k != jsonview.None; k = d.Next(k) {
		key := string(d.Key(k, nil))
		value := d.Value(k)
		local, isAttribute := strings.CutPrefix(key, c.attributes)
		switch {
		case key == c.text:
			text = value
		case !isAttribute:
			elements++
		case d.Kind(value) == jsonview.Null:
		case !c.known(local) || local == "xmlns":
			return dst, (&misfit{text: noName}).at("." + key)
		default:
			dst = append(append(append(dst, ' '), local...), '=', '"')
			var bad *misfit
			if dst, bad = c.scalar(dst, d, value, true); bad != nil {
				return dst, bad.at("." + key)
			}
			dst = append(dst, '"')
		}
	}
	if text != jsonview.None && d.Kind(text) == jsonview.Null {
		text = jsonview.None
	}
	if text == jsonview.None && elements == 0 {
		return append(dst, '/', '>'), nil
	}
	dst = append(dst, '>')
	mark := len(dst)
	if text != jsonview.None {
		var bad *misfit
		if dst, bad = c.scalar(dst, d, text, false); bad != nil {
			return dst, bad.at("." + c.text)
		}
	}
	lines := c.indent > 0 && text == jsonview.None
	for k := d.First(v); k != jsonview.None; k = d.Next(k) {
		key := string(d.Key(k, nil))
		if key == c.text || strings.HasPrefix(key, c.attributes) {
			continue
		}
		if !c.known(key) {
			return dst, (&misfit{text: noName}).at("." + key)
		}
		var bad *misfit
		if dst, bad = c.children(dst, key, d, d.Value(k), level+1, lines); bad != nil {
			return dst, bad.at("." + key)
		}
	}
	if lines && len(dst) > mark {
		dst = c.pad(append(dst, '\n'), level)
	}
	if len(dst) == mark {
		return append(dst[:mark-1], '/', '>'), nil
	}
	return closeTag(dst, name), nil
}

// children appends the elements of one name: one, those of a list, none for null.
func (c *codec) children(dst []byte, name string, d *jsonview.Doc, v jsonview.Node, level int, lines bool) ([]byte, *misfit) {
	w := c
	if !lines && c.indent > 0 { // within text nothing may be indented
		inline := *c.dialect
		inline.indent = 0
		w = &codec{&inline}
	}
	one := func(v jsonview.Node) (bad *misfit) {
		if d.Kind(v) == jsonview.Null && c.nulls == "omit" {
			return nil
		}
		if lines {
			dst = append(dst, '\n')
		}
		dst, bad = w.element(dst, name, d, v, level, false)
		return bad
	}
	if d.Kind(v) != jsonview.Array {
		bad := one(v)
		return dst, bad
	}
	i := 0
	for e := d.First(v); e != jsonview.None; e = d.Next(e) {
		if bad := one(e); bad != nil {
			return dst, bad.at("[" + strconv.Itoa(i) + "]")
		}
		i++
	}
	return dst, nil
}

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return &encoder{codec: c} }

// encoder writes a document of records, or one.
type encoder struct {
	codec *codec
	begun bool
}

// Begin implements penstock.Encoder.
func (e *encoder) Begin(dst []byte) []byte {
	if e.codec.path == nil || len(e.codec.path) == 1 {
		return dst
	}
	return e.codec.begin(dst)
}

// Append implements penstock.Encoder.
func (e *encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	name, level := e.codec.recordName()
	if level == 0 {
		if e.begun {
			return dst, &penstock.Error{Code: penstock.Config, Op: "xml", Err: errors.New("a document has one root, and this is a second"), Hint: "write each message to a file of its own, or say `records: /…/…`"}
		}
		out, err := e.codec.Encode(dst, d)
		e.begun = err == nil
		return out, err
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "xml", Err: err}
	}
	if err := e.codec.writable(); err != nil {
		return dst, err
	}
	out, bad := e.codec.element(dst, name, d, 0, level, false)
	if bad != nil {
		return dst, bad.error()
	}
	return append(out, '\n'), nil
}

// End implements penstock.Encoder.
func (e *encoder) End(dst []byte) []byte {
	if e.codec.path == nil || len(e.codec.path) == 1 {
		return dst
	}
	return e.codec.end(dst)
}
