package algebra

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock/types"
)

// Mismatch is one way in which a value of one type may not be a value of another.
type Mismatch struct {
	Path    string // below the value: "lines[].price"; empty for the value itself
	Message string // "is a string, and order declares an int"
	// Sure says that every value mismatches; otherwise only some may.
	Sure bool
	// Missing is the field that the target requires and the value lacks, Extra one that a closed
	// target does not declare; else empty.
	Missing, Extra string
}

// String is the path and the message as one sentence.
func (m Mismatch) String() string {
	if m.Path == "" {
		return "it " + m.Message
	}
	return m.Path + " " + m.Message
}

// Check lists how values of type from may fail to be values of type to. Nothing is said where a
// type is unknown (dyn), nor where JSON text may hold either (a string for a timestamp).
func Check(from, to *types.Type) []Mismatch {
	c := &checker{}
	c.check(from, to, "")
	return c.found
}

// Fits reports whether no value of type from is surely wrong for type to.
func Fits(from, to *types.Type) bool {
	return !slices.ContainsFunc(Check(from, to), func(m Mismatch) bool { return m.Sure })
}

type checker struct{ found []Mismatch }

func (c *checker) add(m Mismatch) { c.found = append(c.found, m) }

func (c *checker) check(from, to *types.Type, path string) {
	from = inner(from)
	to = inner(to)
	switch {
	case from.IsDyn() || to.IsDyn() || from == to || from.Kind == types.Never:
		return
	case from.Kind == types.Null:
		if !to.Nullable && to.Kind != types.Null {
			c.add(Mismatch{Path: path, Message: "is null, where " + name(to) + " is declared", Sure: true})
		}
		return
	case from.Nullable && !to.Nullable && to.Kind != types.Null:
		c.add(Mismatch{Path: path, Message: "may be null, where " + name(to) + " is declared"})
	}
	switch {
	case from.Kind == types.Union || to.Kind == types.Union:
		c.checkUnion(from, to, path)
	case from.Kind == types.Object && to.Kind == types.Object:
		c.checkObjects(from, to, path)
	case from.Kind == types.List && to.Kind == types.List:
		c.check(from.Elem, to.Elem, path+"[]")
	case from.Kind == types.Map && to.Kind == types.Map:
		c.check(from.Elem, to.Elem, path+"[*]")
	case from.Kind == types.Object && to.Kind == types.Map:
		for _, f := range from.Fields {
			c.check(f.Type, to.Elem, join(path, f.Name))
		}
	case from.Kind == types.Map && to.Kind == types.Object:
	case from.Kind == types.String && to.Kind == types.String:
		c.checkEnum(from, to, path)
	case !scalarFits(from, to):
		c.add(Mismatch{Path: path, Message: "is " + name(from) + ", where " + name(to) + " is declared", Sure: !perhaps(from, to)})
	}
}

// scalarFits says which kinds are written to JSON text so that the other kind reads them.
func scalarFits(from, to *types.Type) bool {
	if from.Kind == to.Kind {
		return true
	}
	text := func(t *types.Type) bool {
		return t.Kind == types.String || t.Kind == types.Bytes || t.Kind == types.Timestamp ||
			t.Kind == types.Duration || t.Kind == types.Decimal && t.DecimalText
	}
	switch to.Kind {
	case types.String:
		return text(from)
	case types.Bytes, types.Timestamp, types.Duration:
		return from.Kind == types.String
	case types.Decimal:
		return from.IsNumeric() || to.DecimalText && from.Kind == types.String
	case types.Double:
		return from.IsNumeric()
	case types.Int, types.Uint:
		return from.Kind == types.Int || from.Kind == types.Uint
	}
	return false
}

// perhaps says which misfits hold for some values only: 2.0 is an int, 2.5 is none.
func perhaps(from, to *types.Type) bool { return from.IsNumeric() && to.IsNumeric() }

func (c *checker) checkUnion(from, to *types.Type, path string) {
	var strange []string
	all := variants(from)
	for _, f := range all {
		if !slices.ContainsFunc(variants(to), func(t *types.Type) bool { return Fits(f, t) }) {
			strange = append(strange, name(f))
		}
	}
	if len(strange) > 0 {
		c.add(Mismatch{Path: path, Message: "may be " + strings.Join(strange, " or ") + ", where " + name(to) + " is declared",
			Sure: len(strange) == len(all)})
	}
}

func (c *checker) checkEnum(from, to *types.Type, path string) {
	if len(from.Enum) == 0 || len(to.Enum) == 0 {
		return
	}
	var strange []string
	for _, e := range from.Enum {
		if !slices.Contains(to.Enum, e) {
			strange = append(strange, strconv.Quote(e))
		}
	}
	if len(strange) > 0 {
		c.add(Mismatch{Path: path, Message: "may be " + strings.Join(strange, ", ") + ", where " + to.String() + " is declared",
			Sure: len(strange) == len(from.Enum)})
	}
}

func (c *checker) checkObjects(from, to *types.Type, path string) {
	for _, want := range to.Fields {
		have, ok := from.Field(want.Name)
		at := join(path, want.Name)
		switch {
		case ok:
			c.check(have.Type, want.Type, at)
			if optional := !have.Required || have.Type.Kind == types.Optional; optional && want.Required {
				c.add(Mismatch{Path: at, Message: "may be missing, and " + name(to) + " requires it", Missing: want.Name})
			}
		case want.Required && !from.Open:
			c.add(Mismatch{Path: at, Message: "is missing, and " + name(to) + " requires it", Missing: want.Name, Sure: true})
		}
	}
	if to.Open {
		for _, have := range from.Fields {
			if _, declared := to.Field(have.Name); !declared && to.Rest != nil {
				c.check(have.Type, to.Rest, join(path, have.Name))
			}
		}
		return
	}
	for _, have := range from.Fields {
		if _, declared := to.Field(have.Name); !declared {
			c.add(Mismatch{Path: join(path, have.Name), Message: "is not declared by " + name(to), Extra: have.Name})
		}
	}
}

// name is how a type is spoken of: "an int", "order", "an object".
func name(t *types.Type) string {
	switch {
	case t.Name != "":
		return "`" + t.Name + "`"
	case t.Kind == types.Object:
		return "an object"
	case t.Kind == types.Union:
		return "one of several types"
	case t.Kind == types.List:
		return "a list"
	case t.Kind == types.Map:
		return "a map"
	}
	s := t.Kind.String()
	if strings.ContainsAny(s[:1], "aeiou") && t.Kind != types.Uint {
		return "an " + s
	}
	return "a " + s
}

// Article names t with its article, for sentences: "an int", "a list", the schema's name.
func Article(t *types.Type) string {
	if t.IsDyn() {
		return "a value of unknown type"
	}
	return name(t)
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return fmt.Sprintf("%s.%s", path, field)
}
