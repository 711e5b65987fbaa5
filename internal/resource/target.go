package resource

import (
	"reflect"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// DecodeNode reads a target: one connector or channel, and options beside it.
func (t *Target) DecodeNode(n *Node, d *Decoder) {
	f := &fieldInfo{name: d.field}
	switch n.Kind {
	case NodeText:
		d.wrong(n, f, "a map with one connector or channel", "write `{ channel: "+clip(n.Text)+" }`")
		t.Place = Place{n.Pos, n}
		return
	case NodeList:
		d.wrong(n, f, "a map with one connector or channel", "several sources stand under `sources`; to send to several places use a `to` step for each")
		t.Place = Place{n.Pos, n}
		return
	}
	options := d.info(reflect.TypeFor[Target]()).names()
	var found []*NodeEntry
	d.structure(n, reflect.ValueOf(t).Elem(), f, func(e *NodeEntry) bool {
		if isUnsupported("Target", e.Key) {
			if d.Registry == nil || !d.isConnector(e.Key) {
				return false
			}
		}
		found = append(found, e)
		return true
	})
	if n.Kind != NodeMap {
		return
	}
	if len(found) > 1 {
		found = d.pickConnector(found, options)
	}
	switch {
	case len(found) == 0:
		if !d.reported(n, options) {
			d.errorf(n.Pos, "no-connector", "", "add `channel: …`, or a connector such as `file: { path: … }`", "the target names no connector and no channel")
		}
		return
	case len(found) > 1:
		d.errorf(found[1].KeyPos, "two-connectors", found[1].Key, "keep one of them", "a target is one connector or channel, and this one has `%s` and `%s`",
			found[0].Key, found[1].Key)
	}
	t.connect(found[0], d)
}

// reported says whether n has a key that was reported as unsupported already.
func (d *Decoder) reported(n *Node, options []string) bool {
	for i := range n.Entries {
		if k := n.Entries[i].Key; !slices.Contains(options, k) {
			return true
		}
	}
	return false
}

func (t *Target) connect(e *NodeEntry, d *Decoder) {
	t.Connector, t.ConnectorPos = e.Key, e.KeyPos
	if e.Key == "channel" {
		own := &fieldInfo{name: "channel"}
		s, ok := d.text(e.Value, own)
		if ok && d.dns(strings.TrimSuffix(s, deadSuffix), e.Value.Pos, "`channel`") {
			t.Channel = Ref{Name: s, Pos: e.Value.Pos}
		}
		return
	}
	if e.Key == "entity" {
		s, ok := d.text(e.Value, &fieldInfo{name: "entity"})
		if ok && d.dns(s, e.Value.Pos, "`entity`") {
			t.Entity = Ref{Name: s, Pos: e.Value.Pos}
		}
		return
	}
	if e.Key == queueWord {
		if s, ok := d.text(e.Value, &fieldInfo{name: queueWord}); ok && d.dns(s, e.Value.Pos, "`queue`") {
			t.Queue, t.Channel = Ref{Name: s, Pos: e.Value.Pos}, Ref{Name: QueuePrefix + s, Pos: e.Value.Pos}
		}
		return
	}
	if d.Registry != nil && !d.isConnector(e.Key) {
		d.errorf(e.KeyPos, "unknown-driver", e.Key, hintFor(e.Key, append(d.connectors(), "channel", "entity")), "this program has no connector called `%s`", e.Key)
	}
	t.Config = e.Value
	if e.Value.Kind != NodeMap {
		d.errorf(e.Value.Pos, "wrong-type", clip(e.Value.Text), "write `"+e.Key+": { … }`", "the configuration of `%s` is a map", e.Key)
		t.Config = &Node{Kind: NodeMap, Pos: e.Value.Pos}
	}
}

// deadSuffix ends the names of the implicit dead-letter channels.
const deadSuffix = ".dead"

// IsDead reports whether the target reads the implicit dead-letter channel of a flow, and of which.
func (t *Target) IsDead() (flow string, ok bool) {
	return strings.CutSuffix(t.Channel.Name, deadSuffix)
}

// pickConnector leaves out of several unknown keys those that are misspelt options.
func (d *Decoder) pickConnector(found []*NodeEntry, options []string) []*NodeEntry {
	var left []*NodeEntry
	for _, e := range found {
		near := diag.Nearest(e.Key, options)
		if e.Key == "channel" || e.Key == "entity" || near == "" || d.Registry != nil && d.isConnector(e.Key) {
			left = append(left, e)
			continue
		}
		d.errorf(e.KeyPos, "unknown-field", e.Key, "did you mean `"+near+"`?", "unknown field `%s` beside a connector", e.Key)
	}
	if len(left) == 0 {
		return found[:1]
	}
	return left
}

var connectorKinds = []string{penstock.KindOfSource, penstock.KindOfSink, penstock.KindOfCaller, penstock.KindOfServer}

func (d *Decoder) isConnector(name string) bool {
	for _, k := range connectorKinds {
		if _, ok := d.Registry.Lookup(k, name); ok {
			return true
		}
	}
	return false
}

func (d *Decoder) connectors() []string {
	var out []string
	for _, k := range connectorKinds {
		for _, drv := range d.Registry.Drivers(k) {
			if !slices.Contains(out, drv.Spec.Name) {
				out = append(out, drv.Spec.Name)
			}
		}
	}
	return out
}

// only reports options that mean nothing where the target stands.
func (t *Target) only(d *Decoder, where string, allowed ...string) {
	for _, f := range []string{"schema", "key", "id", "remember", "body", "wait", "cache", "paginate"} {
		if t.Has(f) && !slices.Contains(allowed, f) {
			d.errorf(t.AtKey(f), "wrong-field", f, "leave it out", "`%s` means nothing in %s", f, where)
		}
	}
	if t.Connector == "entity" && where != "a source" {
		d.errorf(t.ConnectorPos, "wrong-field", "entity", "use a step of its own: `command: { entity: …, name: … }`, or `query`", "an entity is read by flows, and %s is none", where)
	}
	if t.Connector == queueWord && where != "a source" {
		d.errorf(t.ConnectorPos, "wrong-field", queueWord, "enqueue with a step: `job: { queue: "+t.Queue.Name+" }`", "a queue of jobs is read with `from`, and nothing is sent to it by `%s`", queueWord)
	}
	if _, dead := t.IsDead(); dead && where != "a source" {
		d.errorf(t.Channel.Pos, "wrong-name", t.Channel.Name, "name the channel otherwise", "`%s` is a reserved name, which only a source may read", t.Channel.Name)
	}
}

func (f *Flow) check(d *Decoder) {
	if f.Node == nil || f.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&f.Place, "a flow", "from", "sources")
	for _, in := range f.Inputs() {
		in.only(d, "a source", "schema", "key", "id", "remember")
		in.checkID(d)
	}
	if f.To != nil {
		f.To.only(d, "`to`", "schema", "key", "body")
	}
	if f.OnError.Retry != nil {
		f.OnError.Retry.noBudget(d, "a flow")
	}
	if f.OnError.DeadLetter != nil {
		f.OnError.DeadLetter.only(d, "`deadLetter`")
	}
}

// checkID looks at what a source says of the identity of its messages.
func (t *Target) checkID(d *Decoder) {
	switch {
	case t.Has("id") && t.Connector == "entity":
		d.errorf(t.AtKey("id"), "wrong-field", "id", "leave it out", "events are known by their position: `id` means nothing beside an entity")
	case t.Has("id") && t.Connector == queueWord:
		d.errorf(t.AtKey("id"), "wrong-field", "id", "leave it out; `unique` of the JobQueue keeps the same job from being enqueued twice", "a job has an identity of its own: `id` means nothing beside `queue`")
	case t.Has("id") && t.Connector == "channel":
		d.errorf(t.AtKey("id"), "wrong-field", "id", "leave it out; use `dedupe` where senders may send a message twice", "a channel knows its messages by their position: `id` means nothing beside it")
	case t.Has("remember") && !t.Has("id"):
		d.errorf(t.AtKey("remember"), "wrong-field", "remember", "add `id: …`, or leave it out", "`remember` says how long identities are kept, and means nothing without `id`")
	}
}

func (s *Send) check(d *Decoder) { s.Target.only(d, "a `to` step", "schema", "key", "body", "wait") }
func (c *Call) check(d *Decoder) {
	c.Target.only(d, "a call", "schema", "key", "body", "cache", "paginate")
	if c.Target.Connector == "channel" {
		d.errorf(c.Target.ConnectorPos, "wrong-field", "channel", "send to it with `to`", "a channel gives no answer, and can't be called")
	}
}

func (b *Backoff) check(d *Decoder) {
	if b.Max < b.Initial && b.Has("max") {
		d.errorf(b.At("max"), "out-of-range", b.Max.String(), "", "`max` is shorter than `initial`, %s", b.Initial)
	}
}

// DecodeNode reads a connection: one technology, and what all connections have.
func (c *Connection) DecodeNode(n *Node, d *Decoder) {
	var found []*NodeEntry
	d.structure(n, reflect.ValueOf(c).Elem(), &fieldInfo{name: "spec"}, func(e *NodeEntry) bool {
		if isUnsupported("Connection", e.Key) {
			return false
		}
		found = append(found, e)
		return true
	})
	if n.Kind != NodeMap {
		return
	}
	if len(found) > 1 {
		found = d.pickConnector(found, d.info(reflect.TypeFor[Connection]()).names())
	}
	switch len(found) {
	case 0:
		d.errorf(n.Pos, "no-connector", "", "add the technology, such as `http: { url: … }`", "the connection names no technology")
		return
	case 1:
	default:
		d.errorf(found[1].KeyPos, "two-connectors", found[1].Key, "make two connections", "a connection has one technology, and this one has `%s` and `%s`", found[0].Key, found[1].Key)
	}
	e := found[0]
	c.Tech, c.TechPos, c.Config = e.Key, e.KeyPos, e.Value
	if e.Value.Kind != NodeMap {
		d.errorf(e.Value.Pos, "wrong-type", clip(e.Value.Text), "write `"+e.Key+": { … }`", "the configuration of `%s` is a map", e.Key)
		c.Config = &Node{Kind: NodeMap, Pos: e.Value.Pos}
	}
}

func (c *Channel) check(d *Decoder) {
	if c.Durable && c.Has("capacity") {
		d.errorf(c.AtKey("capacity"), "wrong-field", "capacity", "leave it out, or write `durable: false`", "a durable channel keeps messages in the store, and is never full: `capacity` means nothing here")
	}
	switch {
	case c.Has("broker") && !c.Durable:
		d.errorf(c.AtKey("broker"), "wrong-field", "broker", "leave one of them out", "a channel with `durable: false` is in memory, and can't be on a broker")
	case !c.Has("retention"):
	case !c.Durable:
		d.errorf(c.AtKey("retention"), "wrong-field", "retention", "leave it out, or leave `durable: false` out", "a channel in memory keeps nothing: `retention` means nothing here")
	case c.Mode == "queue": // also of a broker
		d.errorf(c.AtKey("retention"), "wrong-field", "retention", "leave it out, or make it a topic", "a queue keeps each message until it is done, and no longer: `retention` means nothing here")
	}
}

// DecodeNode reads {file}, {inline}, or the document itself.
func (b *Neighbour) DecodeNode(n *Node, d *Decoder) {
	b.Place = Place{n.Pos, n}
	if n.Kind != NodeMap {
		d.wrong(n, &fieldInfo{name: d.field}, "a map: `{ file: … }` or the document itself", "")
		return
	}
	if len(n.Entries) == 1 {
		switch e := &n.Entries[0]; e.Key {
		case "file":
			if s, ok := d.text(e.Value, &fieldInfo{name: "file", rules: rules{required: true}}); ok {
				b.File, b.Path = s, besides(n.Pos.File, s)
			}
			return
		case "inline":
			b.Inline = e.Value
			return
		case "configMap":
			d.unsupported(e.KeyPos, e.Key)
			return
		}
	}
	b.Inline = n
}
