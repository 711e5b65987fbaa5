package xml

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
)

// markup is what begins with `<`.
type markup uint8

const (
	noMarkup   markup = iota // it does not end within the bytes
	startTag                 // also of an empty element
	emptyTag                 //
	endTag                   //
	comment                  //
	cdata                    //
	processing               // instruction, or the declaration
	doctype                  //
)

// fault is what is wrong, at an offset.
type fault struct {
	at   int
	code penstock.Code
	text string
	hint string
}

// Error implements error.
func (f *fault) Error() string { return f.text }

func invalid(at int, format string, args ...any) *fault {
	return &fault{at: at, code: penstock.Invalid, text: fmt.Sprintf(format, args...)}
}

// scan finds the end of the markup that begins at i. kind is noMarkup where it is not within data.
func scan(data []byte, i int) (kind markup, end int, bad *fault) {
	rest := data[i+1:]
	if len(rest) == 0 {
		return noMarkup, 0, nil
	}
	until := func(kind markup, open int, mark string) (markup, int, *fault) {
		if len(rest) < open {
			return noMarkup, 0, nil
		}
		n := bytes.Index(rest[open:], []byte(mark))
		if n < 0 {
			return noMarkup, 0, nil
		}
		return kind, i + 1 + open + n + len(mark), nil
	}
	switch rest[0] {
	case '/':
		return until(endTag, 1, ">")
	case '?':
		return until(processing, 1, "?>")
	case '!':
		for _, c := range []struct {
			begin string
			kind  markup
			end   string
		}{{"!--", comment, "-->"}, {"![CDATA[", cdata, "]]>"}, {"!DOCTYPE", doctype, ""}} {
			if !strings.HasPrefix(c.begin, string(rest[:min(len(rest), len(c.begin))])) {
				continue
			}
			if len(rest) < len(c.begin) {
				return noMarkup, 0, nil
			}
			if c.kind == doctype {
				return scanDoctype(data, i)
			}
			return until(c.kind, len(c.begin), c.end)
		}
		return 0, 0, invalid(i, "no markup begins with `<!` here")
	}
	for j := i + 1; j < len(data); j++ {
		switch data[j] {
		case '>':
			if data[j-1] == '/' {
				return emptyTag, j + 1, nil
			}
			return startTag, j + 1, nil
		case '<':
			return 0, 0, invalid(j, "`<` within a tag: was one not closed, or is it to be written as &lt;?")
		case '"', '\'':
			n := bytes.IndexByte(data[j+1:], data[j])
			if n < 0 {
				return noMarkup, 0, nil
			}
			if k := bytes.IndexByte(data[j+1:j+1+n], '<'); k >= 0 {
				return 0, 0, invalid(j+1+k, "`<` in the value of an attribute: it is written as &lt;")
			}
			j += n + 1
		}
	}
	return noMarkup, 0, nil
}

// scanDoctype steps over a document type declaration with its internal subset.
func scanDoctype(data []byte, i int) (markup, int, *fault) {
	depth := 0
	for j := i + 2; j < len(data); j++ {
		switch data[j] {
		case '"', '\'':
			n := bytes.IndexByte(data[j+1:], data[j])
			if n < 0 {
				return noMarkup, 0, nil
			}
			j += n + 1
		case '[', '<':
			if bytes.HasPrefix(data[j:], []byte("<!--")) {
				n := bytes.Index(data[j+4:], []byte("-->"))
				if n < 0 {
					return noMarkup, 0, nil
				}
				j += n + 6
				continue
			}
			depth++
		case ']':
			depth--
		case '>':
			if depth == 0 {
				return doctype, j + 1, nil
			}
			depth--
		}
	}
	return noMarkup, 0, nil
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func skipSpace(b []byte, i int) int {
	for i < len(b) && space(b[i]) {
		i++
	}
	return i
}

func blank(b []byte) bool { return skipSpace(b, 0) == len(b) }

// nameByte says of ASCII what names may hold: 1 anywhere, 2 not at the beginning.
var nameByte = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':' || c >= 0x80:
			t[c] = 1
		case c >= '0' && c <= '9' || c == '-' || c == '.':
			t[c] = 2
		}
	}
	return t
}()

// name gives the end of the name that begins at i; i where there is none.
func nameEnd(b []byte, i int) int {
	if i >= len(b) || nameByte[b[i]] != 1 {
		return i
	}
	j := i + 1
	for j < len(b) && nameByte[b[j]] != 0 {
		j++
	}
	for k := i; k < j; {
		if b[k] < 0x80 {
			k++
			continue
		}
		r, n := utf8.DecodeRune(b[k:j])
		if r == utf8.RuneError && n < 2 || !nameRune(r, k == i) {
			return k
		}
		k += n
	}
	return j
}

// nameRune says whether a character beyond ASCII may stand in a name (XML 1.0, NameStartChar and NameChar).
func nameRune(r rune, first bool) bool {
	switch {
	case r == 0xb7, r >= 0x300 && r <= 0x36f, r == 0x203f, r == 0x2040:
		return !first
	case r >= 0xc0 && r <= 0x2ff:
		return r != 0xd7 && r != 0xf7
	case r >= 0x370 && r <= 0x1fff:
		return r != 0x37e
	case r == 0x200c, r == 0x200d, r >= 0x2070 && r <= 0x218f, r >= 0x2c00 && r <= 0x2fef, r >= 0x3001 && r <= 0xd7ff, r >= 0xf900 && r <= 0xfdcf,
		r >= 0xfdf0 && r <= 0xfffd, r >= 0x10000 && r <= 0xeffff:
		return true
	}
	return false
}

// isName says whether s is a name with at most one prefix.
func isName(s string) bool {
	if s == "" || len(s) > maxName || nameEnd([]byte(s), 0) != len(s) {
		return false
	}
	prefix, local, ok := strings.Cut(s, ":")
	return !ok || prefix != "" && local != "" && !strings.Contains(local, ":") && nameByte[local[0]] == 1
}

// allowed says whether a character may stand in XML 1.0 at all.
func allowed(r rune) bool {
	return r >= 0x20 && r <= 0xd7ff || r == '\t' || r == '\n' || r == '\r' || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
}

// plainText says that every byte of b stands for itself: neither markup nor a line end to normalise, nothing beyond ASCII.
func plainText(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\t' || c == '&' || c >= 0x80 || c == ']' {
			return false
		}
	}
	return true
}

// appendText appends text or, with attribute, the value of one, with its references replaced and its line ends normalised. raw begins at offset at. literal says that
// it is of a CDATA section, where nothing stands for anything else.
func appendText(dst, raw []byte, at int, attribute, literal bool) ([]byte, *fault) {
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case c == '&' && !literal:
			r, n, bad := reference(raw[i:], at+i)
			if bad != nil {
				return dst, bad
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c == '\r':
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
			c = '\n'
			if attribute {
				c = ' '
			}
		case (c == '\n' || c == '\t') && attribute:
			c = ' '
		case c == ']' && !attribute && !literal && bytes.HasPrefix(raw[i:], []byte("]]>")):
			return dst, invalid(at+i, "`]]>` stands in text: it is written as ]]&gt;")
		case c >= 0x80:
			r, n := utf8.DecodeRune(raw[i:])
			if r == utf8.RuneError && n < 2 {
				return dst, invalid(at+i, "the bytes are no UTF-8")
			}
			if !allowed(r) {
				return dst, invalid(at+i, "the character U+%04X can't stand in XML", r)
			}
			dst = append(dst, raw[i:i+n]...)
			i += n
			continue
		case c < 0x20 && c != '\n' && c != '\t':
			return dst, invalid(at+i, "the character U+%04X can't stand in XML", c)
		}
		dst = append(dst, c)
		i++
	}
	return dst, nil
}

// reference reads &…; at the beginning of b.
func reference(b []byte, at int) (rune, int, *fault) {
	end := bytes.IndexByte(b[:min(len(b), 64)], ';')
	if end < 2 {
		return 0, 0, invalid(at, "`&` begins no reference: it is written as &amp;")
	}
	switch name := string(b[1:end]); name {
	case "lt":
		return '<', end + 1, nil
	case "gt":
		return '>', end + 1, nil
	case "amp":
		return '&', end + 1, nil
	case "quot":
		return '"', end + 1, nil
	case "apos":
		return '\'', end + 1, nil
	default:
		if name[0] != '#' {
			if nameEnd(b[:end], 1) != end {
				return 0, 0, invalid(at, "`&` begins no reference: it is written as &amp;")
			}
			return 0, 0, &fault{at: at, code: penstock.Invalid, text: "the entity &" + name + "; is not known: only lt, gt, amp, quot and apos are", hint: "what a document declares is not followed"}
		}
		digits, base := name[1:], rune(10)
		if strings.HasPrefix(digits, "x") {
			digits, base = digits[1:], 16
		}
		var r rune
		for _, c := range []byte(digits) {
			v := rune(-1)
			switch {
			case c >= '0' && c <= '9':
				v = rune(c - '0')
			case base == 16 && c|0x20 >= 'a' && c|0x20 <= 'f':
				v = rune(c|0x20-'a') + 10
			}
			if v < 0 || r > utf8.MaxRune {
				return 0, 0, invalid(at, "&%.20s; is no character", name)
			}
			r = r*base + v
		}
		if digits == "" || !allowed(r) {
			return 0, 0, invalid(at, "&%.20s; is no character that can stand in XML", name)
		}
		return r, end + 1, nil
	}
}
