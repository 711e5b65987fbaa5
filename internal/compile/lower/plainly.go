package lower

import "strings"

// plainly is the source of an expression without what means nothing in it: white space and comments outside of text.
// Expressions that differ in layout only are the same.
func plainly(src string) string {
	var b strings.Builder
	gap := false
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			gap = true
			i++
			continue
		case strings.HasPrefix(src[i:], "//"):
			gap = true
			end := strings.IndexByte(src[i:], '\n')
			if end < 0 {
				return b.String()
			}
			i += end
			continue
		}
		n := 1
		if c == '"' || c == '\'' {
			n = quotedText(src, i)
		}
		if gap && b.Len() > 0 && wordByte(b.String()[b.Len()-1]) && wordByte(c) {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteString(src[i : i+n])
		i += n
	}
	return b.String()
}

// quotedText is the length of the text that begins with the quote at i: of three quotes, or of one; in a raw text a
// backslash escapes nothing (CEL language definition, Syntax).
func quotedText(src string, i int) int {
	quote := src[i : i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(src[i:], triple) {
		quote = triple
	}
	raw := false
	for j := i - 1; j >= 0 && i-j <= 2 && strings.IndexByte("rRbB", src[j]) >= 0; j-- {
		raw = raw || src[j] == 'r' || src[j] == 'R'
		if j > 0 && wordByte(src[j-1]) && strings.IndexByte("rRbB", src[j-1]) < 0 {
			raw = false // the end of a word, as in `or "x"`
		}
	}
	at := i + len(quote)
	for at < len(src) {
		switch {
		case strings.HasPrefix(src[at:], quote):
			return at + len(quote) - i
		case src[at] == '\\' && !raw && at+1 < len(src):
			at += 2
		default:
			at++
		}
	}
	return len(src) - i
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
