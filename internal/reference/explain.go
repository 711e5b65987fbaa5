package reference

import (
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/guarantee"
	"penstock.dev/penstock/internal/resource"
)

// Topic is what there is to say about one word.
type Topic struct {
	Name     string       `json:"name"`               // "flow.onError.retry", "aggregate", "timeout"
	Kind     string       `json:"kind"`               // kind, field, verb, connector, codec, connection, error code
	Type     string       `json:"type,omitempty"`     // of a field: what is written there
	Doc      string       `json:"doc"`                // in sentences
	Required bool         `json:"required,omitempty"` // of a field
	Default  string       `json:"default,omitempty"`  // of a field
	Facts    []Fact       `json:"facts,omitempty"`    // what its page states, by name
	Fields   []TopicField `json:"fields,omitempty"`   // what can be written below it
	Example  string       `json:"example,omitempty"`  // YAML
	// Unsupported are the words of the language that a later version will know here.
	Unsupported []string `json:"unsupported,omitempty"`
}

// Fact is a named statement.
type Fact struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// TopicField is a field below a topic.
type TopicField struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	Default  string `json:"default,omitempty"`
	Doc      string `json:"doc"`
}

// Explain finds what there is to say about a word: a kind and a path of fields below it (flow.onError.retry;
// the kind in any case), a verb, a connector, a codec or an error code, each also with fields below it. A word with several
// meanings gives several topics. An error says what was probably meant.
func (r *Reference) Explain(word string) ([]Topic, error) {
	head, rest, _ := strings.Cut(word, ".")
	var parts []string
	if rest != "" {
		parts = strings.Split(rest, ".")
	}
	var out []Topic
	var firstErr error
	for _, e := range r.entries() {
		plural := e.kind == "kind" && strings.EqualFold(e.name+"s", head)
		if !plural && !strings.EqualFold(e.name, head) {
			continue
		}
		t, err := r.descend(e, parts)
		if err != nil {
			if firstErr == nil {
				firstErr = err
			}
			continue
		}
		out = append(out, t)
	}
	if len(out) > 0 {
		return out, nil
	}
	if firstErr != nil {
		return nil, firstErr
	}
	e := penstock.E(penstock.NotFound, "explain", word, "there is no such kind, verb, connector, codec or error code")
	e.Hint = "try flow, flow.onError, aggregate, file or timeout"
	if near := diag.Nearest(head, r.Topics()); near != "" {
		e.Hint = "did you mean `" + near + "`?"
	}
	if later := laterWord(head); later {
		e.Err = fmt.Errorf("`%s` is part of the language but not supported by this version", head)
		e.Hint = ""
	}
	return nil, e
}

func laterWord(word string) bool {
	for _, place := range []string{"kind", "Step", "Target"} {
		if slices.Contains(resource.Unsupported(place), word) {
			return true
		}
	}
	return false
}

// Topics lists the words that Explain knows, sorted, each once.
func (r *Reference) Topics() []string {
	var out []string
	for _, e := range r.entries() {
		out = append(out, e.name)
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// entry is a word that Explain begins with.
type entry struct {
	name, kind string
	types      []reflect.Type // the structs of what stands below it; several for a connector that reads, writes and is asked
	role       string         // of a connector, where the entry is about one of its roles
	topic      func() Topic
}

func (r *Reference) entries() []entry {
	var out []entry
	for _, k := range resource.Kinds() {
		t := reflect.TypeOf(resource.SpecOf(k)).Elem()
		out = append(out, entry{name: strings.ToLower(string(k)), kind: "kind", types: []reflect.Type{t}, topic: func() Topic {
			return Topic{Doc: r.kindDoc(k), Unsupported: resource.Unsupported(string(k))}
		}})
	}
	out = append(out, entry{name: "metadata", kind: "field", types: []reflect.Type{reflect.TypeFor[resource.Metadata]()}, topic: func() Topic {
		return Topic{Doc: r.comments.ofType(reflect.TypeFor[resource.Metadata]())}
	}}, entry{name: "step", kind: "field", types: []reflect.Type{reflect.TypeFor[resource.Step]()}, topic: func() Topic {
		return Topic{Doc: r.comments.ofType(reflect.TypeFor[resource.Step]()), Unsupported: resource.Unsupported("Step")}
	}}, entry{name: "target", kind: "field", types: []reflect.Type{reflect.TypeFor[resource.Target]()}, topic: func() Topic {
		return Topic{Doc: r.comments.ofType(reflect.TypeFor[resource.Target]()), Unsupported: resource.Unsupported("Target")}
	}})
	for i := range resource.Verbs() {
		v := &resource.Verbs()[i]
		t := reflect.TypeOf(v.New()).Elem()
		out = append(out, entry{name: v.Name, kind: "verb", types: []reflect.Type{t}, topic: func() Topic {
			return Topic{Doc: r.verbDoc(v), Facts: verbFacts(v), Example: v.Example}
		}})
	}
	for _, name := range r.connectors() {
		out = append(out, r.roles(name)...)
	}
	for _, k := range []string{penstock.KindOfCodec, penstock.KindOfConnection} {
		for _, d := range r.registry.Drivers(k) {
			out = append(out, entry{name: d.Spec.Name, kind: k, types: []reflect.Type{d.Config}, topic: func() Topic { return Topic{Doc: d.Spec.Summary} }})
		}
	}
	for _, c := range penstock.Codes() {
		out = append(out, entry{name: string(c), kind: "error code", topic: func() Topic { return Topic{Doc: codeDocs[c], Facts: codeFacts(c)} }})
	}
	return out
}

// roles are the entries of a connector, one for each thing that it can do: what is written differs.
func (r *Reference) roles(name string) []entry {
	var out []entry
	for _, k := range driverKinds {
		d, ok := r.registry.Lookup(k, name)
		if !ok {
			continue
		}
		facts := driverFacts(k, d)
		out = append(out, entry{name: name, kind: "connector", types: []reflect.Type{d.Config}, role: strings.ReplaceAll(driverTitles[k], "`", ""), topic: func() Topic {
			return Topic{Doc: strings.ReplaceAll(facts[0].Name, "`", "") + ". " + facts[0].Text, Facts: facts[1:]}
		}})
	}
	return out
}

// connectorEntry is a connector with all that it can do.
func (r *Reference) connectorEntry(name string) entry {
	e := entry{name: name, kind: "connector"}
	var doc string
	var facts []Fact
	for _, k := range driverKinds {
		d, ok := r.registry.Lookup(k, name)
		if !ok {
			continue
		}
		if !slices.Contains(e.types, d.Config) {
			e.types = append(e.types, d.Config)
		}
		if doc == "" {
			doc = d.Spec.Summary
		}
		facts = append(facts, driverFacts(k, d)...)
	}
	e.topic = func() Topic { return Topic{Doc: doc, Facts: facts} }
	return e
}

// driverFacts states what a driver's Spec says, in words.
func driverFacts(kind string, d *penstock.Driver) []Fact {
	facts := []Fact{{driverTitles[kind], d.Spec.Summary}}
	switch kind {
	case penstock.KindOfSource:
		if d.Spec.Finite {
			facts = append(facts, Fact{"Ends", "by itself, when everything is read"})
		}
		how := "one by one"
		if d.Spec.Settle == penstock.Cumulative {
			how = "in order: everything up to a message at once"
		}
		facts = append(facts, Fact{"Settles", how})
		facts = append(facts, Fact{"After a crash", comesAgain(d)})
		if d.Spec.Transacts {
			facts = append(facts, Fact{"Transactions", "with `delivery: effectively-once`, in a flow that sends by the same connection: what is read and what is sent is committed together"})
		}
	case penstock.KindOfSink:
		if d.Spec.Loses != "" {
			facts = append(facts, Fact{"Loses", d.Spec.Loses})
		}
		facts = append(facts, Fact{"Written again after a crash", writtenAgain(d)})
		if d.Spec.Transacts {
			facts = append(facts, Fact{"Transactions", "with `delivery: effectively-once`, in a flow that reads by the same connection: what is read and what is sent is committed together"})
		}
	case penstock.KindOfCaller:
		if specific(d) {
			facts = append(facts, Fact{"Asking twice", "depends on what is asked: where it does no harm, transient failures are tried again by default"})
		} else if d.Spec.Idempotent {
			facts = append(facts, Fact{"Asking twice", "does no harm: transient failures are tried again by default"})
		} else {
			facts = append(facts, Fact{"Asking twice", "may do harm: a failure is not tried again unless retry is declared"})
		}
	}
	return facts
}

// specific reports whether what a driver is depends on its configuration.
func specific(d *penstock.Driver) bool {
	_, depends := d.NewConfig().(penstock.Specific)
	return depends
}

// comesAgain says what of a source comes again.
func comesAgain(d *penstock.Driver) string {
	switch {
	case specific(d):
		return "what was read and not done comes again as the configuration allows: `penstock check --verbose` says it of each flow"
	case d.Spec.Replay == penstock.ReplayNone:
		return "what was read and not done is gone"
	case d.Spec.Replay == penstock.ReplayAgain:
		return "what was read and not done comes again, with nothing of its own to know it by: `id` says what that is"
	case d.Spec.Keeps:
		return "what was read and not done comes again, known by its position: from where the store has it, or what it reads from, which keeps it, too"
	}
	return "what was read and not done comes again, known by its position, in a run that keeps state; without, all is read again from the beginning"
}

// writtenAgain says what becomes of a message that a sink is given once more.
func writtenAgain(d *penstock.Driver) string {
	switch {
	case specific(d):
		return "depends on how it is written: `penstock check --verbose` says it of each flow"
	case d.Spec.Rewrite == penstock.RewriteSame:
		return "a message takes its own place: the same has no second effect"
	case d.Spec.Rewrite == penstock.RewriteNothing:
		return "has no effect"
	case d.Spec.Rewrite == penstock.RewriteKnown && d.Spec.Known.Within > 0:
		return "a message is known by " + d.Spec.Known.By + " for " + guarantee.Span(d.Spec.Known.Within)
	case d.Spec.Rewrite == penstock.RewriteKnown:
		return "a message is known by " + d.Spec.Known.By
	}
	return "a message may be there twice"
}

func verbFacts(v *resource.VerbSpec) []Fact {
	into := "none: the message goes on as it is, or with a changed body"
	if v.Value {
		into = "goes to the body, or where `into` says"
	}
	return []Fact{{"Acknowledgement", v.Ack}, {"Order", v.Order}, {"Errors", v.Errors}, {"State", v.State}, {"Type", v.Type}, {"Result", into}, {"Patterns", v.Pattern}}
}

// descend follows fields below an entry.
func (r *Reference) descend(e entry, parts []string) (Topic, error) {
	t := e.topic()
	t.Name, t.Kind = e.name, e.kind
	types := e.types
	if len(parts) > 0 && parts[0] == "spec" && e.kind == "kind" {
		parts = parts[1:] // Flow.spec.from is what one may call flow.from
	}
	for _, p := range parts {
		f, next, ok := r.below(types, p)
		if !ok {
			err := penstock.E(penstock.NotFound, "explain", t.Name+"."+p, "there is no such field")
			if near := diag.Nearest(p, r.namesBelow(types)); near != "" {
				err.Hint = "did you mean `" + t.Name + "." + near + "`?"
			} else if names := r.namesBelow(types); len(names) > 0 {
				err.Hint = "there are " + strings.Join(names, ", ")
			}
			return Topic{}, err
		}
		f.Name, types = t.Name+"."+f.Name, next
		t = f
	}
	if e.role != "" && len(parts) > 0 {
		t.Facts = append([]Fact{{"Where", e.role}}, t.Facts...)
	}
	for _, ty := range types {
		t.Fields = append(t.Fields, r.topicFields(ty)...)
	}
	t.Fields = uniqueFields(t.Fields)
	return t, nil
}

func uniqueFields(in []TopicField) []TopicField {
	var out []TopicField
	for _, f := range in {
		if !slices.ContainsFunc(out, func(have TopicField) bool { return have.Name == f.Name }) {
			out = append(out, f)
		}
	}
	return out
}

// below finds a field, or in a step a verb and in a target a connector.
func (r *Reference) below(types []reflect.Type, name string) (Topic, []reflect.Type, bool) {
	for _, t := range types {
		for _, f := range r.fields(unwrapSelf(t)) {
			if f.Name == name {
				var next []reflect.Type
				if in := inner(f.Type); in != nil {
					next = []reflect.Type{in}
				}
				return Topic{Name: f.Name, Kind: "field", Type: plainWords(&f.FieldSpec), Doc: f.doc, Required: f.Required, Default: f.Default}, next, true
			}
		}
		if s, _ := shapeOf(unwrapSelf(t)); s == shapeStep {
			if v, ok := resource.LookupVerb(name); ok {
				return Topic{Name: name, Kind: "verb", Doc: r.verbDoc(v), Facts: verbFacts(v), Example: v.Example}, []reflect.Type{reflect.TypeOf(v.New()).Elem()}, true
			}
		} else if s == shapeTarget && slices.Contains(r.connectors(), name) {
			e := r.connectorEntry(name)
			topic := e.topic()
			topic.Name, topic.Kind = name, e.kind
			return topic, e.types, true
		}
	}
	return Topic{}, nil, false
}

// unwrapSelf is the struct that stands in the file for t, where t is only a wrapper around it.
func unwrapSelf(t reflect.Type) reflect.Type {
	if fs := resource.DescribeStruct(t); len(fs) == 1 && fs[0].Self {
		if in := inner(fs[0].Type); in != nil {
			return unwrapSelf(in)
		}
	}
	return t
}

func (r *Reference) namesBelow(types []reflect.Type) []string {
	var out []string
	for _, t := range types {
		for _, f := range r.topicFields(t) {
			out = append(out, f.Name)
		}
		if s, _ := shapeOf(unwrapSelf(t)); s == shapeStep {
			for i := range resource.Verbs() {
				out = append(out, resource.Verbs()[i].Name)
			}
		}
	}
	return out
}

// topicFields lists the fields of a struct; of a wrapper, those of what it wraps.
func (r *Reference) topicFields(t reflect.Type) []TopicField {
	var out []TopicField
	for _, f := range r.fields(unwrapSelf(t)) {
		name := f.Name
		if f.Self {
			name = "(the value)"
		}
		out = append(out, TopicField{Name: name, Type: plainWords(&f.FieldSpec), Required: f.Required, Default: f.Default, Doc: f.doc})
	}
	return out
}

// plainWords is words for a terminal.
func plainWords(f *resource.FieldSpec) string {
	return strings.NewReplacer("`", "", "\\|", "|").Replace(words(f))
}

// Text renders the topic for a terminal of a width, at least 40 columns.
func (t *Topic) Text(width int) string {
	width = max(width, 40)
	var b strings.Builder
	b.WriteString(strings.ToUpper(t.Kind) + "  " + t.Name)
	if t.Type != "" {
		b.WriteString("  <" + t.Type + ">")
	}
	if t.Required {
		b.WriteString("  required")
	}
	if t.Default != "" {
		b.WriteString("  default " + t.Default)
	}
	b.WriteString("\n\n" + wrap(t.Doc, "  ", width) + "\n")
	for _, f := range t.Facts {
		b.WriteString("\n" + wrap(f.Name+": "+strings.ReplaceAll(f.Text, "`", ""), "  ", width) + "\n")
	}
	if len(t.Fields) > 0 {
		b.WriteString("\nFIELDS\n")
	}
	for _, f := range t.Fields {
		b.WriteString("  " + f.Name + "  <" + f.Type + ">")
		if f.Required {
			b.WriteString("  required")
		}
		if f.Default != "" {
			b.WriteString("  default " + f.Default)
		}
		b.WriteString("\n" + wrap(f.Doc, "      ", width) + "\n")
	}
	if t.Example != "" {
		b.WriteString("\nEXAMPLE\n")
		for line := range strings.Lines(t.Example + "\n") {
			b.WriteString("  " + line)
		}
	}
	if len(t.Unsupported) > 0 {
		b.WriteString("\n" + wrap("Not supported by this version: "+strings.Join(t.Unsupported, ", "), "  ", width) + "\n")
	}
	return b.String()
}

// wrap breaks text into indented lines of a width in characters.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	col := 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case col == 0:
			b.WriteString(indent)
			col = len(indent)
		case col+1+n > width:
			b.WriteString("\n" + indent)
			col = len(indent)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += n
	}
	return b.String()
}
