package types

import (
	"strconv"
	"strings"
)

var kindNames = map[Kind]string{
	Dyn: "dyn", Null: "null", Bool: "bool", Int: "int", Uint: "uint",
	Double: "double", Decimal: "decimal", String: "string", Bytes: "bytes",
	Timestamp: "timestamp", Duration: "duration", Never: "never",
	List: "list", Map: "map", Object: "object", Optional: "optional", Union: "union",
}

// String writes t for people: {id: string, total?: decimal, …}, list(int), "a"|"b", string|null.
// A question mark is an optional field, … an object that may have more. A nil t is dyn.
func (t *Type) String() string { return t.Text(-1) }

// Brief is String with the types that have a name, such as that of a schema, shown by it.
func (t *Type) Brief() string {
	var b strings.Builder
	writeType(&b, t, brief)
	return b.String()
}

// brief is the depth that stands for names in place of types.
const brief = -1 << 30

// Text is String with objects below depth levels shown by their name, or as {…}.
func (t *Type) Text(depth int) string {
	var b strings.Builder
	writeType(&b, t, depth)
	return b.String()
}

// String names a kind as expressions have it: int, list, object.
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return "kind " + strconv.Itoa(int(k))
}

func writeType(b *strings.Builder, t *Type, depth int) {
	if t == nil {
		t = DynType
	}
	switch t.Kind {
	case List:
		b.WriteString("list(")
		writeType(b, t.Elem, depth)
		b.WriteByte(')')
	case Map:
		b.WriteString("map(")
		writeKey(b, t, depth)
		b.WriteString(", ")
		writeType(b, t.Elem, depth)
		b.WriteByte(')')
	case Optional:
		b.WriteString("optional(")
		writeType(b, t.Elem, depth)
		b.WriteByte(')')
	case Object:
		writeObject(b, t, depth)
	case Union:
		for i, v := range t.Variants {
			if i > 0 {
				b.WriteByte('|')
			}
			writeType(b, v, depth)
		}
	case String:
		writeString(b, t)
	default:
		b.WriteString(kindNames[t.Kind])
	}
	if t.Nullable {
		b.WriteString("|null")
	}
}

func writeKey(b *strings.Builder, t *Type, depth int) {
	if t.Key == nil {
		b.WriteString("string")
		return
	}
	writeType(b, t.Key, depth)
}

// maxEnum is how many words of an enum are written out.
const maxEnum = 8

func writeString(b *strings.Builder, t *Type) {
	if len(t.Enum) == 0 {
		b.WriteString("string")
		return
	}
	for i, e := range t.Enum {
		if i > 0 {
			b.WriteByte('|')
		}
		if i == maxEnum {
			b.WriteString("…")
			return
		}
		b.WriteString(strconv.Quote(e))
	}
}

func writeObject(b *strings.Builder, t *Type, depth int) {
	if depth == 0 || depth < brief/2 && t.Name != "" {
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
