package penstock

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// encodedForms are the encodings in which a value is sent over the wire, and then quoted by who received it.
func encodedForms(s string) []string {
	quoted := strconv.Quote(s)
	out := []string{
		quoted[1 : len(quoted)-1],
		url.QueryEscape(s),
		url.PathEscape(s),
		url.UserPassword("", s).String()[1:],
		base64.StdEncoding.EncodeToString([]byte(s)),
		base64.RawStdEncoding.EncodeToString([]byte(s)),
		base64.URLEncoding.EncodeToString([]byte(s)),
		base64.RawURLEncoding.EncodeToString([]byte(s)),
		hex.EncodeToString([]byte(s)),
	}
	return append(out, insideBase64(s)...)
}

// shortestInside is how many characters of base64 a value within another must have to be looked for: fewer stand there by chance.
const shortestInside = 8

// insideBase64 are the characters that s alone decides where it is part of a longer text in base64, such as the password in the credentials of
// HTTP's basic authentication (RFC 7617): one for each place in a group of three bytes that it may begin at.
func insideBase64(s string) []string {
	var out []string
	for before := range 3 {
		text := append(make([]byte, before, before+len(s)), s...)
		first, end := (8*before+5)/6, 8*len(text)/6 // characters that hold no bit of a neighbour
		if end-first < shortestInside {
			continue
		}
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, e.EncodeToString(text)[first:end])
		}
	}
	return out
}

// hideAlone replaces a text where it stands as a word of its own.
func hideAlone(text, s string) string {
	for from := 0; ; {
		at := strings.Index(text[from:], s)
		if at < 0 {
			return text
		}
		at += from
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		behind, _ := utf8.DecodeRuneInString(text[at+len(s):])
		if (at > 0 && inWord(before)) || (at+len(s) < len(text) && inWord(behind)) {
			from = at + 1
			continue
		}
		text = text[:at] + redacted + text[at+len(s):]
		from = at + len(redacted)
	}
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// shortestPart is how much of a value must stand at the end of a text that was cut off, to be taken for it.
const shortestPart = 6

// cutMarks are what stands behind a text that was cut off.
var cutMarks = []string{"…", "..."}

// hideCut replaces the beginning of a value where the text was cut off within it.
func hideCut(text string, values []string) string {
	for _, mark := range cutMarks {
		for from := 0; ; {
			at := strings.Index(text[from:], mark)
			if at < 0 {
				break
			}
			at += from
			from = at + len(mark)
			if n := partAtEnd(text[:at], values); n > 0 {
				text = text[:at-n] + redacted + text[at:]
				from += len(redacted) - n
			}
		}
	}
	return text
}

// partAtEnd is the length of the longest beginning of a value that text ends with.
func partAtEnd(text string, values []string) (longest int) {
	for _, v := range values {
		for n := min(len(v)-1, len(text)); n >= shortestPart && n > longest; n-- {
			if strings.HasSuffix(text, v[:n]) {
				longest = n
			}
		}
	}
	return longest
}
