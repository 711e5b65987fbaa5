package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// Fact is one thing that the behaviour of a flow depends on, in the words of the files.
type Fact struct {
	Of   string // whose it is: "step lines", "Connection countries"; "" is the flow's own
	Path string // within it: complete.idle; "" is the whole
	Text string // its value, or, as [Digest] makes it, what tells it from others
}

// digestMark begins a Text that is not to be shown.
const digestMark = "sha256:"

// Digest is the Text of what is too long to be shown, or must not be.
func Digest(text []byte) string {
	sum := sha256.Sum256(text)
	return digestMark + hex.EncodeToString(sum[:])
}

// HashFacts is a hash over facts, in their order.
func HashFacts(facts []Fact) string {
	var p printer
	for _, f := range facts {
		p.text(f.Of)
		p.text(f.Path)
		p.text(f.Text)
	}
	return p.sum()
}

// Fingerprint is a text that is the same for flows, endpoints, channels, types and whatever they hold if the engine does the same
// with them, as far as data goes: programs, drivers and their configurations, places in files, names for people and what was derived for
// them are left out.
func Fingerprint(v any) string {
	var p printer
	p.value(reflect.ValueOf(v))
	return p.sum()
}

// printer gathers what is hashed, so that no two sequences of texts are the same.
type printer struct{ buf []byte }

func (p *printer) sum() string {
	h := sha256.Sum256(p.buf)
	return hex.EncodeToString(h[:16])
}

func (p *printer) text(s string) {
	p.buf = append(strconv.AppendInt(p.buf, int64(len(s)), 10), ':')
	p.buf = append(p.buf, s...)
}

func (p *printer) int(i int64) { p.buf = append(strconv.AppendInt(p.buf, i, 10), ';') }

// unprinted are fields that change nothing in what a flow does, or that hold what is hashed otherwise.
var unprinted = []string{"Pos", "Label", "Coverage", "Guarantee", "Doc", "Hash", "ConnectionHash", "Facts", "Config", "Driver"}

// value adds v. Of what is not data of the plan, or of types and steps, only its type is added.
func (p *printer) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			p.text("nil")
			return
		}
		elem := v.Elem()
		if v.Kind() == reflect.Interface {
			p.text(elem.Type().String())
			if t := elem.Type(); t.Kind() != reflect.Pointer || t.Elem().PkgPath() != planPackage {
				return
			}
		}
		p.value(elem)
	case reflect.Struct:
		p.fields(v)
	case reflect.Slice, reflect.Array:
		p.int(int64(v.Len()))
		for i := range v.Len() {
			p.value(v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		p.int(int64(len(keys)))
		for _, k := range keys {
			p.text(k.String())
			p.value(v.MapIndex(k))
		}
	case reflect.String:
		p.text(v.String())
	case reflect.Bool:
		p.buf = strconv.AppendBool(p.buf, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.int(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		p.int(int64(v.Uint()))
	case reflect.Float32, reflect.Float64:
		p.text(strconv.FormatFloat(v.Float(), 'g', -1, 64))
	}
}

var (
	planPackage = reflect.TypeFor[Plan]().PkgPath()
	dataOf      = []string{planPackage, reflect.TypeFor[types.Type]().PkgPath(), reflect.TypeFor[step.Target]().PkgPath()}
	nodeType    = reflect.TypeFor[Node]()
)

func (p *printer) fields(v reflect.Value) {
	t := v.Type()
	if t.PkgPath() != "" && !slices.Contains(dataOf, t.PkgPath()) {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case !f.IsExported() || slices.Contains(unprinted, f.Name):
		case t == nodeType && f.Name == "Type": // for people
		case v.Field(i).IsZero(): // as one that is not there
		default:
			p.text(f.Name)
			p.value(v.Field(i))
		}
	}
}
