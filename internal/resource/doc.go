// Package resource reads configuration files: YAML into typed resources that know where
// every part of them stands (the first step of config → compile → run).
//
// [Load] finds and reads the files, twice: as YAML 1.2, which is what counts, and as
// kubectl does (YAML 1.1), to refuse whatever the two understand differently. [Decode]
// turns a node into a Go struct, strictly: an unknown field, a wrong type or a template
// where CEL belongs is a finding with its place. Everything wrong is collected; nothing
// stops at the first.
//
// # Struct tags
//
// A configuration struct, of this package or of a driver, says with tags how it is read:
//
//	Path  penstock.Template `json:"path" penstock:"required"`
//	Level string            `json:"level" penstock:"enum=debug|info|warn|error,default=info"`
//	Max   int               `json:"max" penstock:"min=1,max=1000,default=100"`
//
// required: the field must be there. enum: the words allowed. default: the value of a field
// that is left out, in the field's own notation. min, max: bounds of numbers, sizes and
// durations, and of how many elements a list has. nonempty: text, lists and maps must hold
// something. name: text must be a name that CEL can read. dns: text must be a DNS label.
// self: the whole value is this one field's (the struct has no fields of its own in the
// file). A field without a json tag, or with "-", is not read. A struct that is embedded
// is read as if its fields stood in the outer one; an embedded [Place] is filled.
//
// The types that are understood: string, bool, the integers, float64, [penstock.Duration],
// [penstock.Rate], [penstock.Size], [penstock.Share], [penstock.Code], [penstock.Expr], [penstock.Template],
// [penstock.Path], [penstock.Tree], [penstock.DataTree], [penstock.Format], [penstock.ConnectionRef],
// [penstock.Secret], [Ref], *[Node], structs, pointers, slices, map[string]T, [Ordered],
// and whatever implements [NodeDecoder].
package resource

//go:generate go run penstock.dev/penstock/edition/reference
