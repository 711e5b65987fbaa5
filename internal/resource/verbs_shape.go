package resource

import "penstock.dev/penstock"

// Map makes a new body: a data tree in which every key is data and every text a template.
type Map struct {
	Place
	// The new body.
	Value penstock.Tree `json:"-" penstock:"self,required"`
}

// Assign (the verb set) puts values at paths and leaves the rest as it is. The values are computed from the message as it entered the step, then written in the order of the file.
type Assign struct {
	Place
	// Values by path: body.total, body["x-y"], vars.country, meta.priority, key.
	Values []Assignment `json:"-" penstock:"self,required,nonempty"`
}

// Assignment is one entry of [Assign].
type Assignment struct {
	Path  penstock.Path
	Value penstock.Tree
}

// Remove takes away what is at the paths. A path that is not there is left alone.
type Remove struct {
	Place
	// Paths to take away.
	Paths []penstock.Path `json:"-" penstock:"self,required,nonempty"`
}

// Filter lets pass what the condition is true for. The rest ends here, as success.
type Filter struct {
	Place
	// Condition, a bool.
	Condition penstock.Expr `json:"-" penstock:"self,required"`
}

// Validate checks the whole body against a schema; a body that differs fails with unprocessable and the paths that are wrong.
type Validate struct {
	Place
	// Name of the Schema. Left out, the one that the flow's source names.
	Schema Ref `json:"schema"`
}

// DecodeBody (the verb decode) reads the body, text or bytes in a format, into a document.
type DecodeBody struct {
	Place
	// Codec: {json: {}}, {csv: {separator: ";"}}. Exactly one of format and cloudEvent must be there.
	Format penstock.Format `json:"format"`
	// Reads a CloudEvent (1.0), in structured or binary mode, by what it says of itself: its data becomes the body, and its attributes headers, meta["ce-id"], meta["ce-type"] and so on. The elements of a batch are split first: split: {each: body}.
	CloudEvent *ReadEvent `json:"cloudEvent"`
	// Name of the Schema of the document, or of a row where the format has rows (csv): the result is a list of them then. It types the result, and columns of text become what it says.
	Schema Ref `json:"schema"`
}

func (v *DecodeBody) check(d *Decoder) { d.exactlyOne(&v.Place, "decode", "format", "cloudEvent") }

// EncodeBody (the verb encode) writes the body in a format; the body is then text or bytes.
type EncodeBody struct {
	Place
	// Codec: {json: {}}, {csv: {separator: ";"}}. Exactly one of format and cloudEvent must be there.
	Format penstock.Format `json:"format"`
	// Makes a CloudEvent (1.0) of the message: the body is its data. Attributes that are not written here are those that the message has as headers, meta["ce-type"] and so on; connectors send them under the names of their protocol.
	CloudEvent *WriteEvent `json:"cloudEvent"`
}

func (v *EncodeBody) check(d *Decoder) { d.exactlyOne(&v.Place, "encode", "format", "cloudEvent") }

// Sort orders the body, a list, stably.
type Sort struct {
	Place
	// What to order by; item is the element.
	By penstock.Expr `json:"by" penstock:"required"`
	// Whether the largest comes first.
	Descending bool `json:"descending" penstock:"default=false"`
}

// Mask replaces what is at the paths, or all fields of a class, so that it can be shown.
type Mask struct {
	Place
	// Paths to mask. Written directly: mask: [body.email].
	Paths []penstock.Path `json:"-"`
	// Label class of the schema (x-class) whose fields are masked: pii.
	Class string `json:"class"`
}

// Log writes a line to the log.
type Log struct {
	Place
	// Text of the line.
	Message penstock.Template `json:"message" penstock:"required"`
	// Level of the line.
	Level string `json:"level" penstock:"enum=debug|info|warn|error,default=info"`
}

// Script runs a function of a WebAssembly module over the message, and gives what it answers. The module gets JSON and gives JSON; it
// reaches nothing else: no file, no network, no clock, no chance, and nothing of another message.
type Script struct {
	Place
	// The module: {file: score.wasm}, relative to the file that the flow stands in, or {inline: …} in base64.
	Wasm *Neighbour `json:"wasm" penstock:"required"`
	// The function that is called, one that the module exports.
	Function string `json:"function" penstock:"default=run,nonempty"`
	// What it gets, a data tree. Left out, the body.
	Input penstock.Tree `json:"input"`
	// Name of the Schema of what it answers. It types the result, which is verified where it is read.
	Schema Ref `json:"schema"`
	// How much memory it may take for a message.
	Memory penstock.Size `json:"memory" penstock:"default=16Mi,min=64Ki,max=1Gi"`
	// How long it may take for a message, by the machine's clock. A message for which it takes longer fails with timeout.
	Timeout penstock.Duration `json:"timeout" penstock:"default=100ms,min=1ms,max=1m"`
}

func (*Map) verb() string        { return "map" }
func (*Assign) verb() string     { return "set" }
func (*Remove) verb() string     { return "remove" }
func (*Filter) verb() string     { return "filter" }
func (*Validate) verb() string   { return "validate" }
func (*DecodeBody) verb() string { return "decode" }
func (*EncodeBody) verb() string { return "encode" }
func (*Sort) verb() string       { return "sort" }
func (*Mask) verb() string       { return "mask" }
func (*Log) verb() string        { return "log" }
func (*Script) verb() string     { return "script" }
