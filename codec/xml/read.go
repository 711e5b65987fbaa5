package xml

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"penstock.dev/penstock"
)

// node is an element of a record.
type node struct {
	raw, name   string
	first, last int32 // elements in it; 0: none
	next        int32 // beside it
	attrs, end  int32 // of the reader's attributes
	same        int32 // the next of its name beside it, while it is written
	pieces      int32 // of text that is not blank
	text        []byte
	owned       bool // text is memory of its own
	isNil       bool
	scope       *scope
}

// reader reads one record at a time. It is used again for others.
type reader struct {
	*dialect
	src    []byte
	nodes  []node // the first is the record
	attrs  []attr
	open   []int32
	tag    tag
	groups []group
	path   []string
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// keepNodes is how many nodes a reader keeps for the next record.
const keepNodes = 1 << 13

// record appends the JSON of the element that is all of src. line is where it begins, for errors.
func (c *codec) record(dst, src []byte, outer *scope, line int) ([]byte, error) {
	r := readers.Get().(*reader)
	r.dialect, r.src = c.dialect, src
	r.nodes, r.attrs, r.open, r.groups, r.path = r.nodes[:0], r.attrs[:0], r.open[:0], r.groups[:0], r.path[:0]
	out := dst
	bad := r.tree(outer)
	var err error
	if bad == nil {
		out, err = r.value(dst, 0, c.typ)
		if err == nil && len(out) == len(dst) {
			out = append(out, "null"...)
		}
	} else {
		err = r.error(bad, line)
	}
	r.dialect, r.src = nil, nil
	if cap(r.nodes) > keepNodes {
		r.nodes, r.attrs = nil, nil
	} else {
		clear(r.nodes[:cap(r.nodes)])
	}
	readers.Put(r)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// error says where a fault is: in which element, line and column.
func (r *reader) error(bad *fault, line int) error {
	where := ""
	for _, i := range r.open {
		where += "/" + r.nodes[i].raw
	}
	return located(bad, r.src, line, where)
}

// located makes an error of a fault in src, which begins at a line.
func located(bad *fault, src []byte, line int, where string) error {
	at := min(bad.at, len(src))
	column := at - bytes.LastIndexByte(src[:at], '\n')
	path := fmt.Sprintf("line %d, column %d", line+bytes.Count(src[:at], []byte{'\n'}), column)
	if where != "" {
		path = where + ", " + path
	}
	return &penstock.Error{Code: bad.code, Op: "xml", Path: path, Err: errors.New(bad.text), Hint: bad.hint}
}

// tree reads the record into nodes.
func (r *reader) tree(outer *scope) *fault {
	src := r.src
	for i := 0; i < len(src); {
		if src[i] != '<' {
			n := bytes.IndexByte(src[i:], '<')
			if n < 0 {
				n = len(src) - i
			}
			if bad := r.text(i, i+n, false); bad != nil {
				return bad
			}
			i += n
			continue
		}
		kind, end, bad := scan(src, i)
		switch {
		case bad != nil:
			return bad
		case kind == noMarkup:
			return invalid(i, "what begins here has no end")
		case len(r.open) == 0 && len(r.nodes) > 0:
			return invalid(i, "an element stands behind the record")
		}
		switch kind {
		case startTag, emptyTag:
			if bad := r.begin(i, end, outer, kind == emptyTag); bad != nil {
				return bad
			}
		case endTag:
			if bad := r.close(i, end); bad != nil {
				return bad
			}
		case cdata:
			if bad := r.text(i+len("<![CDATA["), end-len("]]>"), true); bad != nil {
				return bad
			}
		case comment:
			if bad := checkComment(src, i, end); bad != nil {
				return bad
			}
		case processing:
			if bad := checkProcessing(src, i, end, false); bad != nil {
				return bad
			}
		default:
			return invalid(i, "a document type declaration stands within an element")
		}
		i = end
	}
	if len(r.open) > 0 {
		return invalid(len(src), "the element <%s> is not closed", r.nodes[r.open[len(r.open)-1]].raw)
	}
	return nil
}

// checkComment holds a comment to what it may be.
func checkComment(src []byte, i, end int) *fault {
	body := src[i+4 : end-3]
	if n := bytes.Index(body, []byte("--")); n >= 0 || len(body) > 0 && body[len(body)-1] == '-' {
		return invalid(i+4+max(n, 0), "`--` stands in a comment")
	}
	_, bad := appendText(nil, body, i+4, false, true)
	return bad
}

// checkProcessing holds a processing instruction, or the declaration, to what it may be.
func checkProcessing(src []byte, i, end int, declaration bool) *fault {
	body := src[i+2 : end-2]
	n := nameEnd(body, 0)
	if n == 0 {
		return invalid(i, "a processing instruction has no name")
	}
	if n < len(body) && !space(body[n]) {
		return invalid(i+2+n, "a blank is missing behind the name of a processing instruction")
	}
	if bytes.EqualFold(body[:n], []byte("xml")) && !declaration {
		return invalid(i, "an XML declaration can only stand at the beginning")
	}
	_, bad := appendText(nil, body[n:], i+2+n, false, true)
	return bad
}

func (r *reader) begin(i, end int, outer *scope, empty bool) *fault {
	around := outer
	if len(r.open) > 0 {
		around = r.nodes[r.open[len(r.open)-1]].scope
	}
	if len(r.open) >= r.depth {
		return &fault{at: i, code: penstock.TooLarge, text: "elements are nested more than " + strconv.Itoa(r.depth) + " deep"}
	}
	t := &r.tag
	if bad := t.parse(r.dialect, r.src, i, end, around); bad != nil {
		return bad
	}
	at := int32(len(r.nodes))
	n := node{raw: text2string(t.raw), name: t.name, attrs: int32(len(r.attrs)), isNil: t.isNil, scope: t.scope}
	r.attrs = append(r.attrs, t.attrs...)
	n.end = int32(len(r.attrs))
	r.nodes = append(r.nodes, n)
	if len(r.open) > 0 {
		p := &r.nodes[r.open[len(r.open)-1]]
		if p.first == 0 {
			p.first = at
		} else {
			r.nodes[p.last].next = at
		}
		p.last = at
	}
	if !empty {
		r.open = append(r.open, at)
	}
	return nil
}

func (r *reader) close(i, end int) *fault {
	raw := bytes.TrimRight(r.src[i+2:end-1], " \t\r\n")
	if len(r.open) == 0 {
		return invalid(i, "</%.40s> closes nothing", raw)
	}
	n := &r.nodes[r.open[len(r.open)-1]]
	if n.raw != string(raw) {
		return invalid(i, "</%.40s> stands where <%.40s> is to be closed", raw, n.raw)
	}
	r.open = r.open[:len(r.open)-1]
	return nil
}

// text adds a piece of text to the element that is open.
func (r *reader) text(start, end int, literal bool) *fault {
	raw := r.src[start:end]
	if len(r.open) == 0 {
		if blank(raw) && !literal {
			return nil
		}
		return invalid(start, "text stands outside of the element")
	}
	n := &r.nodes[r.open[len(r.open)-1]]
	if n.first != 0 && blank(raw) && !literal {
		return nil // between elements
	}
	piece, owned := raw, false
	if !plainText(raw) {
		var bad *fault
		if piece, bad = appendText(make([]byte, 0, len(raw)), raw, start, false, literal); bad != nil {
			return bad
		}
		owned = true
	}
	if !blank(piece) {
		n.pieces++
	}
	switch {
	case len(n.text) == 0:
		n.text, n.owned = piece, owned
	case n.owned:
		n.text = append(n.text, piece...)
	default:
		n.text, n.owned = append(append(make([]byte, 0, 2*(len(n.text)+len(piece))), n.text...), piece...), true
	}
	return nil
}
