package json

import (
	"bytes"
	"errors"

	"penstock.dev/penstock/jsonview"
)

var (
	errUTF16    = errors.New("the stream is UTF-16; JSON is UTF-8 (RFC 8259 §8.1)")
	errNoArray  = errors.New("the stream does not begin with [")
	errBetween  = errors.New("between two elements of an array stands exactly one comma")
	errUnclosed = errors.New("the stream ends within the array")
)

// scanner finds where a document ends, by the grammar and without looking into strings and numbers. It can
// stop anywhere and go on with more data.
//
// A document that breaks the grammar ends where a reader would say that the next one begins: at the end
// of the line on which it went wrong, or, when a { or [ that can't stand there begins a line, before that
// line. So a torn line does not take the ones after it along. Within an array, where lines mean nothing,
// brackets are counted to the end of the element.
type scanner struct {
	array bool // the document is an element of an array

	at      int // next byte to look at
	last    int // end of the last token
	end     int // end of the document, once done
	depth   int // open brackets
	kinds   []uint64
	want    want
	mode    mode
	newLine bool // a line end stands between last and at
	loose   bool // the grammar is broken, brackets are only counted
}

// want is what the grammar allows next.
type want uint8

const (
	wantValue    want = iota
	wantValueEnd      // a value or ]
	wantKey           // a key
	wantKeyEnd        // a key or }
	wantColon
	wantNext // , or the closing bracket
)

// mode is where the scanner is.
type mode uint8

const (
	between  mode = iota // between tokens
	inString             // after the opening quote
	inEscape             // after a backslash
	inWord               // in a number, true, false or null
	isDone               // after the document, on its last line
	isBad                // after the place where it went wrong
)

func (s *scanner) reset() {
	*s = scanner{array: s.array, kinds: s.kinds[:0]}
}

// shift forgets n bytes, all of which were looked at.
func (s *scanner) shift(n int) {
	s.at -= n
	s.last, s.end = 0, 0
}

// find returns the end of the document that data begins with and where to go on, or false if it needs more
// data. Each call sees the data of the one before and more.
func (s *scanner) find(data []byte, atEOF bool) (end, next int, ok bool) {
	for s.at < len(data) {
		c := data[s.at]
		switch s.mode {
		case inString:
			s.text(data)
			continue
		case inEscape:
			if c == '\n' {
				s.broken()
				continue
			}
			s.at++
			s.mode = inString
			continue
		case inWord:
			for s.at < len(data) && isWord[data[s.at]] {
				s.at++
			}
			if s.at == len(data) {
				continue
			}
			if s.depth == 0 && !s.array && !scalar(data[:s.at]) {
				s.mode = isBad // a line of prose is one bad document, not one for each word
				continue
			}
			s.last = s.at
			s.value()
			continue
		case isDone:
			switch {
			case s.array:
				return s.end, s.end, true
			case c == '\n':
				return s.end, s.at + 1, true
			case c == ' ' || c == '\t' || c == '\r':
				s.at++
			case c == '{' || c == '[' || c == '"' || isWord[c] || c == 0x1e:
				return s.end, s.at, true
			default:
				s.mode = isBad
			}
			continue
		case isBad:
			nl := bytes.IndexByte(data[s.at:], '\n')
			if nl < 0 {
				s.at = len(data)
				continue
			}
			nl += s.at
			return trimmed(data, nl), nl + 1, true
		}
		// Between tokens.
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
			s.newLine = s.newLine || c == '\n'
			s.at++
			continue
		}
		if s.loose && s.depth == 0 && (c == ',' || c == ']') {
			return s.last, s.at, true
		}
		if !s.allowed(c) && !s.loose {
			if s.array {
				s.loose = true
				continue
			}
			if s.newLine && s.last > 0 && (c == '{' || c == '[') {
				return s.last, s.at, true
			}
			s.mode = isBad
			continue
		}
		s.token(c)
	}
	if !atEOF || len(data) == 0 {
		return 0, 0, false
	}
	if s.mode == isDone {
		return s.end, len(data), true
	}
	return trimmed(data, len(data)), len(data), true
}

// scalar says whether word is a number, true, false or null.
func scalar(word []byte) bool {
	switch string(word) {
	case "true", "false", "null":
		return true
	}
	return jsonview.ValidNumber(word)
}

// trimmed is n without the white space before it.
func trimmed(data []byte, n int) int {
	for n > 1 && (data[n-1] == ' ' || data[n-1] == '\t' || data[n-1] == '\r' || data[n-1] == '\n') {
		n--
	}
	return n
}

// allowed says whether a token that begins with c may stand here.
func (s *scanner) allowed(c byte) bool {
	switch s.want {
	case wantValue:
		return c == '{' || c == '[' || c == '"' || isWord[c]
	case wantValueEnd:
		return c == '{' || c == '[' || c == '"' || isWord[c] || c == ']'
	case wantKey:
		return c == '"'
	case wantKeyEnd:
		return c == '"' || c == '}'
	case wantColon:
		return c == ':'
	}
	return c == ',' || c == '}' && s.object() || c == ']' && !s.object()
}

// token takes the token that begins with c.
func (s *scanner) token(c byte) {
	s.newLine = false
	if isWord[c] {
		s.mode = inWord
		s.at++
		return
	}
	s.at++
	switch c {
	case '"':
		s.mode = inString
		return
	case '{':
		s.open(true)
		s.want = wantKeyEnd
	case '[':
		s.open(false)
		s.want = wantValueEnd
	case '}', ']':
		s.last = s.at
		if s.depth > 0 {
			s.depth--
		}
		s.want = wantNext // of an empty object a key was due
		s.value()
		return
	case ':':
		s.want = wantValue
	case ',':
		s.want = wantValue
		if s.object() {
			s.want = wantKey
		}
	}
	s.last = s.at
}

// value notes that a string, number, word, array or object has ended at last.
func (s *scanner) value() {
	s.mode = between
	switch {
	case s.depth == 0:
		if !s.loose {
			s.end = s.last
			s.mode = isDone
		}
	case s.want == wantKey || s.want == wantKeyEnd:
		s.want = wantColon
		return
	}
	s.want = wantNext
}

// text looks for the end of a string, to which no line end belongs.
func (s *scanner) text(data []byte) {
	for s.at < len(data) {
		switch data[s.at] {
		case '"':
			s.at++
			s.last = s.at
			s.value()
			return
		case '\\':
			s.at++
			s.mode = inEscape
			return
		case '\n':
			s.broken()
			return
		}
		s.at++
	}
}

// broken is called at a line end within a string.
func (s *scanner) broken() {
	if !s.array {
		s.mode = isBad
		return
	}
	s.loose = true
	s.last = s.at
	s.value()
}

// mostNested is how many open brackets are told apart: more than any maxDepth allows. What nests deeper can
// only be refused, so it need not cost memory.
const mostNested = 1 << 16

func (s *scanner) open(object bool) {
	if s.depth >= mostNested {
		if !s.array {
			s.mode = isBad
			return
		}
		s.loose = true
		s.depth++
		return
	}
	i, bit := s.depth/64, uint64(1)<<(s.depth%64)
	if i == len(s.kinds) {
		s.kinds = append(s.kinds, 0)
	}
	s.kinds[i] &^= bit
	if object {
		s.kinds[i] |= bit
	}
	s.depth++
}

// object says whether the innermost open bracket is {.
func (s *scanner) object() bool {
	d := s.depth - 1
	return d >= 0 && d < mostNested && s.kinds[d/64]>>(d%64)&1 == 1
}

// isWord marks the characters of numbers and of true, false and null, and of what is meant to be such.
var isWord = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.' || c == '_'
	}
	return t
}()
