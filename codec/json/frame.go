package json

import (
	"bytes"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// framer cuts a stream into documents.
//
// Most streams are JSON lines, and most lines are one flat object. So the first look is at bytes only: a
// line that begins with { and ends with }, in which no earlier } could have ended a document, and
// after which no line goes on with it, is a document (or a broken one, of which the parser will say why
// when it is read). Every other layout goes through the scanner, which knows the grammar. The two agree on
// every input; a fuzz target holds them to it.
type framer struct {
	max   int
	depth int // of nesting, of the documents; 0 is the default
	array bool

	begun bool // past the byte order mark
	skip  bool // in a document that is over the limit: looking for its end
	slow  bool // for tests: never look at lines
	scan  scanner
	state arrayState // what is due next in an array
}

type arrayState uint8

const (
	wantOpen    arrayState = iota // [
	wantFirst                     // an element or ]
	wantElement                   // an element
	wantComma                     // , or ]
	wantAny                       // after garbage: whatever comes
)

var (
	bom   = []byte("\ufeff")
	bomLE = []byte{0xff, 0xfe}
	bomBE = []byte{0xfe, 0xff}
)

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	if !f.begun {
		if n, err, ok := f.begin(data, atEOF); !ok {
			return n, nil, err
		}
	}
	if len(data) == 0 {
		if atEOF && f.array && f.state != wantOpen && f.state != wantAny {
			return 0, nil, &penstock.Error{Code: penstock.Invalid, Op: "json", Err: errUnclosed, Hint: "the file may have been cut off"}
		}
		return 0, nil, nil
	}
	if f.scan.at == 0 && !f.skip {
		// Nothing of the document was looked at yet.
		if n := skipSpace(data, 0); n > 0 {
			return n, nil, nil
		}
		if f.array {
			if n, err, done := f.punctuation(data, atEOF); done {
				return n, nil, err
			}
		} else if data[0] == '{' && !f.slow {
			if line, next := f.line(data, atEOF); line > 0 {
				if line > f.max {
					return next, nil, tooLarge(f.max)
				}
				return next, data[:line], nil
			}
		}
	}
	return f.scanned(data, atEOF)
}

// begin steps over a byte order mark. ok says that there is none.
func (f *framer) begin(data []byte, atEOF bool) (n int, err error, ok bool) { //nolint:revive // the error is not last: ok is what callers look at
	switch {
	case bytes.HasPrefix(data, bom):
		f.begun = true
		return len(bom), nil, false
	case bytes.HasPrefix(data, bomLE), bytes.HasPrefix(data, bomBE):
		return 0, &penstock.Error{Code: penstock.Invalid, Op: "json", Path: "byte 0",
			Err: errUTF16, Hint: "convert the file to UTF-8"}, false
	case !atEOF && len(data) < len(bom) && (bytes.HasPrefix(bom, data) || bytes.HasPrefix(bomLE, data) || bytes.HasPrefix(bomBE, data)):
		return 0, nil, false // also with no data at all
	}
	f.begun = true
	return 0, nil, true
}

// line looks whether the line that data begins with is one document. It returns its length and where
// to go on, or 0 if a closer look is needed.
func (f *framer) line(data []byte, atEOF bool) (length, next int) {
	end := bytes.IndexByte(data, '\n')
	next = end + 1
	after := next
	if end < 0 {
		if !atEOF {
			return 0, 0
		}
		end, next, after = len(data), len(data), len(data)
	}
	last := end - 1
	for last > 0 && (data[last] == ' ' || data[last] == '\r' || data[last] == '\t') {
		last--
	}
	if data[last] != '}' || last == 0 {
		return 0, 0
	}
	// A } in the middle ends a document unless more of the same follows it.
	for at := 1; ; at++ {
		i := bytes.IndexByte(data[at:last], '}')
		if i < 0 {
			break
		}
		at += i
		c := data[at+1]
		if c == ' ' || c == '\t' || c == '\r' {
			c = data[skipSpace(data, at+1)]
		}
		if c != ',' && c != '}' && c != ']' {
			return 0, 0
		}
	}
	// The next line must not go on with it, which a bracket can't where a comma is due.
	after = skipSpace(data, after)
	if after == len(data) {
		if !atEOF {
			return 0, 0
		}
	} else if c := data[after]; c != '{' && c != '[' {
		return 0, 0
	}
	return last + 1, next
}

// scanned lets the scanner find the end of the document that data begins with.
func (f *framer) scanned(data []byte, atEOF bool) (int, []byte, error) {
	end, next, ok := f.scan.find(data, atEOF)
	if !ok {
		if !f.skip && len(data) <= f.max {
			return 0, nil, nil
		}
		// Too long already. The document is let go; its end is still looked for.
		first := !f.skip
		f.skip = true
		f.scan.shift(len(data))
		if first {
			return len(data), nil, tooLarge(f.max)
		}
		return len(data), nil, nil
	}
	skipped := f.skip
	f.skip = false
	if f.array {
		f.state = wantComma
		if f.scan.loose {
			f.state = wantAny
		}
	}
	f.scan.reset()
	switch {
	case skipped && next == 0:
		return f.Frame(data, atEOF) // its end was the end of the data before
	case skipped:
		return next, nil, nil
	case end > f.max:
		return next, nil, tooLarge(f.max)
	}
	return next, data[:end], nil
}

// punctuation steps over what stands between the elements of an array. done says that data does not
// begin with an element.
func (f *framer) punctuation(data []byte, atEOF bool) (n int, err error, done bool) { //nolint:revive // as in begin
	c := data[0]
	switch {
	case f.state == wantOpen && c == '[':
		f.state = wantFirst
		return 1, nil, true
	case f.state == wantOpen:
		return 0, &penstock.Error{Code: penstock.Invalid, Op: "json", Err: errNoArray, Hint: "leave out `array: true` to read documents one after the other"}, true
	case c == ']' && f.state != wantElement:
		f.state = wantOpen
		return 1, nil, true
	case c == ',' && (f.state == wantComma || f.state == wantAny):
		f.state = wantElement
		return 1, nil, true
	case f.state == wantComma, c == ']', c == ',', c == '}', c == ':':
		// Garbage between elements: what is up to the end of the line can't be understood.
		n = bytes.IndexByte(data, '\n') + 1
		if n == 0 {
			if !atEOF && len(data) <= f.max {
				return 0, nil, true
			}
			n = len(data)
		}
		f.state = wantAny
		return n, &penstock.Error{Code: penstock.Invalid, Op: "json", Err: errBetween}, true
	}
	return 0, nil, false
}

// Bind implements penstock.Framer.
func (f *framer) Bind(d *jsonview.Doc, record []byte) {
	d.Reset(jsonview.JSON, record)
	if f.depth > 0 {
		d.SetMaxDepth(f.depth)
	}
}

// skipSpace returns the first offset from i on that holds no white space. The record separator of RFC 7464
// (JSON text sequences) counts as such.
func skipSpace(data []byte, i int) int {
	for i < len(data) {
		switch data[i] {
		case ' ', '\n', '\r', '\t', 0x1e:
			i++
		default:
			return i
		}
	}
	return i
}
