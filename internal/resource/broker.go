package resource

import "penstock.dev/penstock"

// Broker is where a channel is instead of in the store: a map with the name of a technology, and what the broker is asked for.
type Broker struct {
	Place
	// Tech is the technology; "" where there is none, or none that can be used.
	Tech    string
	TechPos penstock.Pos
	// Config is what stands below it, for the technology's own struct.
	Config *Node
}

// IsZero reports whether the channel is not on a broker.
func (b *Broker) IsZero() bool { return b.Node == nil }

// DecodeNode implements [NodeDecoder].
func (b *Broker) DecodeNode(n *Node, d *Decoder) {
	b.Place = Place{n.Pos, n}
	names := d.brokers()
	example := "kafka"
	if len(names) > 0 {
		example = names[0]
	}
	if n.Kind != NodeMap || len(n.Entries) == 0 {
		d.wrong(n, &fieldInfo{name: d.field}, "a map with the name of a broker", "write `broker: { "+example+": { connection: … } }`, or leave it out: the channel is then in the store")
		return
	}
	if len(n.Entries) > 1 {
		d.errorf(n.Entries[1].KeyPos, "two-connectors", n.Entries[1].Key, "keep one of them", "a channel is on one broker, and this one has `%s` and `%s`", n.Entries[0].Key, n.Entries[1].Key)
		return
	}
	e := &n.Entries[0]
	if d.Registry != nil {
		if _, ok := d.Registry.Lookup(penstock.KindOfChannel, e.Key); !ok {
			hint := hintFor(e.Key, names)
			if hint == "" && len(names) > 0 {
				hint = "there are " + orList(names)
			}
			d.errorf(e.KeyPos, "unknown-driver", e.Key, hint, "this program has no broker called `%s`", e.Key)
			return
		}
	}
	if e.Value.Kind != NodeMap {
		d.errorf(e.Value.Pos, "wrong-type", clip(e.Value.Text), "write `"+e.Key+": { … }`", "the configuration of `%s` is a map", e.Key)
		return
	}
	b.Tech, b.TechPos, b.Config = e.Key, e.KeyPos, e.Value
}

// brokers are the names of those that this program has.
func (d *Decoder) brokers() []string {
	var out []string
	if d.Registry != nil {
		for _, drv := range d.Registry.Drivers(penstock.KindOfChannel) {
			out = append(out, drv.Spec.Name)
		}
	}
	return out
}
