package algebra

import (
	"strconv"
	"strings"

	"penstock.dev/penstock/types"
)

var kindNames = map[types.Kind]string{
	types.Dyn: "dyn", types.Null: "null", types.Bool: "bool", types.Int: "int", types.Uint: "uint",
	types.Double: "double", types.Decimal: "decimal", types.String: "string", types.Bytes: "bytes",
	types.Timestamp: "timestamp", types.Duration: "duration", types.Never: "never",
}

// Text writes t for people: {id: string, total?: decimal, …}, list(int), "a" | "b", string|null.
// A question mark is an optional field, … an object that may have more.
func Text(t *types.Type) string { return TextDepth(t, -1) }

// TextDepth is Text with objects below depth levels shown by name, or as {…}.
func TextDepth(t *types.Type, depth int) string {
	var b strings.Builder
	writeType(&b, t, depth)
	return b.String()
}

func writeType(b *strings.Builder, t *types.Type, depth int) {
	if t == nil {
		t = types.DynType
	}
	switch t.Kind {
	case types.List:
		b.WriteString("list(")
		writeType(b, t.Elem, depth)
		b.WriteByte(')')
	case types.Map:
		b.WriteString("map(")
		writeType(b, keyOf(t), depth)
		b.WriteString(", ")
		writeType(b, t.Elem, depth)
		b.WriteByte(')')
	case types.Optional:
		b.WriteString("optional(")
		writeType(b, t.Elem, depth)
		b.WriteByte(')')
	case types.Object:
		writeObject(b, t, depth)
	case types.Union:
		for i, v := range t.Variants {
			if i > 0 {
				b.WriteByte('|')
			}
			writeType(b, v, depth)
		}
	case types.String:
		writeString(b, t)
	default:
		b.WriteString(kindNames[t.Kind])
	}
	if t.Nullable {
		b.WriteString("|null")
	}
}

func writeString(b *strings.Builder, t *types.Type) {
	if len(t.Enum) == 0 {
		b.WriteString("string")
		return
	}
	for i, e := range t.Enum {
		if i > 0 {
			b.WriteByte('|')
		}
		if i == maxVariants {
			b.WriteString("…")
			return
		}
		b.WriteString(strconv.Quote(e))
	}
}

func writeObject(b *strings.Builder, t *types.Type, depth int) {
	if depth == 0 {
		if t.Name != "" {
			b.WriteString(t.Name)
		} else {
			b.WriteString("{…}")
		}
		return
	}
	b.WriteByte('{')
	for i, f := range t.Fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.Name)
		if !f.Required {
			b.WriteByte('?')
		}
		b.WriteString(": ")
		writeType(b, f.Type, depth-1)
	}
	if t.Open {
		if len(t.Fields) > 0 {
			b.WriteString(", ")
		}
		b.WriteString("…")
		if !t.Rest.IsDyn() {
			b.WriteString(": ")
			writeType(b, t.Rest, depth-1)
		}
	}
	b.WriteByte('}')
}
