package resource

import (
	"penstock.dev/penstock"
)

// Secrets says where an [Integration] has the values of secrets from: one provider, or a list of them that is tried in order.
type Secrets []SecretProvider

// SecretProvider is a provider of secrets with its settings.
type SecretProvider struct {
	// Name of the provider: the value of `provider`.
	Name string
	Pos  penstock.Pos // of the name
	// Config is what stands beside it, for the provider's own struct.
	Config *Node
}

// DecodeNode implements [NodeDecoder].
func (s *Secrets) DecodeNode(n *Node, d *Decoder) {
	if n.Kind != NodeList {
		s.provider(n, d)
		return
	}
	if len(n.Elems) == 0 {
		d.errorf(n.Pos, "wrong-value", "", "name a provider, as in `[ { provider: env } ]`, or leave `secrets` out", "`secrets` names no provider")
	}
	for _, e := range n.Elems {
		s.provider(e, d)
	}
}

func (s *Secrets) provider(n *Node, d *Decoder) {
	if n.Kind != NodeMap {
		d.wrong(n, &fieldInfo{name: "secrets"}, "a map such as { provider: folder, path: /run/secrets }, or a list of such maps", "")
		return
	}
	name := n.Entry("provider")
	if name == nil {
		d.errorf(n.Pos, "missing-field", "", "add `provider: …`: "+orList(d.providers()), "`secrets` needs the name of a provider")
		return
	}
	text, ok := d.text(name.Value, &fieldInfo{name: "provider", rules: rules{required: true}})
	if !ok {
		return
	}
	own := &Node{Kind: NodeMap, Pos: n.Pos}
	for _, e := range n.Entries {
		if e.Key != "provider" {
			own.Entries = append(own.Entries, e)
		}
	}
	*s = append(*s, SecretProvider{Name: text, Pos: name.Value.Pos, Config: own})
}

// providers are the names of those that this program has.
func (d *Decoder) providers() []string {
	var out []string
	if d.Registry != nil {
		for _, drv := range d.Registry.Drivers(penstock.KindOfSecrets) {
			out = append(out, drv.Spec.Name)
		}
	}
	return out
}
