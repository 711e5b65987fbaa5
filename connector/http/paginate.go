package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Paginate implements penstock.Paginated.
func (c *CallConfig) Paginate(p penstock.Pages) error {
	switch {
	case c.Get.IsZero():
		return errors.New("pages are asked for with get: a second request of another method may have a second effect")
	case c.full():
		return errors.New("reply: full is one answer, and pages are several: keep one of them")
	}
	c.pages = &p
	return nil
}

// inPages asks for page after page and gives one list.
func (k *caller) inPages(ctx context.Context, w *work, f *penstock.Frame, into *penstock.Message) error {
	if err := k.head(ctx, w, f); err != nil {
		return err
	}
	p := k.config.pages
	first := w.req
	base := bytes.Clone(w.target)
	header := bytes.Clone(w.head) // a redirect of one page is none of the next
	out := append(make([]byte, 0, 4<<10), '[')
	cursor := ""
	for page, seen := 0, 0; ; page++ {
		if page == p.Max {
			return &penstock.Error{Code: penstock.TooLarge, Op: "http", Path: k.place, Err: fmt.Errorf("there are more than %d pages", p.Max), Hint: "raise paginate.max if it is meant"}
		}
		w.req = first
		w.target = k.pageTarget(append(w.target[:0], base...), page, seen, cursor)
		w.head = append(w.head[:0], header...)
		w.req.Target, w.req.Header = w.target, w.head
		asked := bytes.Clone(w.target)
		if err := k.exchange(ctx, w); err != nil {
			return err
		}
		doc := jsonview.Doc{}
		absent, err := k.read(w, &doc)
		if err != nil {
			return err
		}
		if absent && page == 0 {
			into.Body.Reset(jsonview.JSON, []byte("null"))
			into.Meta.Set("absent", penstock.True)
			return nil
		}
		if err := doc.Parse(jsonview.Limits{}); err != nil {
			return k.pageError(page, err)
		}
		var n int
		if out, n, err = appendItems(out, &doc, p.Items); err != nil {
			return k.pageError(page, err)
		}
		if int64(len(out)) >= k.max {
			return &penstock.Error{Code: penstock.TooLarge, Op: "http", Path: k.place, Err: fmt.Errorf("the pages together are over the limit of %d bytes", k.max), Hint: "raise maxResponse if it is meant"}
		}
		seen += n
		next, more, err := k.nextPage(w, &doc, n)
		if err != nil {
			return k.pageError(page, err)
		}
		if !more {
			into.Body.Reset(jsonview.JSON, append(out, ']'))
			return nil
		}
		if next != nil {
			base = next
		}
		if p.Cursor != "" {
			before := cursor
			if cursor = textAt(&doc, p.CursorFrom); cursor == before {
				return k.pageError(page, errCircle)
			}
		} else if p.Page == "" && p.Offset == "" && bytes.Equal(base, asked) {
			return k.pageError(page, errCircle)
		}
	}
}

var errCircle = errors.New("the page after it is the page itself")

func (k *caller) pageError(page int, err error) error {
	return &penstock.Error{Code: penstock.Invalid, Op: "http", Path: k.place, Err: fmt.Errorf("page %d: %w", page+1, err)}
}

// pageTarget is the path and query of a page. seen is how many elements there were before it.
func (k *caller) pageTarget(dst []byte, page, seen int, cursor string) []byte {
	p := k.config.pages
	add := func(name, value string) {
		sep := byte('?')
		if bytes.IndexByte(dst, '?') >= 0 {
			sep = '&'
		}
		dst = append(escapeQuery(append(dst, sep), name), '=')
		dst = escapeQuery(dst, value)
	}
	follows := p.Link != "" || !p.Next.IsZero() // the server says where all further pages are
	if p.SizeQuery != "" && (page == 0 || !follows) {
		add(p.SizeQuery, strconv.Itoa(p.Size))
	}
	switch {
	case p.Page != "":
		add(p.Page, strconv.Itoa(p.First+page))
	case p.Offset != "":
		add(p.Offset, strconv.Itoa(seen))
	case p.Cursor != "" && page > 0:
		add(p.Cursor, cursor)
	}
	return dst
}

// nextPage finds out whether there is a page behind one of n elements, and its target where the server names it.
func (k *caller) nextPage(w *work, doc *jsonview.Doc, n int) (target []byte, more bool, err error) {
	p := k.config.pages
	var link string
	switch {
	case p.Page != "" || p.Offset != "":
		return nil, n > 0 && (p.Size == 0 || n >= p.Size), nil
	case p.Cursor != "":
		return nil, textAt(doc, p.CursorFrom) != "", nil
	case p.Link != "":
		w.res.Each(func(name, value []byte) {
			if link == "" && strings.EqualFold(string(name), "link") {
				link = findLink(string(value), p.Link)
			}
		})
	default:
		link = textAt(doc, p.Next)
	}
	if link == "" {
		return nil, false, nil
	}
	to, origin, err := resolve(&w.req, link)
	if err != nil {
		return nil, false, err
	}
	if origin != w.req.Origin || origin != k.up.origin {
		return nil, false, fmt.Errorf("the page after it is on another host, %s", origin)
	}
	return to, true, nil
}

// at finds what a path leads to; jsonview.None where there is nothing.
func at(d *jsonview.Doc, p penstock.Path) jsonview.Node {
	n := jsonview.Node(0)
	for _, s := range p.Steps {
		switch {
		case s.Name != "" && d.Kind(n) == jsonview.Object:
			n = d.Field(n, s.Name, nil)
		case s.Name == "" && d.Kind(n) == jsonview.Array:
			n = d.Index(n, s.Index)
		default:
			return jsonview.None
		}
	}
	return n
}

// textAt is a text or number of a reply; "" where there is neither.
func textAt(d *jsonview.Doc, p penstock.Path) string {
	switch n := at(d, p); d.Kind(n) {
	case jsonview.String:
		return d.Str(n, nil)
	case jsonview.Number:
		return string(d.Raw(n))
	}
	return ""
}

// appendItems appends the elements of a page's list, and counts them. No list at all, but null, is one of no elements.
func appendItems(dst []byte, d *jsonview.Doc, items penstock.Path) ([]byte, int, error) {
	list := at(d, items)
	switch d.Kind(list) {
	case jsonview.Array:
	case jsonview.Null:
		return dst, 0, nil
	default:
		where := "it"
		if !items.IsZero() {
			where = items.Source
		}
		return dst, 0, fmt.Errorf("%s is no list", where)
	}
	n := 0
	for e := d.First(list); e != jsonview.None; e = d.Next(e) {
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = d.AppendJSON(dst, e)
		n++
	}
	return dst, n, nil
}

// findLink finds the target of a relation in a header Link (RFC 8288, section 3): `<https://…>; rel="next", <…>; rel=last`. "" where there is
// none, or the header is malformed before it.
func findLink(header, rel string) string {
	for {
		header = strings.TrimLeft(header, " \t,")
		if !strings.HasPrefix(header, "<") {
			return ""
		}
		target, rest, ok := strings.Cut(header[1:], ">")
		if !ok {
			return ""
		}
		found := false
		first := true
		for {
			rest = strings.TrimLeft(rest, " \t")
			if !strings.HasPrefix(rest, ";") {
				break
			}
			var name, value string
			if name, value, rest, ok = linkParam(rest[1:]); !ok {
				return ""
			}
			if strings.EqualFold(name, "rel") && first { // only the first counts
				first = false
				for r := range strings.FieldsSeq(value) {
					found = found || strings.EqualFold(r, rel)
				}
			}
		}
		if found {
			return target
		}
		header = rest
		if header != "" && header[0] != ',' {
			return ""
		}
	}
}

// linkParam reads name=value or name="value", and gives what is behind it.
func linkParam(s string) (name, value, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexAny(s, "=;, \t")
	if end < 0 {
		return s, "", "", s != ""
	}
	name, s = s[:end], strings.TrimLeft(s[end:], " \t")
	if !strings.HasPrefix(s, "=") {
		return name, "", s, true
	}
	s = strings.TrimLeft(s[1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		if end = strings.IndexAny(s, ";, \t"); end < 0 {
			end = len(s)
		}
		return name, s[:end], s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return name, b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", "", false
}
