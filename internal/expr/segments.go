package expr

import "strings"

// segment is a piece of a template: text, or an expression that begins at byte start of it.
type segment struct {
	text  string
	cel   bool
	start int
}

// templateError is what keeps a text from being a template, at a byte of it.
type templateError struct {
	at        int
	msg, hint string
}

// cut splits a template into its segments. Braces within CEL's strings, maps and comments do
// not end an interpolation.
func cut(src string) ([]segment, *templateError) {
	var out []segment
	var text strings.Builder
	begin := 0
	flush := func() {
		if text.Len() > 0 {
			out = append(out, segment{text: text.String(), start: begin})
			text.Reset()
		}
	}
	for i := 0; i < len(src); {
		switch {
		case strings.HasPrefix(src[i:], "$${"):
			text.WriteString("${")
			i += 3
		case strings.HasPrefix(src[i:], "${"):
			flush()
			end, err := celEnd(src, i+2)
			if err != nil {
				return nil, err
			}
			out = append(out, segment{text: src[i+2 : end], cel: true, start: i + 2})
			i = end + 1
			begin = i
		default:
			text.WriteByte(src[i])
			i++
		}
	}
	flush()
	return out, nil
}

// celEnd finds the brace that ends the interpolation whose expression begins at byte i.
func celEnd(src string, i int) (int, *templateError) {
	open, depth := i-2, 0
	for i < len(src) {
		switch c := src[i]; {
		case c == '"' || c == '\'':
			end := stringEnd(src, i)
			if end < 0 {
				return 0, &templateError{at: i, msg: "a text in this ${…} is not closed", hint: "add the closing " + string(c)}
			}
			i = end
		case c == '`':
			end := strings.IndexByte(src[i+1:], '`')
			if end < 0 {
				return 0, &templateError{at: i, msg: "a quoted name in this ${…} is not closed", hint: "add the closing `"}
			}
			i += end + 2
		case strings.HasPrefix(src[i:], "//"):
			end := strings.IndexByte(src[i:], '\n')
			if end < 0 {
				return 0, &templateError{at: open, msg: "a comment hides the end of this ${…}", hint: "end the comment's line before `}`"}
			}
			i += end + 1
		case c == '{':
			depth++
			i++
		case c == '}' && depth == 0:
			return i, nil
		case c == '}':
			depth--
			i++
		default:
			i++
		}
	}
	return 0, &templateError{at: open, msg: "this ${ is not closed", hint: "add `}`, or write `$${` for a literal `${`"}
}

// stringEnd gives the byte after the CEL string that begins at byte i, -1 if it does not
// end: with one quote or three, raw (r"…") or not.
func stringEnd(src string, i int) int {
	raw := false
	for j := i - 1; j >= 0 && strings.IndexByte("rRbB", src[j]) >= 0; j-- {
		if j > 0 && isWordByte(src[j-1]) && strings.IndexByte("rRbB", src[j-1]) < 0 {
			raw = false // the end of a longer word
			break
		}
		raw = raw || src[j] == 'r' || src[j] == 'R'
	}
	quote := src[i : i+1]
	if strings.HasPrefix(src[i:], strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	for j := i + len(quote); j < len(src); {
		switch {
		case src[j] == '\\' && !raw:
			j += 2
		case strings.HasPrefix(src[j:], quote):
			return j + len(quote)
		case len(quote) == 1 && src[j] == '\n':
			return -1
		default:
			j++
		}
	}
	return -1
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
