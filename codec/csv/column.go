package csv

import (
	"time"

	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// column is what a column's cells are coerced to.
type column struct {
	want   target
	typed  bool // there is a schema, so that an empty cell is absent
	layout string
	date   bool         // it becomes a date, not a time
	fast   *fixedLayout // of layout, where it has one
}

// target is the kind of value that a column holds in JSON.
type target uint8

const (
	asString target = iota
	asInt
	asUint
	asNumber
	asBool
	asTime
)

// column finds what the schema says of a column.
func (d *dialect) column(name string) column {
	if d.typ == nil {
		return column{}
	}
	c := column{typed: true}
	f, ok := d.typ.Field(name)
	if !ok {
		return c
	}
	t := plain(f.Type)
	switch t.Kind {
	case types.Int:
		c.want = asInt
	case types.Uint:
		c.want = asUint
	case types.Double:
		c.want = asNumber
	case types.Decimal:
		if !t.DecimalText {
			c.want = asNumber
		}
	case types.Bool:
		c.want = asBool
	case types.Timestamp:
		if t.Date && t.Layout == time.DateOnly {
			break // the text is what it is to be
		}
		if t.Layout != "" {
			c.date = t.Date
			c.want, c.layout, c.fast = asTime, t.Layout, newFixedLayout(t.Layout)
		}
	}
	return c
}

// extra is how much longer than its text a rewritten cell may be.
func (c *column) extra() int {
	switch c.want {
	case asTime:
		return len(time.RFC3339Nano)
	case asNumber, asInt:
		return 2
	}
	return 0
}

// cell puts a cell into the document, as what its column is to be. A text that does not fit stays a string, so that
// reading it, or validating the row, fails with its path.
func (r *row) cell(col, start, end int, quoted, doubled bool) {
	src := r.src
	c := &r.columns[col]
	if !quoted {
		if r.trim || c.want != asString {
			for start < end && blank(src[start]) {
				start++
			}
			for end > start && blank(src[end-1]) {
				end--
			}
		}
		if start == end {
			if !c.typed {
				r.d.AddCell(col, jsonview.String, start, end)
			}
			return
		}
		if r.null != "" && string(src[start:end]) == r.null {
			r.d.AddCell(col, jsonview.Null, start, end)
			return
		}
	}
	if doubled {
		start, end = r.keep(r.undouble(r.room(), src[start:end]))
		r.d.AddCell(col, jsonview.String, start, end)
		return
	}
	switch c.want {
	case asString:
	case asBool:
		if kind := boolean(src[start:end]); kind != jsonview.Invalid {
			r.d.AddCell(col, kind, start, end)
			return
		}
	case asTime:
		if mem := c.time(r.room(), src[start:end]); mem != nil {
			start, end = r.keep(mem)
		}
	default:
		if r.number(col, c.want, start, end) {
			return
		}
	}
	if start < end || c.want == asString {
		r.d.AddCell(col, jsonview.String, start, end)
	}
}

// boolean reads true, t, yes, y and 1, or false, f, no, n and 0, in any case.
func boolean(text []byte) jsonview.Kind {
	if len(text) > 5 {
		return jsonview.Invalid
	}
	var low [5]byte
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	switch string(low[:len(text)]) {
	case "true", "t", "yes", "y", "1":
		return jsonview.True
	case "false", "f", "no", "n", "0":
		return jsonview.False
	}
	return jsonview.Invalid
}

// number adds the cell as a number of JSON, if it is one: a sign, leading zeros, a bare point and, for a whole
// number, a fraction of zeros are what text files add. It never changes the value.
func (r *row) number(col int, want target, start, end int) bool {
	text := r.src[start:end]
	i := 0
	neg := false
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		neg = text[i] == '-'
		i++
	}
	whole := i
	for i < len(text) && text[i]-'0' < 10 {
		i++
	}
	wholeEnd := i
	frac := i
	if i < len(text) && text[i] == r.decimal {
		i++
		frac = i
		for i < len(text) && text[i]-'0' < 10 {
			i++
		}
	}
	fracEnd := i
	if wholeEnd == whole && fracEnd == frac {
		return false // no digits
	}
	exp := i
	if i < len(text) && text[i]|0x20 == 'e' && want == asNumber {
		i++
		if i < len(text) && (text[i] == '-' || text[i] == '+') {
			i++
		}
		digits := i
		for i < len(text) && text[i]-'0' < 10 {
			i++
		}
		if digits == i {
			return false
		}
	}
	if i < len(text) {
		return false
	}
	for whole < wholeEnd-1 && text[whole] == '0' {
		whole++
	}
	if want != asNumber {
		for _, c := range text[frac:fracEnd] {
			if c != '0' {
				return false
			}
		}
		if wholeEnd == whole || want == asUint && neg {
			return false
		}
		fracEnd = frac
	}
	// Mostly what is wanted is a part of the text.
	first := whole
	if neg && whole == 1 {
		first = 0
	}
	hasFrac := fracEnd > frac
	if (!neg || first == 0) && whole < wholeEnd && (!hasFrac || r.decimal == '.') && (hasFrac || exp == len(text) || exp == wholeEnd) {
		last := len(text)
		if !hasFrac && exp == len(text) {
			last = wholeEnd
		}
		r.d.AddCell(col, jsonview.Number, start+first, start+last)
		return true
	}
	mem := r.room()
	if neg {
		mem = append(mem, '-')
	}
	if whole == wholeEnd {
		mem = append(mem, '0')
	}
	mem = append(mem, text[whole:wholeEnd]...)
	if hasFrac {
		mem = append(append(mem, '.'), text[frac:fracEnd]...)
	}
	start, end = r.keep(append(mem, text[exp:]...))
	r.d.AddCell(col, jsonview.Number, start, end)
	return true
}
