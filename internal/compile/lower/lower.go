// Package lower turns a flow's steps into the flat program of a plan, and follows the
// types through it: what the body, the variables and the headers are before and after each
// node. There is one file per verb. A verb says what it is lowered to; what a node does to
// what is known (a value is put somewhere, branches rejoin, a condition narrows, nothing
// comes after) is written once, in state.go.
package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// World is what lies around a flow: the compiler's other resources and the drivers.
type World interface {
	// Schema finds a Schema resource; nil after a finding.
	Schema(ref resource.Ref, l *diag.List) *Schema
	// Codec completes a format for records of type t, nil after a finding, and says what a decode step makes with it.
	Codec(f *penstock.Format, t *types.Type, l *diag.List) (penstock.Codec, *types.Type)
	// Neighbour reads the bytes of a file beside the resource, or base64 in it; nil after a finding. what names it in messages.
	Neighbour(n *resource.Neighbour, what string, l *diag.List) []byte
	// Sink makes the endpoint that a `to` sends to; nil after a finding.
	Sink(u Use, l *diag.List) *plan.Endpoint
	// Caller makes the endpoint that a `call` asks, and says what it answers; nil after a finding.
	Caller(u Use, l *diag.List) (*plan.Endpoint, Reply)
	// Redriven says that a flow gives in the dead letters of another.
	Redriven(flow resource.Ref, by string, l *diag.List)
	// Entity finds an Entity resource; nil after a finding.
	Entity(ref resource.Ref, l *diag.List) *plan.Entity
	// View says what may be asked of a view; nil after a finding.
	View(ref resource.Ref, l *diag.List) *View
	// Queue makes the endpoint by which data of a type is enqueued in a JobQueue; nil after a finding.
	Queue(ref resource.Ref, name string, data *types.Type, l *diag.List) *plan.Endpoint
	// Sent says that a flow sends messages of a type to a channel.
	Sent(channel string, s Sent)
}

// Schema is a compiled Schema resource.
type Schema struct {
	Name  string
	Type  *types.Type
	Check step.Validator
	Text  penstock.SchemaText
	Form  []byte // JSON Schema of documents, whatever the language of Text
}

// Use is one place where a flow uses a target.
type Use struct {
	Target *resource.Target
	Name   string // flow/step
	Scope  *scope.Scope
	Type   *types.Type // of what is sent; nil for a call
	Exprs  Exprs
	Dry    bool // what is made is thrown away
}

// Reply is what a caller answers.
type Reply struct {
	Type *types.Type // dyn if nothing is known
	// Maybe says that there may be no answer: a keyed look-up that misses.
	Maybe bool
	// Parts and Trees are what the driver's configuration computes for a message.
	Parts []penstock.Program
	Trees []penstock.Mapping
}

// Sent is what a flow sends to a channel.
type Sent struct {
	Flow  string
	Type  *types.Type
	Keyed bool         // the messages have a key
	Pos   penstock.Pos // of the step
	What  string       // what is sent, for people; "": what goes to the channel
}

// Options are what a flow is lowered with.
type Options struct {
	Name    string
	Profile *expr.Profile
	World   World
	Diags   *diag.List
	Params  []scope.Field // in force for all flows of a plan; shared
	Input   *types.Type   // of the sources' bodies
	Schema  *Schema       // of the sources, for validate without one; nil if none or several
	Keyed   bool          // messages have a key when they come
	Order   plan.Order    // of the flow
	Request *types.Type   // of `request`; nil where the flow is not called
	Replies bool          // somebody waits for what the flow makes of a message
}
