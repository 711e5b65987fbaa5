package resource

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// params gives the integration's parameters their values.
func (ld *loader) params(o Options) {
	given := map[string]*Node{}
	for _, file := range o.ParamFiles {
		for k, v := range ld.paramFile(file) {
			given[k] = v
		}
	}
	names := make([]string, 0, len(o.Params))
	for name := range o.Params {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		// On the command line every value is text, whatever it looks like.
		given[name] = &Node{Kind: NodeText, Quoted: true, Text: o.Params[name], Pos: penstock.Pos{File: "--param " + name}}
	}
	ld.set.Params = ld.set.ParamsWith(given, ld.diags)
	if o.ParamsOptional {
		return
	}
	for i := range ld.set.Params {
		if p := &ld.set.Params[i]; p.Value.IsAbsent() && !p.wrong {
			ld.diags.Errorf(p.Pos, "missing-parameter", p.Name, "give it with `--param "+p.Name+"=…`, or declare a default", "the parameter `%s` has no value", p.Name)
		}
	}
}

func (ld *loader) paramFile(file string) map[string]*Node {
	src, err := ld.read(file)
	if err != nil {
		ld.unreadable(file, err)
		return nil
	}
	out := map[string]*Node{}
	docs := ParseYAML(file, src, ld.diags)
	for _, n := range docs {
		if n.Kind != NodeMap || len(docs) > 1 {
			ld.diags.Errorf(n.Pos, "wrong-type", "", "write `name: value`, a line for each", "a file of parameters is one map")
			return nil
		}
		for i := range n.Entries {
			v := *n.Entries[i].Value
			if v.Kind == NodeList || v.Kind == NodeMap {
				ld.diags.Errorf(v.Pos, "wrong-type", "", "", "the parameter `%s` must be a single value", n.Entries[i].Key)
				continue
			}
			out[n.Entries[i].Key] = &v
		}
	}
	return out
}

// ParamsWith gives the integration's parameters in their order, with their defaults where given
// (by name) holds nothing for them. Unknown names and ill-typed values are reported; a
// parameter that has no value has an absent one.
func (s *Set) ParamsWith(given map[string]*Node, l *diag.List) []ParamValue {
	var out []ParamValue
	var names []string
	if it := s.Integration(); it != nil {
		for i := range it.Params.Entries {
			e := &it.Params.Entries[i]
			names = append(names, e.Key)
			v := ParamValue{Name: e.Key, Type: e.Value.Type, Pos: e.Pos}
			n := e.Value.Default
			if g, ok := given[e.Key]; ok {
				n, v.Given = g, true
			}
			if n != nil {
				var ok bool
				v.Value, ok = paramValue(&v, n, "the parameter `"+v.Name+"`", l)
				v.wrong = !ok
			}
			out = append(out, v)
		}
	}
	var unknown []string
	for name := range given {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		hint := hintFor(name, names)
		if len(names) == 0 {
			hint = "declare it under `params` of an Integration"
		}
		l.Errorf(given[name].Pos, "unknown-parameter", name, hint, "there is no parameter `%s`", name)
	}
	return out
}

// paramValue reads a value of the parameter's type; what names it in findings. Text in quotes, or from the
// command line, is read as the type asks.
func paramValue(p *ParamValue, n *Node, what string, l *diag.List) (penstock.Value, bool) {
	text := n.Text
	if n.Kind == NodeInt || n.Kind == NodeFloat {
		text = jsonNumber(n.Text)
	}
	if n.Kind == NodeNull || n.Kind == NodeList || n.Kind == NodeMap || p.Type == "string" && n.Kind != NodeText {
		hint := ""
		if p.Type == "string" && n.Text != "" && n.Kind != NodeNull {
			hint = "put it in quotes: " + strconv.Quote(n.Text)
		}
		l.Errorf(n.Pos, "wrong-type", clip(n.Text), hint, "%s is %s, and this is %s", what, article(p.Type), n.Kind)
		return penstock.Absent, false
	}
	switch p.Type {
	case "int":
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return penstock.IntValue(i), true
		}
	case "double":
		if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return penstock.DoubleValue(f), true
		}
	case "decimal":
		if d, err := penstock.ParseDecimal(text); err == nil {
			return penstock.DecimalValue(d), true
		}
	case "bool":
		if text == "true" || text == "false" {
			return penstock.BoolValue(text == "true"), true
		}
	case "duration":
		d, err := penstock.ParseDuration(text)
		if err == nil {
			return penstock.DurationValue(d.Std()), true
		}
		l.Errorf(n.Pos, "wrong-type", clip(text), "", "%s: %v", what, err)
		return penstock.Absent, false
	default:
		return penstock.StringValue(text), true
	}
	l.Errorf(n.Pos, "wrong-type", clip(text), "", "%s is %s, and `%s` is none", what, article(p.Type), clip(text))
	return penstock.Absent, false
}

func article(word string) string {
	if strings.HasPrefix(word, "i") {
		return "an " + word
	}
	return "a " + word
}

func (p *Param) check(d *Decoder) {
	if p.Default != nil && p.Type != "" {
		paramValue(&ParamValue{Type: p.Type}, p.Default, "the default", d.Diags)
	}
}
