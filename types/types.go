// Package types is the type model of Penstock: what a schema becomes, what the
// expression checker and every step's type rule speak. Types are immutable trees
// after they are built and may be shared between goroutines.
package types

// Kind is the shape of a type.
type Kind uint8

// The kinds. Dyn is the gradual type: anything, checked at run time only.
const (
	Dyn Kind = iota
	Null
	Bool
	Int       // 64 bit signed
	Uint      // 64 bit unsigned
	Double    // IEEE 754 binary64
	Decimal   // exact decimal
	String    // UTF-8 text
	Bytes     // in JSON text: base64 (RFC 4648)
	Timestamp // in JSON text: RFC 3339
	Duration  // in JSON text: seconds with suffix, "3.5s", as CEL has it
	List
	Map
	Object   // declared fields, in order
	Optional // a value that may be absent (CEL optional_type)
	Union    // one of Variants (oneOf)
	Never    // no value gets here: the type after stop and fail
)

// Type describes a set of values.
type Type struct {
	Kind Kind
	// Name is the schema's name, for messages; empty for anonymous types.
	Name string
	// Elem is the element of a List, the value of a Map, the inner type of an Optional.
	Elem *Type
	// Key is the key type of a Map; nil means string.
	Key *Type
	// Fields are the declared fields of an Object, in the schema's order.
	Fields []Field
	// Open says that an Object may have undeclared fields (additionalProperties true or a
	// schema); Rest is their type, nil for dyn.
	Open bool
	Rest *Type
	// Nullable says that null is a value of this type too.
	Nullable bool
	// Enum lists the only values of a String, where the schema does.
	Enum []string
	// Layout is how a Timestamp is written in text formats (x-layout, Go's reference-time form);
	// empty means RFC 3339.
	Layout string
	// Date says that a Timestamp is a date in the text (RFC 3339 full-date), without a time of day.
	Date bool
	// DecimalText says that a Decimal is a JSON string in the text, not a number.
	DecimalText bool
	// Variants are the alternatives of a Union; Discriminator names the field that tells them
	// apart, with the value of each in Tags, where the schema has one.
	Variants      []*Type
	Discriminator string
	Tags          []string
	// Labels say what may be done with a value of this type.
	Labels Labels
}

// Field is a declared field of an Object.
type Field struct {
	Name     string
	Type     *Type
	Required bool   // absent is a mismatch
	Doc      string // the schema's description
}

// Labels mark data for privacy and residency rules (x-class, x-residency).
type Labels struct {
	Class     []string // "pii", "secret" …
	Residency []string // "eu" …
	// ResidencyField and ResidencyValues are the computed form: the region is that of the
	// field's value.
	ResidencyField  string
	ResidencyValues map[string]string
}

// IsZero reports whether there is no label.
func (l Labels) IsZero() bool {
	return len(l.Class) == 0 && len(l.Residency) == 0 && l.ResidencyField == ""
}

// The types without parameters. They are shared; never change them.
var (
	DynType       = &Type{Kind: Dyn}
	NullType      = &Type{Kind: Null}
	BoolType      = &Type{Kind: Bool}
	IntType       = &Type{Kind: Int}
	UintType      = &Type{Kind: Uint}
	DoubleType    = &Type{Kind: Double}
	DecimalType   = &Type{Kind: Decimal}
	StringType    = &Type{Kind: String}
	BytesType     = &Type{Kind: Bytes}
	TimestampType = &Type{Kind: Timestamp}
	DurationType  = &Type{Kind: Duration}
	NeverType     = &Type{Kind: Never}
)

// ListOf is a list of elem.
func ListOf(elem *Type) *Type { return &Type{Kind: List, Elem: elem} }

// MapOf is a map from string to elem.
func MapOf(elem *Type) *Type { return &Type{Kind: Map, Elem: elem} }

// OptionalOf is elem that may be absent. An optional of an optional is the same optional.
func OptionalOf(elem *Type) *Type {
	if elem.Kind == Optional {
		return elem
	}
	return &Type{Kind: Optional, Elem: elem}
}

// Field finds a declared field of an Object by name.
func (t *Type) Field(name string) (Field, bool) {
	for _, f := range t.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// IsDyn reports whether t is nil or dyn.
func (t *Type) IsDyn() bool { return t == nil || t.Kind == Dyn }

// IsNumeric reports whether t is int, uint, double or decimal.
func (t *Type) IsNumeric() bool {
	return t != nil && (t.Kind == Int || t.Kind == Uint || t.Kind == Double || t.Kind == Decimal)
}
