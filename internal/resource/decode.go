package resource

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// NodeDecoder is implemented (on the pointer) by a type that reads itself from a node.
type NodeDecoder interface {
	DecodeNode(n *Node, d *Decoder)
}

// Decoder turns nodes into Go values. Findings go to Diags. It is not safe for concurrent use.
type Decoder struct {
	Diags *diag.List
	// Registry decodes the configuration of codecs in place; nil leaves a Format's Config the
	// *Node that stands there.
	Registry *penstock.Registry
	// Secrets collects the secrets that were referred to. The values are put in before a driver
	// is built.
	Secrets []SecretUse
}

// SecretUse is a place in a decoded configuration that wants the value of a secret.
type SecretUse struct {
	Name   string
	Pos    penstock.Pos
	Target *penstock.Secret // what to assign penstock.NewSecret(value) to
}

// Decode decodes n into the value that into points to, with a zero [Decoder].
func Decode(n *Node, into any, l *diag.List) {
	d := &Decoder{Diags: l}
	d.Decode(n, into)
}

// Decode decodes n into the value that into points to.
func (d *Decoder) Decode(n *Node, into any) {}
