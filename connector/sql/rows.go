package sql

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// rows takes what a query gives: each row as a JSON object.
type rows struct {
	typ  *types.Type // of a row, nil if nobody knows
	most int         // rows that are taken; one more is errMoreRows. 0: no bound
	// hidden is how many texts stand at the end of each row that are no part of it.
	hidden int

	text  []byte   // the objects, one behind the other
	ends  []int    // where each of them ends
	extra [][]byte // what was hidden, row for row; nil is NULL
	names [][]byte // of the columns, as JSON keys
	wants []*types.Type
}

// maxReply is how much a reply may have, in bytes: what a document may.
const maxReply = jsonview.DefaultMaxBytes

var (
	errMoreRows = errors.New("there are more rows")
	errLarge    = fmt.Errorf("the rows have more than %d MiB", maxReply>>20)
)

func (r *rows) reset(memory []byte) {
	r.text, r.ends, r.extra = memory[:0], r.ends[:0], r.extra[:0]
}

// columns begins a result with columns of these names.
func (r *rows) columns(names []string) error {
	if r.hidden > 0 {
		names = names[:len(names)-r.hidden]
	}
	r.names, r.wants = make([][]byte, len(names)), make([]*types.Type, len(names))
	seen := map[string]bool{}
	for i, n := range names {
		if seen[n] {
			return &penstock.Error{Code: penstock.Config, Op: "sql", Err: fmt.Errorf("the query has two columns called %q", n), Hint: "give one of them a name of its own: … AS name"}
		}
		seen[n] = true
		r.names[i] = append(jsonview.AppendString(nil, n), ':')
		if r.typ != nil {
			if f, ok := r.typ.Field(n); ok {
				r.wants[i] = plain(f.Type)
			} else if r.typ.Open {
				r.wants[i] = plain(r.typ.Rest)
			}
		}
	}
	return nil
}

// plain is the type within an optional; nil for what says nothing.
func plain(t *types.Type) *types.Type {
	for t != nil && t.Kind == types.Optional {
		t = t.Elem
	}
	if t.IsDyn() {
		return nil
	}
	return t
}

// begin begins a row.
func (r *rows) begin() error {
	switch {
	case r.most > 0 && len(r.ends) >= r.most:
		return errMoreRows
	case len(r.text) > maxReply:
		return errLarge
	}
	r.text = append(r.text, '{')
	return nil
}

// key begins the i-th cell.
func (r *rows) key(i int) {
	if i > 0 {
		r.text = append(r.text, ',')
	}
	r.text = append(r.text, r.names[i]...)
}

// end ends a row.
func (r *rows) end() {
	r.text = append(r.text, '}')
	r.ends = append(r.ends, len(r.text))
}

// row is the i-th row.
func (r *rows) row(i int) []byte {
	from := 0
	if i > 0 {
		from = r.ends[i-1]
	}
	return r.text[from:r.ends[i]:r.ends[i]]
}

// kindOf is what is wanted, dyn where nobody knows.
func kindOf(t *types.Type) types.Kind {
	if t == nil {
		return types.Dyn
	}
	return t.Kind
}

// appendNumber appends the text of a number as want has it: with all its digits. What JSON has no number for (NaN, Infinity) is a text.
func appendNumber[T string | []byte](dst []byte, text T, want *types.Type) []byte {
	if k := kindOf(want); k != types.String && (k != types.Decimal || !want.DecimalText) {
		if from := len(dst); len(text) > 0 && (text[len(text)-1]-'0' < 10) {
			dst = append(dst, text...)
			if jsonview.Valid(dst[from:]) {
				return dst
			}
			dst = dst[:from]
		}
	}
	return jsonview.AppendString(dst, string(text))
}

// appendText appends a text as want has it.
func appendText[T string | []byte](dst []byte, text T, want *types.Type) []byte {
	switch kindOf(want) {
	case types.Int, types.Uint, types.Double:
		return appendNumber(dst, text, want)
	case types.Decimal:
		return appendNumber(dst, text, want)
	case types.Timestamp:
		if want.Layout == "" {
			return appendTime(dst, string(text))
		}
	case types.List, types.Map, types.Object, types.Union:
		if jsonview.Valid([]byte(text)) { // SQLite has no column type for JSON
			return append(dst, text...)
		}
	}
	return jsonview.AppendString(dst, string(text))
}

// appendTime appends the text of a point in time as RFC 3339 has it. One without a zone is in UTC.
func appendTime(dst []byte, text string) []byte {
	const date = "2006-01-02"
	if len(text) < len("2006-01-02 15:04:05") || text[4] != '-' || text[10] != ' ' && text[10] != 'T' || strings.Trim(text, "0123456789-:.+TZ ") != "" {
		return jsonview.AppendString(dst, text) // infinity, and what is before the year 1 (BC) or after 9999
	}
	dst = append(dst, '"')
	dst = append(dst, text[:len(date)]...)
	dst = append(dst, 'T')
	rest := text[len(date)+1:]
	end := len(rest)
	for i := 8; i < len(rest); i++ {
		if c := rest[i]; c != '.' && c-'0' > 9 {
			end = i
			break
		}
	}
	dst = append(dst, rest[:end]...)
	switch zone := rest[end:]; zone {
	case "", "Z", "+00", "+00:00":
		dst = append(dst, 'Z')
	default:
		dst = append(dst, zone...)
		if len(zone) == 3 {
			dst = append(dst, ":00"...)
		}
	}
	return append(dst, '"')
}

// appendStamp appends a point in time as RFC 3339 has it.
func appendStamp(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

// appendBytes appends bytes as base64.
func appendBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendHex appends PostgreSQL's text of bytes (\x0a…) as base64.
func appendHex(dst, text []byte) ([]byte, error) {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
		return dst, errors.New("bytea_output is not hex")
	}
	b := make([]byte, hex.DecodedLen(len(text)-2))
	if _, err := hex.Decode(b, text[2:]); err != nil {
		return dst, err
	}
	return appendBytes(dst, b), nil
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return jsonview.AppendString(dst, strconv.FormatFloat(f, 'g', -1, 64))
	}
	return jsonview.AppendFloat(dst, f)
}

// appendList appends the rows as a list.
func (r *rows) appendList(dst []byte) []byte {
	dst = append(dst, '[')
	for i := range r.ends {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, r.row(i)...)
	}
	return append(dst, ']')
}
