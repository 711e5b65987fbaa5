package flowtest

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// document reads a document that was seen. What was hidden in it is made up, so that it has the type that is wanted.
func (w *writer) document(src []byte, typ *types.Type) (*penstock.Tree, error) {
	t, err := parse(src)
	if err != nil {
		return nil, err
	}
	if madeUp(&t, typ, 0) {
		w.note("what a schema labels was not kept: values that are made up stand in its place")
	}
	return &t, nil
}

// madeUp replaces what was hidden ("[pii]") by something of the type that the schema wants.
func madeUp(t *penstock.Tree, typ *types.Type, depth int) (changed bool) {
	if typ == nil || depth > 32 {
		return false
	}
	if t.Kind == penstock.TreeText && len(typ.Labels.Class) > 0 && t.Text == "["+typ.Labels.Class[0]+"]" {
		*t = example(typ, t)
		return true
	}
	for i := range t.Elems {
		switch of := typ.Elem; t.Kind {
		case penstock.TreeMap:
			for _, f := range typ.Fields {
				if f.Name == t.Keys[i] {
					of = f.Type
				}
			}
			changed = madeUp(&t.Elems[i], of, depth+1) || changed
		default:
			changed = madeUp(&t.Elems[i], of, depth+1) || changed
		}
	}
	return changed
}

// example is a value of a type; text stays what it was.
func example(typ *types.Type, was *penstock.Tree) penstock.Tree {
	text := func(s string) penstock.Tree { return penstock.Tree{Kind: penstock.TreeText, Text: s} }
	switch typ.Kind {
	case types.Bool:
		return penstock.Tree{Kind: penstock.TreeBool}
	case types.Int, types.Double:
		return penstock.Tree{Kind: penstock.TreeNumber, Text: "1"}
	case types.Decimal:
		if typ.DecimalText {
			return text("1")
		}
		return penstock.Tree{Kind: penstock.TreeNumber, Text: "1"}
	case types.Timestamp:
		switch {
		case typ.Layout != "":
			return text(epoch.Format(typ.Layout))
		case typ.Date:
			return text(epoch.Format(time.DateOnly))
		}
		return text(epoch.Format(time.RFC3339))
	case types.Duration:
		return text("1s")
	case types.List:
		return penstock.Tree{Kind: penstock.TreeList}
	case types.Object, types.Map:
		out := penstock.Tree{Kind: penstock.TreeMap}
		for _, f := range typ.Fields {
			if f.Required {
				out.Keys, out.Elems = append(out.Keys, f.Name), append(out.Elems, example(f.Type, was))
			}
		}
		return out
	case types.String:
		if len(typ.Enum) > 0 {
			return text(typ.Enum[0])
		}
	}
	return *was
}

// tiresome are headers that are about the connection, or differ each time.
var tiresome = []string{"content-length", "accept-encoding", "traceparent", "tracestate", "baggage", "x-correlation-id"}

// entries writes headers: nothing where the flow never reads them.
func (w *writer) entries(src []byte, words ...string) string {
	if len(src) == 0 || !slices.ContainsFunc(words, w.mentions) {
		return ""
	}
	t, err := parse(src)
	if err != nil || t.Kind != penstock.TreeMap {
		return ""
	}
	out := penstock.Tree{Kind: penstock.TreeMap}
	for i, k := range t.Keys {
		if !slices.Contains(tiresome, k) && t.Elems[i].Kind != penstock.TreeNull {
			out.Keys, out.Elems = append(out.Keys, k), append(out.Elems, t.Elems[i])
		}
	}
	if len(out.Keys) == 0 {
		return ""
	}
	return yamlFlow(&out)
}

// mentions says that a word stands somewhere in the flow.
func (w *writer) mentions(word string) bool {
	is := regexp.MustCompile(`\b` + regexp.QuoteMeta(word) + `\b`)
	var in func(n *resource.Node) bool
	in = func(n *resource.Node) bool {
		if n == nil {
			return false
		}
		return is.MatchString(n.Text) || slices.ContainsFunc(n.Elems, in) ||
			slices.ContainsFunc(n.Entries, func(e resource.NodeEntry) bool { return is.MatchString(e.Key) || in(e.Value) })
	}
	return in(w.spec.Doc.Get("spec"))
}

// request writes what a flow is called with.
func (w *writer) request(s *Seen, ep *plan.Endpoint, body *penstock.Tree) (string, error) {
	var parts []string
	add := func(name, text string) {
		if text != "" {
			parts = append(parts, name+": "+text)
		}
	}
	asked := &penstock.Tree{Kind: penstock.TreeMap}
	if s.Request != nil {
		t, err := parse(s.Request)
		if err != nil {
			return "", err
		}
		asked = &t
	}
	var routes []penstock.HTTPRoute
	if r, ok := ep.Config.(penstock.Routed); ok {
		routes = r.Routes()
	}
	if len(routes) > 0 {
		method, path := routed(routes, asked)
		add("method", yamlText(method))
		add("path", yamlText(path))
	}
	header := s.Meta
	for _, name := range []string{"query", "header"} {
		f := field(asked, name)
		if f == nil || f.Kind != penstock.TreeMap {
			continue
		}
		if name == "header" {
			header = []byte(text(f))
			continue
		}
		if len(f.Keys) > 0 {
			add("query", yamlFlow(f))
		}
	}
	add("header", w.entries(header, "meta", "header", "auth"))
	if body.Kind != penstock.TreeNull {
		add("body", yamlFlow(body))
	}
	return "request: { " + strings.Join(parts, ", ") + " }", nil
}

// routed finds the route that was called, and writes its path with what stood in it.
func routed(routes []penstock.HTTPRoute, asked *penstock.Tree) (method, path string) {
	values := map[string]string{}
	if p := field(asked, "path"); p != nil {
		for i, k := range p.Keys {
			values[k] = p.Elems[i].Text
		}
	}
	if m := field(asked, "method"); m != nil {
		method = m.Text
	}
	best, most := routes[0], -1
	for _, r := range routes {
		n := 0
		for _, part := range strings.Split(r.Path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok {
				if _, has := values[strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")]; has {
					n++
				} else {
					n -= 100
				}
			}
		}
		if r.Method == method {
			n += 50
		}
		if n > most {
			best, most = r, n
		}
	}
	if method == "" {
		method = best.Method
	}
	if method == "" {
		method = "POST"
	}
	parts := strings.Split(best.Path, "/")
	for i, part := range parts {
		name, ok := strings.CutPrefix(part, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		rest, many := strings.CutSuffix(name, "...")
		v, has := values[rest]
		switch {
		case !has:
			v = "x" // nobody reads it
		case many:
			segments := strings.Split(v, "/")
			for i := range segments {
				segments[i] = url.PathEscape(segments[i])
			}
			v = strings.Join(segments, "/")
		default:
			v = url.PathEscape(v)
		}
		parts[i] = v
	}
	return method, strings.Join(parts, "/")
}
