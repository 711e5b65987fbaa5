package file

import (
	"fmt"
	"strings"
)

// parse reads NAME=value lines. An error names the line, never what stands in it.
func parse(text string) (map[string]string, error) {
	out := map[string]string{}
	s := scanner{rest: strings.TrimPrefix(text, "\ufeff"), line: 1}
	for {
		s.blank()
		if s.rest == "" {
			return out, nil
		}
		line := s.line
		name, value, err := s.entry()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice", line, name)
		}
		out[name] = value
	}
}

type scanner struct {
	rest string
	line int
}

// skip steps over n bytes.
func (s *scanner) skip(n int) string {
	part := s.rest[:n]
	s.line += strings.Count(part, "\n")
	s.rest = s.rest[n:]
	return part
}

// toLineEnd steps over what is left of the line, and its end.
func (s *scanner) toLineEnd() string {
	n := strings.IndexByte(s.rest, '\n')
	if n < 0 {
		return s.skip(len(s.rest))
	}
	return s.skip(n + 1)
}

// blank steps over white space and comments.
func (s *scanner) blank() {
	for {
		s.skip(len(s.rest) - len(strings.TrimLeft(s.rest, " \t\r\n")))
		if !strings.HasPrefix(s.rest, "#") {
			return
		}
		s.toLineEnd()
	}
}

func (s *scanner) entry() (name, value string, err error) {
	if after, ok := strings.CutPrefix(s.rest, "export "); ok {
		s.skip(len(s.rest) - len(strings.TrimLeft(after, " \t")))
	}
	n := 0
	for n < len(s.rest) && isName(s.rest[n]) {
		n++
	}
	name = s.skip(n)
	s.space()
	if n == 0 || !strings.HasPrefix(s.rest, "=") {
		return "", "", errWantsName
	}
	s.skip(1)
	s.space()
	switch {
	case strings.HasPrefix(s.rest, "'"):
		value, err = s.single()
	case strings.HasPrefix(s.rest, `"`):
		value, err = s.double()
	default:
		value = s.toLineEnd()
		if i := strings.Index(" "+value, " #"); i >= 0 {
			value = value[:i]
		}
		return name, strings.TrimSpace(value), nil
	}
	if err == nil {
		if behind := strings.TrimSpace(s.toLineEnd()); behind != "" && !strings.HasPrefix(behind, "#") {
			err = errBehindQuote
		}
	}
	return name, value, err
}

func (s *scanner) space() { s.skip(len(s.rest) - len(strings.TrimLeft(s.rest, " \t"))) }

func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// single reads a value in single quotes, which holds what stands there.
func (s *scanner) single() (string, error) {
	n := strings.IndexByte(s.rest[1:], '\'')
	if n < 0 {
		return "", errOpenQuote
	}
	return s.skip(n + 2)[1 : n+1], nil
}

// double reads a value in double quotes, with escapes.
func (s *scanner) double() (string, error) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.skip(i + 1)
			return b.String(), nil
		case '\\':
			if i++; i == len(s.rest) {
				return "", errOpenQuote
			}
			e := strings.IndexByte(`nrt"\$`, s.rest[i])
			if e < 0 {
				return "", errEscape
			}
			b.WriteByte("\n\r\t\"\\$"[e])
		default:
			b.WriteByte(c)
		}
	}
	return "", errOpenQuote
}
