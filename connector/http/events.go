package http

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
)

// CloudEvents over HTTP (CloudEvents HTTP protocol binding 1.0.2): inside a flow the attributes of an event are headers of the message, ce-id,
// ce-type and so on, with their values as they are; over the wire they are headers of the same names, percent-encoded.

// appendEvent appends the attributes of an event as headers.
func (h *headerSet) appendEvent(dst []byte, m *penstock.Message) ([]byte, error) {
	if h.shared || !m.IsEvent() {
		return dst, nil
	}
	for _, e := range m.Meta.Entries() {
		if !strings.HasPrefix(e.Name, penstock.EventPrefix) || h.has[e.Name] || e.Value.Kind() != penstock.KindString {
			continue
		}
		var err error
		if dst, err = upstream.AppendField(dst, e.Name, encodeAttribute(e.Value.Str())); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// encodeAttribute escapes what a header can't hold (section 3.1.3.2): what is not printable ASCII, the space, the double quote and the percent
// sign, byte by byte of their UTF-8.
func encodeAttribute(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && !escaped(s[i])
	}
	if plain {
		return s
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; escaped(c) {
			out = append(out, '%', hex[c>>4], hex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}

func escaped(c byte) bool { return c <= ' ' || c > '~' || c == '"' || c == '%' }

// decodeAttribute takes escapes back; what is none stays as it is.
func decodeAttribute(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
