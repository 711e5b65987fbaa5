package xml

import (
	"bytes"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer { return c.newFramer() }

func (c *codec) newFramer() *framer { return &framer{codec: c, next: 1} }

// framer finds the elements that are records.
type framer struct {
	codec *codec
	tag   tag
	open  []wrapper // elements around the records
	begun bool      // something was there
	root  bool      // the root was there
	next  int       // line of what comes next
	line  int       // of the record
	scope *scope    // around the record
	// Of a record that is not all there yet, or is too large: how far it was looked at, and how deep it is there.
	seen, depth int
	skip        bool
}

// wrapper is an element around the records.
type wrapper struct {
	raw   string
	scope *scope
	path  bool // it is one of the path
}

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	if f.depth > 0 || f.skip {
		return f.record(data, atEOF)
	}
	i := 0
	if !f.begun {
		n, more, bad := head(data, atEOF)
		if bad != nil {
			return 0, nil, located(bad, data, f.next, "")
		}
		if more {
			return 0, nil, nil
		}
		f.begun, i = true, n
	}
	for i < len(data) {
		if data[i] != '<' {
			n := bytes.IndexByte(data[i:], '<')
			if n < 0 {
				n = len(data) - i
			}
			if len(f.open) == 0 && !blank(data[i:i+n]) {
				return 0, nil, located(invalid(skipSpace(data, i), "text stands outside of the root element"), data, f.next, "")
			}
			i += n
			continue
		}
		kind, end, bad := scan(data, i)
		if bad == nil && kind == noMarkup {
			if i > 0 {
				break
			}
			if !atEOF && len(data) <= f.codec.max {
				return 0, nil, nil
			}
			bad = invalid(i, "what begins here has no end")
			if !atEOF {
				bad = &fault{at: i, code: penstock.TooLarge, text: fmt.Sprintf("what begins here has more than %d bytes", f.codec.max)}
			}
		}
		if bad == nil {
			var isRecord bool
			if isRecord, bad = f.markup(data, kind, i, end); isRecord && bad == nil {
				if i > 0 {
					break // so that the record's place is its own
				}
				return f.begin(data, kind, end, atEOF)
			}
		}
		if bad != nil {
			return 0, nil, located(bad, data, f.next, f.where())
		}
		i = end
	}
	f.next += bytes.Count(data[:i], newline)
	if i == 0 && atEOF {
		return 0, nil, nil
	}
	return i, nil, nil
}

var newline = []byte{'\n'}

func (f *framer) where() string {
	out := ""
	for _, w := range f.open {
		out += "/" + w.raw
	}
	return out
}

// over says what is missing at the end.
func (f *framer) over() error {
	switch {
	case len(f.open) > 0:
		return &penstock.Error{Code: penstock.Invalid, Op: "xml", Path: fmt.Sprintf("%s, line %d", f.where(), f.next), Err: fmt.Errorf("the element <%s> is not closed", f.open[len(f.open)-1].raw)}
	case !f.root:
		return &penstock.Error{Code: penstock.Invalid, Op: "xml", Err: fmt.Errorf("there is no element")}
	}
	return nil
}

// head steps over a byte order mark, and refuses what is no UTF-8; more says that it can't tell yet.
func head(data []byte, atEOF bool) (n int, more bool, bad *fault) {
	if len(data) < 16 && !atEOF {
		return 0, true, nil
	}
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		n = 3
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")), bytes.HasPrefix(data, []byte{0, '<'}), bytes.HasPrefix(data, []byte{'<', 0}):
		return 0, false, &fault{code: penstock.Invalid, text: "the text is UTF-16; only UTF-8 is read", hint: "convert it first: iconv -f UTF-16 -t UTF-8"}
	}
	if !bytes.HasPrefix(data[n:], []byte("<?xml")) || len(data) > n+5 && !space(data[n+5]) {
		return n, false, nil
	}
	end := bytes.Index(data[n:], []byte("?>"))
	if end < 0 {
		if !atEOF && len(data) < 1024 {
			return 0, true, nil
		}
		return 0, false, invalid(n, "the XML declaration has no end")
	}
	declared := data[n : n+end]
	if at := bytes.Index(declared, []byte("encoding")); at >= 0 {
		value := bytes.TrimLeft(declared[at+len("encoding"):], " \t\r\n=")
		if len(value) > 1 {
			value = value[1 : 1+max(0, bytes.IndexByte(value[1:], value[0]))]
		}
		if s := string(bytes.ToLower(value)); s != "utf-8" && s != "us-ascii" && s != "ascii" && s != "utf8" {
			return 0, false, &fault{at: n + at, code: penstock.Invalid, text: fmt.Sprintf("the text says that it is %.40q; only UTF-8 is read", value), hint: "convert it first: iconv -t UTF-8"}
		}
	}
	if at := bytes.Index(declared, []byte("version")); at < 0 || !bytes.Contains(declared[at:], []byte("1.")) {
		return 0, false, invalid(n, "the XML declaration names no version 1 of XML")
	}
	return n + end + 2, false, nil
}

// markup looks at what stands outside of records, and says whether it begins one.
func (f *framer) markup(data []byte, kind markup, i, end int) (bool, *fault) {
	switch kind {
	case comment:
		return false, checkComment(data, i, end)
	case processing:
		return false, checkProcessing(data, i, end, false)
	case doctype:
		switch {
		case f.root:
			return false, invalid(i, "a document type declaration stands behind the root")
		case !f.codec.doctype:
			return false, &fault{at: i, code: penstock.Invalid, text: "a document type declaration is refused", hint: "say `doctype: skip` to step over it; what it declares is never followed"}
		}
		return false, nil
	case cdata:
		if len(f.open) == 0 {
			return false, invalid(i, "text stands outside of the root element")
		}
		return false, nil
	case endTag:
		raw := bytes.TrimRight(data[i+2:end-1], " \t\r\n")
		if len(f.open) == 0 {
			return false, invalid(i, "</%.40s> closes nothing", raw)
		}
		if w := f.open[len(f.open)-1]; w.raw != string(raw) {
			return false, invalid(i, "</%.40s> stands where <%.40s> is to be closed", raw, w.raw)
		}
		f.open = f.open[:len(f.open)-1]
		return false, nil
	}
	return f.element(data, kind, i, end)
}

func (f *framer) element(data []byte, kind markup, i, end int) (bool, *fault) {
	level := len(f.open)
	if level == 0 && f.root {
		return false, invalid(i, "a second root element begins")
	}
	if level >= f.codec.depth {
		return false, &fault{at: i, code: penstock.TooLarge, text: fmt.Sprintf("elements are nested more than %d deep", f.codec.depth)}
	}
	var outer *scope
	within := true
	if level > 0 {
		outer, within = f.open[level-1].scope, f.open[level-1].path
	}
	if bad := f.tag.parse(f.codec.dialect, data, i, end, outer); bad != nil {
		return false, bad
	}
	path := f.codec.path
	if path == nil {
		if root := f.codec.root; root != "" && root != f.tag.name {
			return false, &fault{at: i, code: penstock.Unprocessable, text: fmt.Sprintf("the root is <%s>, and <%s> is expected", f.tag.name, root)}
		}
		f.scope = outer
		return true, nil
	}
	within = within && level < len(path) && (path[level] == "*" || path[level] == f.tag.name)
	if level == 0 && !within {
		return false, &fault{at: i, code: penstock.Unprocessable, text: fmt.Sprintf("the root is <%s>, and <%s> is expected", f.tag.name, path[0])}
	}
	if within && level == len(path)-1 {
		f.scope = outer
		return true, nil
	}
	f.root = true
	if kind == startTag {
		f.open = append(f.open, wrapper{raw: string(f.tag.raw), scope: f.tag.scope, path: within})
	}
	return false, nil
}

// begin is at the start tag of a record.
func (f *framer) begin(data []byte, kind markup, end int, atEOF bool) (int, []byte, error) {
	f.line = f.next
	if len(f.open) == 0 {
		f.root = true
	}
	if kind == emptyTag {
		f.next += bytes.Count(data[:end], newline)
		return end, data[:end:end], nil
	}
	f.depth, f.seen = 1, end
	return f.record(data, atEOF)
}

// record looks for the end of a record that begins with data, or, when it is too large, began before it.
func (f *framer) record(data []byte, atEOF bool) (int, []byte, error) {
	i := f.seen
	for {
		n := bytes.IndexByte(data[i:], '<')
		if n < 0 {
			i = len(data)
			break
		}
		i += n
		kind, end, bad := scan(data, i)
		if bad != nil { // what follows can't be told apart any more
			return 0, nil, located(bad, data, f.next, f.where())
		}
		if kind == noMarkup {
			break
		}
		i = end
		switch kind {
		case startTag:
			f.depth++
		case endTag:
			f.depth--
		}
		if f.depth == 0 {
			f.seen = 0
			f.next += bytes.Count(data[:i], newline)
			if f.skip {
				f.skip = false
				return i, nil, nil
			}
			if i > f.codec.max {
				return i, nil, f.tooLarge()
			}
			return i, data[:i:i], nil
		}
	}
	f.seen = i
	switch {
	case atEOF:
		return 0, nil, &penstock.Error{Code: penstock.Invalid, Op: "xml", Path: fmt.Sprintf("%s, line %d", f.where(), f.line), Err: fmt.Errorf("the element that begins here has no end")}
	case f.skip:
		if i == 0 && len(data) <= f.codec.max {
			return 0, nil, nil
		}
		i = max(i, len(data)-f.codec.max)
		f.seen = 0
		f.next += bytes.Count(data[:i], newline)
		return i, nil, nil
	case i > f.codec.max || len(data) > 2*f.codec.max:
		f.skip, f.seen = true, 0
		f.next += bytes.Count(data[:i], newline)
		return i, nil, f.tooLarge()
	}
	return 0, nil, nil
}

func (f *framer) tooLarge() error {
	return &penstock.Error{Code: penstock.TooLarge, Op: "xml", Path: fmt.Sprintf("line %d", f.line), Err: fmt.Errorf("an element of more than %d bytes", f.codec.max), Hint: "raise maxRecord if it is meant; if it holds many records, name them with `records: /…`"}
}

// Bind implements penstock.Framer. An element that can't be read fails when it is.
func (f *framer) Bind(d *jsonview.Doc, record []byte) {
	d.ResetLazy(record, lazy{codec: f.codec, scope: f.scope, line: max(f.line, 1)})
}
