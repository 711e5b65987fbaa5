package schema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
)

// Violation is one way in which a body breaks its schema.
type Violation struct {
	Path    string // "body.lines[0].price"
	Message string
}

// String gives "path: message".
func (v Violation) String() string { return v.Path + ": " + v.Message }

// maxViolations is how many are reported of one body.
const maxViolations = 20

// Validator validates bodies. It is immutable and safe for concurrent use.
type Validator struct {
	s     *jsonschema.Schema
	quick accept // nil: always the library
}

// Validate checks the whole of a parsed document, with all digits of its numbers, and
// returns what is wrong, at most 20 findings; nil when nothing is.
func (v *Validator) Validate(d *jsonview.Doc) []Violation {
	if v.quick != nil && v.quick(d, 0) {
		return nil
	}
	var bad []Violation
	value := plain(d, 0, "body", &bad)
	if bad != nil {
		return bad
	}
	err := v.s.Validate(value)
	if err == nil {
		return nil
	}
	var ve *jsonschema.ValidationError
	if !errors.As(err, &ve) {
		return []Violation{{Path: "body", Message: err.Error()}}
	}
	collect(ve, &bad)
	return bad
}

// plain gives a node as the validator takes it. A number whose exponent would make exact
// arithmetic expensive is a violation.
func plain(d *jsonview.Doc, n jsonview.Node, path string, bad *[]Violation) any {
	switch d.Kind(n) {
	case jsonview.True:
		return true
	case jsonview.False:
		return false
	case jsonview.Number:
		text := string(d.Raw(n))
		if _, err := penstock.ParseDecimal(text); err != nil {
			*bad = append(*bad, Violation{path, "the number is out of bounds: " + err.Error()})
		}
		return json.Number(text)
	case jsonview.String:
		return d.Str(n, nil)
	case jsonview.Bytes:
		return base64.StdEncoding.EncodeToString(d.Bytes())
	case jsonview.Array:
		out := make([]any, 0, d.Len(n))
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			out = append(out, plain(d, e, path+"["+strconv.Itoa(len(out))+"]", bad))
		}
		return out
	case jsonview.Object:
		out := make(map[string]any, d.Len(n))
		for k := d.First(n); k != jsonview.None; k = d.Next(d.Value(k)) {
			name := d.Str(k, nil)
			out[name] = plain(d, d.Value(k), join(path, name), bad)
		}
		return out
	}
	return nil
}

// join appends a field to a path.
func join(path, name string) string {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return path + "[" + strconv.Quote(name) + "]"
		}
	}
	if name == "" {
		return path + `[""]`
	}
	return path + "." + name
}

// collect gathers the causes that have no causes themselves. Of alternatives it tells those
// of the one that came nearest.
func collect(e *jsonschema.ValidationError, out *[]Violation) {
	if len(*out) >= maxViolations {
		return
	}
	switch e.ErrorKind.(type) {
	case *kind.OneOf, *kind.AnyOf:
		if best := nearestCause(e.Causes); best != nil {
			var of []Violation
			collect(best, &of)
			if len(of) > 0 {
				*out = append(*out, Violation{at(e), "fits none of the alternatives; the nearest fails at " + of[0].String()})
				return
			}
		}
	}
	if len(e.Causes) == 0 {
		*out = append(*out, Violation{at(e), e.ErrorKind.LocalizedString(message.NewPrinter(language.English))})
		return
	}
	for _, c := range e.Causes {
		collect(c, out)
	}
}

// nearestCause is the alternative with the fewest faults.
func nearestCause(causes []*jsonschema.ValidationError) *jsonschema.ValidationError {
	var best *jsonschema.ValidationError
	least := 0
	for _, c := range causes {
		var of []Violation
		collect(c, &of)
		if best == nil || len(of) < least {
			best, least = c, len(of)
		}
	}
	return best
}

func at(e *jsonschema.ValidationError) string {
	path := "body"
	for _, step := range e.InstanceLocation {
		if _, err := strconv.Atoi(step); err == nil {
			path += "[" + step + "]"
		} else {
			path = join(path, step)
		}
	}
	return path
}

// schemaError words why a schema is none.
func schemaError(err error) error {
	var se *jsonschema.SchemaValidationError
	var ve *jsonschema.ValidationError
	if errors.As(err, &se) && errors.As(se.Err, &ve) {
		var all []Violation
		collect(ve, &all)
		var b strings.Builder
		for i, v := range all {
			if i > 0 {
				b.WriteString("; ")
			}
			fmt.Fprintf(&b, "%s: %s", strings.Replace(v.Path, "body", "#", 1), v.Message)
		}
		return errors.New(b.String())
	}
	return err
}

// formats are those that we check, or check in another way than the library.
func formats() []*jsonschema.Format {
	text := func(name string, check func(string) error) *jsonschema.Format {
		return &jsonschema.Format{Name: name, Validate: func(v any) error {
			s, ok := v.(string)
			if !ok {
				return nil
			}
			return check(s)
		}}
	}
	return []*jsonschema.Format{
		text("decimal", func(s string) error {
			_, err := penstock.ParseDecimal(s)
			return err
		}),
		text("byte", func(s string) error {
			_, err := base64.StdEncoding.DecodeString(s)
			return err
		}),
		text("duration", func(s string) error {
			if _, ok := ops.ParseDuration(s); !ok {
				return errors.New("is no duration: `90s`, `1h30m` or ISO 8601 `PT1H30M`")
			}
			return nil
		}),
		{Name: "int64", Validate: whole(func(d penstock.Decimal) bool { _, ok := d.Int(); return ok })},
		{Name: "uint64", Validate: whole(func(d penstock.Decimal) bool { _, ok := d.Uint(); return ok })},
		{Name: "int32", Validate: whole(func(d penstock.Decimal) bool { i, ok := d.Int(); return ok && i == int64(int32(i)) })},
		{Name: "uint32", Validate: whole(func(d penstock.Decimal) bool { u, ok := d.Uint(); return ok && u == uint64(uint32(u)) })},
	}
}

// whole checks integer formats, of numbers and of texts.
func whole(fits func(penstock.Decimal) bool) func(any) error {
	return func(v any) error {
		var text string
		switch x := v.(type) {
		case json.Number:
			text = string(x)
		case string:
			text = x
		default:
			return nil
		}
		d, err := penstock.ParseDecimal(text)
		if err != nil {
			return err
		}
		if !fits(d) {
			return errors.New("out of range")
		}
		return nil
	}
}

// layoutFormat checks a time in its own layout, or in that of JSON (RFC 3339).
func layoutFormat(name, layout string) *jsonschema.Format {
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		if _, err := time.Parse(layout, s); err == nil {
			return nil
		}
		if _, err := time.Parse(time.RFC3339, s); err == nil { // as a codec of text leaves it
			return nil
		}
		return fmt.Errorf("is not in the layout %q", layout)
	}}
}

// adapt gives schemas with x-layout a format of that layout.
func adapt(doc any, format func(layout string) string) {
	switch x := doc.(type) {
	case map[string]any:
		if layout, ok := x["x-layout"].(string); ok {
			x["format"] = format(layout)
		}
		for _, v := range x {
			adapt(v, format)
		}
	case []any:
		for _, v := range x {
			adapt(v, format)
		}
	}
}
