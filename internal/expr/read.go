package expr

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	ptypes "penstock.dev/penstock/types"
)

// textDouble is a double that remembers the JSON text it was read from, so that a number
// nobody changes is written as it came, and decimal() sees all its digits.
type textDouble struct {
	types.Double
	text string
}

// plain gives a double that was read as cel-go's own kind.
func plain(v ref.Val) ref.Val {
	if d, ok := v.(textDouble); ok {
		return d.Double
	}
	return v
}

// place is where a value stands, for messages: body.lines[3].price.
type place struct {
	up   *place
	name string // a field; "" for an index
	i    int
}

func (p *place) field(name string) *place { return &place{up: p, name: name} }
func (p *place) index(i int) *place       { return &place{up: p, i: i} }

func (p *place) String() string {
	if p == nil {
		return ""
	}
	up := p.up.String()
	switch {
	case p.name == "":
		return up + "[" + strconv.Itoa(p.i) + "]"
	case up == "":
		return p.name
	case !isName(p.name):
		return up + "[" + strconv.Quote(p.name) + "]"
	}
	return up + "." + p.name
}

// isName says that s can stand after a point.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func mismatch(p *place, format string, args ...any) ref.Val {
	return types.WrapErr(&penstock.Error{Code: penstock.Unprocessable, Path: p.String(), Err: fmt.Errorf(format, args...)})
}

// readNode reads one node by its declared type: what CEL sees of the data. Arrays and
// objects stay where they are, and are read as they are selected from.
func readNode(d *jsonview.Doc, n jsonview.Node, t *ptypes.Type, p *place) ref.Val {
	kind := d.Kind(n)
	if t.IsDyn() || t.Kind == ptypes.Optional && t.Elem.IsDyn() {
		return readDyn(d, n, p)
	}
	if kind == jsonview.Null {
		if t.Nullable || t.Kind == ptypes.Null {
			return types.NullValue
		}
		return mismatch(p, "is null, %s is wanted", t.Text(0))
	}
	record := d.Format() == jsonview.Record // its cells are text that a codec could not tell apart
	text := func() (string, bool) {
		if kind == jsonview.String {
			return d.Str(n, nil), true
		}
		return string(d.Raw(n)), record && kind == jsonview.Number
	}
	number := func() (string, bool) {
		if kind == jsonview.Number {
			return string(d.Raw(n)), true
		}
		return d.Str(n, nil), record && kind == jsonview.String
	}
	switch t.Kind {
	case ptypes.Optional:
		return readNode(d, n, t.Elem, p)
	case ptypes.Bool:
		switch {
		case kind == jsonview.True, record && d.Str(n, nil) == "true":
			return types.True
		case kind == jsonview.False, record && d.Str(n, nil) == "false":
			return types.False
		}
	case ptypes.Int:
		if s, ok := number(); ok {
			if i, ok := wholeInt(s); ok {
				return types.Int(i)
			}
			return mismatch(p, "is %.40s, an int (64 bits) is wanted", s)
		}
	case ptypes.Uint:
		if s, ok := number(); ok {
			if x, err := penstock.ParseDecimal(s); err == nil {
				if u, ok := x.Uint(); ok {
					return types.Uint(u)
				}
			}
			return mismatch(p, "is %.40s, a uint (64 bits) is wanted", s)
		}
	case ptypes.Double:
		if s, ok := number(); ok {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || strings.ContainsAny(s, "xXnN_pP") {
				return mismatch(p, "is %.40s, a double is wanted", s)
			}
			if kind == jsonview.Number {
				return textDouble{types.Double(f), s}
			}
			return types.Double(f)
		}
	case ptypes.Decimal:
		s, ok := number()
		if !ok && t.DecimalText {
			s, ok = text() // what was computed is a number, what was copied a text
		}
		if ok {
			x, err := penstock.ParseDecimal(s)
			if err != nil {
				return mismatch(p, "is %.40q, a decimal is wanted: %w", s, err)
			}
			return decimalVal{x}
		}
	case ptypes.String:
		if s, ok := text(); ok {
			return types.String(s)
		}
	case ptypes.Bytes:
		if kind == jsonview.Bytes {
			return types.Bytes(d.Bytes())
		}
		if s, ok := text(); ok {
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				return mismatch(p, "is no base64 text")
			}
			return types.Bytes(b)
		}
	case ptypes.Timestamp:
		if s, ok := text(); ok {
			ts, err := parseTime(s, t.Layout)
			if err != nil {
				return mismatch(p, "is %.40q, %s is wanted", s, t.Text(0))
			}
			return types.Timestamp{Time: ts}
		}
	case ptypes.Duration:
		if s, ok := text(); ok {
			dur, err := parseDuration(s)
			if err != nil {
				return mismatch(p, "is %.40q, a duration is wanted", s)
			}
			return types.Duration{Duration: dur}
		}
	case ptypes.List:
		if kind == jsonview.Array {
			return &nodeList{d: d, n: n, elem: t.Elem, at: p}
		}
	case ptypes.Map, ptypes.Object:
		if kind == jsonview.Object {
			return &nodeMap{d: d, n: n, t: t, at: p}
		}
	case ptypes.Union:
		return readUnion(d, n, t, p)
	}
	return mismatch(p, "is %s, %s is wanted", kindWord(kind), t.Text(0))
}

// readDyn reads a node that has no schema (LANGUAGE.md §3).
func readDyn(d *jsonview.Doc, n jsonview.Node, p *place) ref.Val {
	switch d.Kind(n) {
	case jsonview.Array:
		return &nodeList{d: d, n: n, at: p}
	case jsonview.Object:
		return &nodeMap{d: d, n: n, t: ptypes.DynType, at: p}
	}
	v := penstock.NodeValue(d, n).Load(nil)
	if v.IsError() {
		return mismatch(p, "%w", v.Err())
	}
	return scalarRef(v)
}

// readUnion reads by the variant that the discriminator names; without one, the union is
// read as data without a schema.
func readUnion(d *jsonview.Doc, n jsonview.Node, t *ptypes.Type, p *place) ref.Val {
	if t.Discriminator == "" || d.Kind(n) != jsonview.Object {
		return readDyn(d, n, p)
	}
	f := d.Field(n, t.Discriminator, nil)
	if d.Kind(f) != jsonview.String {
		return mismatch(p, "has no text in %q, which tells its alternatives apart", t.Discriminator)
	}
	tag := d.Str(f, nil)
	for i, have := range t.Tags {
		if have == tag && i < len(t.Variants) {
			return readNode(d, n, t.Variants[i], p)
		}
	}
	return mismatch(p.field(t.Discriminator), "is %.40q, which is none of the alternatives", tag)
}

// wholeInt reads an int, also one written "17850.0".
func wholeInt(s string) (int64, bool) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, true
	}
	x, err := penstock.ParseDecimal(s)
	if err != nil {
		return 0, false
	}
	return x.Int()
}

func kindWord(k jsonview.Kind) string {
	switch k {
	case jsonview.Number:
		return "a number"
	case jsonview.String:
		return "text"
	case jsonview.Array:
		return "a list"
	case jsonview.Object:
		return "an object"
	case jsonview.True, jsonview.False:
		return "a bool"
	case jsonview.Null:
		return "null"
	case jsonview.Bytes:
		return "binary"
	}
	return "absent"
}

// parseTime reads a timestamp in its layout; none means RFC 3339, in UTC where the layout
// has no zone.
func parseTime(s, layout string) (time.Time, error) {
	if layout == "" {
		layout = time.RFC3339
	}
	t, err := time.Parse(layout, s)
	if err != nil && layout != time.RFC3339 { // a codec of text leaves times in RFC 3339
		if r, e := time.Parse(time.RFC3339, s); e == nil {
			t, err = r, nil
		}
	}
	if err != nil {
		return t, err
	}
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return t, fmt.Errorf("the year %d is outside 1 to 9999", y)
	}
	return t.UTC(), nil
}

// parseDuration reads CEL's form ("3.5s", Go's units) or ISO 8601's without years and months.
func parseDuration(s string) (time.Duration, error) {
	d, ok := ops.ParseDuration(s)
	if !ok {
		return 0, fmt.Errorf("%q is no duration", s)
	}
	return d, nil
}
