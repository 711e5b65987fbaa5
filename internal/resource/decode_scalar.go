package resource

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// scalar decodes the plain Go kinds.
func (d *Decoder) scalar(n *Node, v reflect.Value, f *fieldInfo) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := d.text(n, f); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if n.Kind != NodeBool {
			d.wrong(n, f, "true or false", quoteHint(n, "true", "false"))
			return
		}
		v.SetBool(n.Bool)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if i, ok := d.integer(n, f); ok {
			if v.OverflowInt(i) {
				d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis too large", f.subject())
				return
			}
			v.SetInt(i)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if i, ok := d.integer(n, f); ok {
			if i < 0 || v.OverflowUint(uint64(i)) {
				d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis out of range", f.subject())
				return
			}
			v.SetUint(uint64(i))
		}
	case reflect.Float32, reflect.Float64:
		d.float(n, v, f)
	default:
		panic("resource: no configuration can be decoded into " + v.Type().String())
	}
}

// quoteHint is what to do when one of the words was quoted that should not be.
func quoteHint(n *Node, words ...string) string {
	if n.Kind == NodeText && n.Quoted && slices.Contains(words, n.Text) {
		return "leave the quotes out"
	}
	return ""
}

// text decodes text that is no template.
func (d *Decoder) text(n *Node, f *fieldInfo) (string, bool) {
	if n.Kind != NodeText {
		hint := ""
		switch n.Kind {
		case NodeBool, NodeInt, NodeFloat:
			hint = "put it in quotes: " + strconv.Quote(n.Text)
		}
		d.wrong(n, f, describeText(f), hint)
		return "", false
	}
	switch {
	case len(f.rules.enum) > 0:
		if !slices.Contains(f.rules.enum, n.Text) {
			if isUnsupported(f.name, n.Text) {
				d.unsupported(n.Pos, n.Text)
				return "", false
			}
			d.notAmong(n, f)
			return "", false
		}
	case f.rules.name:
		return n.Text, d.name(n.Text, n.Pos, strings.TrimSpace(f.subject()))
	case f.rules.dns:
		return n.Text, d.dns(n.Text, n.Pos, strings.TrimSpace(f.subject()))
	case !f.rules.literal && strings.Contains(n.Text, "${"):
		d.errorf(n.Pos, "template-refused", clip(n.Text), "write the text itself", "%sis read as it stands: `${…}` has no meaning here", f.subject())
		return "", false
	case n.Text == "" && (f.rules.required || f.rules.nonempty):
		d.errorf(n.Pos, "empty", "", "", "%sis empty", f.subject())
		return "", false
	}
	return n.Text, true
}

// notAmong reports a word that is none of the field's.
func (d *Decoder) notAmong(n *Node, f *fieldInfo) {
	if len(f.rules.enum) > 6 {
		d.errorf(n.Pos, "wrong-value", clip(n.Text), hintFor(n.Text, f.rules.enum), "%scan't be `%s`", f.subject(), clip(n.Text))
		return
	}
	hint := ""
	if near := diag.Nearest(n.Text, f.rules.enum); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	d.errorf(n.Pos, "wrong-value", clip(n.Text), hint, "%sis %s, not `%s`", f.subject(), orList(f.rules.enum), clip(n.Text))
}

func describeText(f *fieldInfo) string {
	if len(f.rules.enum) > 0 {
		return orList(f.rules.enum)
	}
	return "text"
}

// orList gives "`a`, `b` or `c`".
func orList(words []string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString("`" + w + "`")
	}
	return b.String()
}

func (d *Decoder) integer(n *Node, f *fieldInfo) (int64, bool) {
	if n.Kind != NodeInt {
		hint := ""
		if n.Kind == NodeText && n.Quoted && readScalar12(n.Text) == NodeInt {
			hint = "leave the quotes out"
		}
		d.wrong(n, f, "a whole number", hint)
		return 0, false
	}
	i, err := strconv.ParseInt(jsonNumber(n.Text), 10, 64)
	if err != nil {
		d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis too large", f.subject())
		return 0, false
	}
	return i, d.inRange(n, f, float64(i), parseBoundFloat)
}

func (d *Decoder) float(n *Node, v reflect.Value, f *fieldInfo) {
	if n.Kind != NodeInt && n.Kind != NodeFloat {
		hint := ""
		if k := readScalar12(n.Text); n.Kind == NodeText && n.Quoted && (k == NodeInt || k == NodeFloat) {
			hint = "leave the quotes out"
		}
		d.wrong(n, f, "a number", hint)
		return
	}
	x, err := strconv.ParseFloat(jsonNumber(n.Text), 64)
	if err != nil || math.IsInf(x, 0) {
		d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis too large", f.subject())
		return
	}
	if d.inRange(n, f, x, parseBoundFloat) {
		v.SetFloat(x)
	}
}

func parseBoundFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// inRange holds a number against the field's min and max, which are read by parse.
func (d *Decoder) inRange(n *Node, f *fieldInfo, x float64, parse func(string) (float64, error)) bool {
	if f.rules.min != "" {
		if lo, err := parse(f.rules.min); err == nil && x < lo {
			d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis %s, and must be at least %s", f.subject(), clip(n.Text), f.rules.min)
			return false
		}
	}
	if f.rules.max != "" {
		if hi, err := parse(f.rules.max); err == nil && x > hi {
			d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis %s, and must be at most %s", f.subject(), clip(n.Text), f.rules.max)
			return false
		}
	}
	return true
}

// quantity decodes a text with one of the root's parse functions.
func quantity[T any](d *Decoder, n *Node, f *fieldInfo, into *T, want string, parse func(string) (T, error), magnitude func(T) float64) {
	if n.Kind != NodeText {
		hint := ""
		if n.Kind == NodeInt || n.Kind == NodeFloat {
			if _, err := parse(n.Text); err != nil {
				_, hint, _ = strings.Cut(err.Error(), "; ")
			}
		}
		d.wrong(n, f, want, hint)
		return
	}
	v, err := parse(n.Text)
	if err != nil {
		d.errorf(n.Pos, "wrong-value", clip(n.Text), "", "%s", strings.TrimSpace(f.subject())+": "+err.Error())
		return
	}
	ok := d.inRange(n, f, magnitude(v), func(s string) (float64, error) {
		b, err := parse(s)
		return magnitude(b), err
	})
	if ok {
		*into = v
	}
}

func (d *Decoder) duration(n *Node, f *fieldInfo, into *penstock.Duration) {
	quantity(d, n, f, into, "a duration such as 30s", penstock.ParseDuration, func(v penstock.Duration) float64 { return float64(v) })
	if *into < 0 {
		d.errorf(n.Pos, "out-of-range", n.Text, "", "%sis negative", f.subject())
		*into = 0
	}
}

func (d *Decoder) size(n *Node, f *fieldInfo, into *penstock.Size) {
	if n.Kind == NodeInt {
		n = &Node{Kind: NodeText, Pos: n.Pos, Text: jsonNumber(n.Text)}
	}
	quantity(d, n, f, into, "a size such as 10Mi", penstock.ParseSize, func(v penstock.Size) float64 { return float64(v) })
}

func (d *Decoder) rate(n *Node, f *fieldInfo, into *penstock.Rate) {
	quantity(d, n, f, into, "a rate such as 100/s", penstock.ParseRate, penstock.Rate.PerSecond)
}

func (d *Decoder) share(n *Node, f *fieldInfo, into *penstock.Share) {
	quantity(d, n, f, into, "a share such as 20%", penstock.ParseShare, func(v penstock.Share) float64 { return float64(v) })
}

// known decodes the types of the dictionary. It reports whether p is one.
func (d *Decoder) known(n *Node, p any, f *fieldInfo) bool {
	switch p := p.(type) {
	case *penstock.Duration:
		d.duration(n, f, p)
	case *time.Duration:
		var own penstock.Duration
		d.duration(n, f, &own)
		*p = own.Std()
	case *penstock.Size:
		d.size(n, f, p)
	case *penstock.Rate:
		d.rate(n, f, p)
	case *penstock.Share:
		d.share(n, f, p)
	case *penstock.Code:
		d.code(n, f, p)
	case *penstock.Expr:
		d.expr(n, f, p)
	case *penstock.Template:
		d.template(n, f, p)
	case *penstock.Path:
		d.path(n, f, p)
	case *penstock.Tree:
		*p = n.Tree()
		if !f.rules.literal {
			d.treeLeaves(p)
		}
	case *penstock.DataTree:
		p.Tree = n.Tree()
		d.treeLeaves(&p.Tree)
	case *penstock.Format:
		d.format(n, f, p)
	case *penstock.ConnectionRef:
		if s, ok := d.text(n, f); ok && d.dns(s, n.Pos, strings.TrimSpace(f.subject())) {
			*p = penstock.ConnectionRef{Name: s, Pos: n.Pos}
		}
	case *penstock.SchemaRef:
		if s, ok := d.text(n, f); ok && d.dns(s, n.Pos, strings.TrimSpace(f.subject())) {
			*p = penstock.SchemaRef{Name: s, Pos: n.Pos}
		}
	case *penstock.Secret:
		d.secret(n, f, p)
	case *Ref:
		if s, ok := d.text(n, f); ok && d.dns(s, n.Pos, strings.TrimSpace(f.subject())) {
			*p = Ref{Name: s, Pos: n.Pos}
		}
	case **Node:
		*p = n
	default:
		return false
	}
	return true
}

var knownTypes = []reflect.Type{
	reflect.TypeFor[penstock.Rate](), reflect.TypeFor[penstock.Expr](), reflect.TypeFor[penstock.Template](),
	reflect.TypeFor[penstock.Path](), reflect.TypeFor[penstock.Tree](), reflect.TypeFor[penstock.DataTree](), reflect.TypeFor[penstock.Format](),
	reflect.TypeFor[penstock.ConnectionRef](), reflect.TypeFor[penstock.SchemaRef](), reflect.TypeFor[penstock.Secret](), reflect.TypeFor[Ref](), reflect.TypeFor[Node](),
}

// isKnownType reports whether t is a struct that known decodes.
func isKnownType(t reflect.Type) bool { return slices.Contains(knownTypes, t) }

func (d *Decoder) code(n *Node, f *fieldInfo, into *penstock.Code) {
	var words []string
	for _, c := range penstock.Codes() {
		words = append(words, string(c))
	}
	own := *f
	own.rules.enum = words
	if s, ok := d.text(n, &own); ok {
		*into = penstock.Code(s)
	}
}

// describe names what a field of type t wants.
func describe(t reflect.Type, r *rules) string {
	switch {
	case t == reflect.TypeFor[penstock.Expr]():
		return "an expression"
	case t == reflect.TypeFor[penstock.Tree]():
		return "a value"
	case t.Kind() == reflect.Slice:
		return "a list"
	case len(r.enum) > 0:
		return orList(r.enum)
	}
	return "a map"
}
