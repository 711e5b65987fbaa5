package control

import (
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/control/insight"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/reference"
	"penstock.dev/penstock/internal/resource"
)

// Inspection is a configuration as an editor sees it: what is wrong with it, and what stands, or may be written, at each
// place. It is immutable and safe for concurrent use.
type Inspection struct {
	*Checked
	// Files are all files that were read, in order, also those without a finding.
	Files []string

	expressions []expr.Expression
	bodies      map[penstock.Pos]plan.Node // steps by their place
	words       *reference.Reference
}

// Inspect checks a configuration and keeps what editors ask for.
func (s *Service) Inspect(p Project) (*Inspection, error) {
	words, err := s.reference()
	if err != nil {
		return nil, err
	}
	in := &Inspection{words: words, bodies: map[penstock.Pos]plan.Node{}}
	in.Checked = s.check(p, compile.Options{Seen: func(e expr.Expression) { in.expressions = append(in.expressions, e) }})
	for _, r := range in.set.Resources {
		if !slices.Contains(in.Files, r.File) {
			in.Files = append(in.Files, r.File)
		}
	}
	if in.plan != nil {
		for _, f := range in.plan.Flows {
			in.index(f.Nodes)
		}
	}
	return in, nil
}

func (in *Inspection) index(nodes []plan.Node) {
	for _, n := range nodes {
		in.bodies[n.Pos] = n
		switch op := n.Op.(type) {
		case *plan.Fork:
			for _, b := range op.Branches {
				in.index(b.Nodes)
			}
		case *plan.Loop:
			in.index(op.Body.Nodes)
		}
	}
}

// expression is the expression at a place, the innermost where several are; nil if there is none.
func (in *Inspection) expression(at penstock.Pos) *expr.Expression {
	var best *expr.Expression
	for i := range in.expressions {
		e := &in.expressions[i]
		if e.Holds(at) && (best == nil || len(e.Text) < len(best.Text)) {
			best = e
		}
	}
	return best
}

// nearest is the scope of the expression that stands next before a place: what may be spoken of, more or less, where an
// expression is just being begun.
func (in *Inspection) nearest(at penstock.Pos) *expr.Expression {
	var best *expr.Expression
	for i := range in.expressions {
		e := &in.expressions[i]
		if e.Pos.File != at.File || e.Pos.Line > at.Line || e.Pos.Line == at.Line && e.Pos.Col > at.Col {
			continue
		}
		if best == nil || e.Pos.Line > best.Pos.Line || e.Pos.Line == best.Pos.Line && e.Pos.Col > best.Pos.Col {
			best = e
		}
	}
	return best
}

// Hover says what stands at a place of a file, in Markdown: the path of an expression with its type, a word of the language with what it
// does, a step with the body behind it. "" where there is nothing to say. text is the file as it is now.
func (in *Inspection) Hover(at penstock.Pos, text string) string {
	if e := in.expression(at); e != nil {
		if path, t, ok := e.At(at); ok {
			return code(path+": "+t.Text(2)) + labels(t.Labels.Class)
		}
		if w := callAt(e, at); w != "" {
			for _, topic := range explainFunction(w) {
				return code(topic.Type) + topic.Doc
			}
		}
		if e.Type != nil {
			return code(e.Type.Text(2))
		}
		return ""
	}
	spot := insight.At(text, at.Line, at.Col)
	if spot.Value || len(spot.Path) == 0 || spot.Path[0] != "spec" {
		return ""
	}
	words, _ := in.words.Words(spot.Kind, spot.Path[1:])
	for _, w := range words {
		if w.Name != spot.Whole {
			continue
		}
		out := w.Doc
		if w.Type != "" {
			out = code(w.Name+": "+w.Type) + out
		}
		if w.Default != "" {
			out += "\n\nDefault: `" + w.Default + "`"
		}
		if w.Kind == "verb" {
			for pos, n := range in.bodies {
				if pos.File == at.File && pos.Line == at.Line && n.Verb == w.Name && n.Type != nil {
					out += "\n\nThe body behind it:\n" + code(n.Type.Text(2))
				}
			}
		}
		return out
	}
	return ""
}

func code(s string) string { return "```\n" + s + "\n```\n" }

func labels(class []string) string {
	if len(class) == 0 {
		return ""
	}
	return "Labelled " + strings.Join(class, ", ") + "."
}

// callAt is the name of the function at a place, if it is one.
func callAt(e *expr.Expression, at penstock.Pos) string {
	before := e.Before(at)
	start := len(before)
	for start > 0 && (before[start-1] == '_' || before[start-1] >= 'a' && before[start-1] <= 'z' || before[start-1] >= 'A' && before[start-1] <= 'Z' || before[start-1] >= '0' && before[start-1] <= '9') {
		start--
	}
	rest := e.Text[start:]
	end := strings.IndexByte(rest, '(')
	if end <= 0 || strings.ContainsAny(rest[:end], " .,)+-*/<>=!&|?:[]") {
		return ""
	}
	return rest[:end]
}

// Completion is something that may be written at a place.
type Completion struct {
	Label  string
	Kind   string // field, verb, connector, codec, value, name, variable, function
	Detail string // its type, in short
	Doc    string
	Insert string // what is written; "" is the label
}

// Complete lists what may be written at a place of a file. text is the file as it is now, which need not be readable.
func (in *Inspection) Complete(at penstock.Pos, text string) []Completion {
	spot := insight.At(text, at.Line, at.Col)
	if spot.Value {
		if before, ok := expressionBefore(spot); ok {
			return in.completeExpression(at, before)
		}
		if spot.Key == "kind" && len(spot.Path) == 0 {
			var out []Completion
			for _, k := range resource.Kinds() {
				out = append(out, Completion{Label: string(k), Kind: "value"})
			}
			return out
		}
		if spot.Key == "apiVersion" && len(spot.Path) == 0 {
			return []Completion{{Label: resource.APIVersion, Kind: "value"}}
		}
		return in.completeValue(spot)
	}
	if len(spot.Path) == 0 {
		return []Completion{
			{Label: "apiVersion", Kind: "field", Detail: "text", Insert: "apiVersion: " + resource.APIVersion},
			{Label: "kind", Kind: "field", Detail: "text", Insert: "kind: "}, {Label: "metadata", Kind: "field", Detail: "map", Insert: "metadata: "},
			{Label: "spec", Kind: "field", Detail: "map", Insert: "spec:"},
		}
	}
	if spot.Path[0] == "metadata" {
		return []Completion{{Label: "name", Kind: "field", Insert: "name: "}, {Label: "labels", Kind: "field", Insert: "labels: "}, {Label: "annotations", Kind: "field", Insert: "annotations: "}}
	}
	words, _ := in.words.Words(spot.Kind, spot.Path[1:])
	var out []Completion
	for _, w := range words {
		detail := w.Type
		if w.Required {
			detail += ", required"
		}
		out = append(out, Completion{Label: w.Name, Kind: w.Kind, Detail: detail, Doc: w.Doc, Insert: w.Name + ": "})
	}
	return out
}

// celFields are the fields of the language that hold CEL, wherever they stand (LANGUAGE.md §2).
var celFields = []string{"allow", "by", "each", "filter", "key", "match", "that", "time", "until", "when", "where", "with"}

// expressionBefore is the text of the expression that a spot is in, up to it.
func expressionBefore(s insight.Spot) (string, bool) {
	if open := strings.LastIndex(s.Word, "${"); open >= 0 {
		rest := s.Word[open+2:]
		return rest, !strings.Contains(rest, "}")
	}
	return s.Word, slices.Contains(celFields, s.Key)
}

func (in *Inspection) completeExpression(at penstock.Pos, before string) []Completion {
	e := in.expression(at)
	if e == nil {
		e = in.nearest(at)
	}
	if e == nil {
		return nil
	}
	_, found := expr.Candidates(e.Scope, before)
	var out []Completion
	for _, c := range found {
		comp := Completion{Label: c.Name, Kind: "variable", Doc: c.Doc}
		if c.Type == nil {
			comp.Kind, comp.Insert = "function", c.Name+"("
		} else {
			comp.Detail = c.Type.Text(1)
		}
		out = append(out, comp)
	}
	return out
}

func (in *Inspection) completeValue(spot insight.Spot) []Completion {
	if len(spot.Path) == 0 || spot.Path[0] != "spec" {
		return nil
	}
	values, kind := in.words.Values(spot.Kind, append(slices.Clone(spot.Path[1:]), spot.Key))
	var out []Completion
	for _, v := range values {
		out = append(out, Completion{Label: v, Kind: "value"})
	}
	for _, r := range in.set.Resources {
		if kind != "" && string(r.Kind) == kind {
			out = append(out, Completion{Label: r.Name(), Kind: "name", Detail: fmt.Sprintf("%s in %s", r.Kind, r.File)})
		}
	}
	return out
}

// Definition finds where the resource that is named at a place is declared.
func (in *Inspection) Definition(at penstock.Pos, text string) (penstock.Pos, bool) {
	spot := insight.At(text, at.Line, at.Col)
	if !spot.Value || len(spot.Path) == 0 || spot.Path[0] != "spec" {
		return penstock.Pos{}, false
	}
	_, kind := in.words.Values(spot.Kind, append(slices.Clone(spot.Path[1:]), spot.Key))
	r, ok := in.set.Find(resource.Kind(kind), strings.Trim(spot.Whole, `"'`))
	if !ok {
		return penstock.Pos{}, false
	}
	return r.NamePos(), true
}
