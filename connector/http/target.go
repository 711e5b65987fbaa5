package http

import (
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// checkPathSource refuses paths that no message could make right.
func checkPathSource(s string) error {
	fixed, _, varies := strings.Cut(s, "${")
	switch {
	case strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://"):
		return errors.New("the Connection says where the server is: give the path only")
	case !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "?") && !strings.HasPrefix(s, "${") && s != "":
		return errors.New("a path begins with /")
	}
	for i := range len(fixed) {
		if c := fixed[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return fmt.Errorf("the path has %q, which must be percent-encoded", c)
		}
	}
	if !varies {
		return checkTarget(s)
	}
	return nil
}

// checkTarget refuses paths that lead upwards, however they are written: a segment of dots is taken away by whoever resolves the path
// (RFC 3986, section 5.2.4), and the rest would name something else.
func checkTarget(s string) error {
	path, _, _ := strings.Cut(s, "?")
	if !strings.ContainsAny(path, ".%") {
		return nil
	}
	for segment := range strings.SplitSeq(path, "/") {
		if isDots(segment) {
			return fmt.Errorf("the path has the segment %s, which would lead elsewhere", segment)
		}
	}
	return nil
}

// isDots reports whether a segment is . or .., perhaps percent-encoded, perhaps with parameters behind it (;).
func isDots(s string) bool {
	s, _, _ = strings.Cut(s, ";")
	dots := 0
	for len(s) > 0 {
		switch {
		case s[0] == '.':
			s = s[1:]
		case len(s) >= 3 && s[0] == '%' && s[1] == '2' && (s[2] == 'e' || s[2] == 'E'):
			s = s[3:]
		default:
			return false
		}
		dots++
	}
	return dots == 1 || dots == 2
}

// appendTarget writes the path and query of a request.
func appendTarget(dst []byte, base string, path *penstock.Template, f *penstock.Frame) ([]byte, error) {
	dst = append(dst, base...)
	text := path.Source
	if path.Program != nil {
		v := path.Program.Eval(f)
		if v.IsError() {
			return dst, v.Err()
		}
		text = v.Str()
	}
	if !strings.HasPrefix(text, "/") && (base == "" || text != "" && text[0] != '?') {
		dst = append(dst, '/')
	}
	dst = append(dst, text...)
	if err := checkTarget(text); err != nil {
		return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: path.Source, Err: err}
	}
	return dst, nil
}

// appendQuery writes the fields of a JSON object as a query: lists as the same name again and again; what is null is left out. sep is the
// first separator, ? or &.
func appendQuery(dst []byte, d *jsonview.Doc, sep byte) ([]byte, error) {
	if d.Kind(0) != jsonview.Object {
		return dst, errors.New("it is not a map")
	}
	var err error
	var buf []byte
	for k := d.First(0); k != jsonview.None; k = d.Next(d.Value(k)) {
		buf = d.Key(k, buf[:0])
		v := d.Value(k)
		if d.Kind(v) != jsonview.Array {
			if dst, sep, err = appendPair(dst, sep, buf, d, v); err != nil {
				return dst, err
			}
			continue
		}
		for e := d.First(v); e != jsonview.None; e = d.Next(e) {
			if dst, sep, err = appendPair(dst, sep, buf, d, e); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}

func appendPair(dst []byte, sep byte, name []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, byte, error) {
	kind := d.Kind(v)
	switch kind {
	case jsonview.Null:
		return dst, sep, nil
	case jsonview.String, jsonview.Number, jsonview.True, jsonview.False:
	default:
		return dst, sep, fmt.Errorf("%s is neither text, a number nor a list of such", name)
	}
	if sep != 0 {
		dst = append(dst, sep)
	}
	dst = append(escapeQuery(dst, name), '=')
	if kind == jsonview.String {
		return escapeQuery(dst, d.Str(v, nil)), '&', nil
	}
	return escapeQuery(dst, d.Raw(v)), '&', nil
}

const upperHex = "0123456789ABCDEF"

// escapeQuery encodes a name or value of a query: what is not unreserved (RFC 3986, section 2.3) is percent-encoded, a space, too.
func escapeQuery[T string | []byte](dst []byte, s T) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}
