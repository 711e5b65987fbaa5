package resource

import (
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
	yaml11 "go.yaml.in/yaml/v2"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// builder makes nodes of the parser's tree.
type builder struct {
	file    string
	line    int      // lines before the document
	lines   []string // of the document
	diags   *diag.List
	anchors map[string]*Node
	nodes   int
	broken  bool // something was left out, so that the readings can't be compared
}

func (b *builder) pos(t *token.Token) penstock.Pos {
	p := penstock.Pos{File: b.file, Line: b.line + 1, Col: 1}
	if t != nil && t.Position != nil {
		p.Line, p.Col = b.line+max(t.Position.Line, 1), max(t.Position.Column, 1)
	}
	return p
}

func (b *builder) errorf(pos penstock.Pos, code, text, hint, format string, args ...any) {
	b.broken = true
	b.diags.Errorf(pos, code, text, hint, format, args...)
}

// node makes a node of a; what can't be used is reported and becomes null.
func (b *builder) node(a ast.Node, depth int) *Node {
	n := &Node{Pos: b.pos(a.GetToken())}
	if b.nodes++; b.nodes > maxNodes || depth > 2*maxDepth {
		if !b.broken {
			b.errorf(n.Pos, "too-deep", "", "divide the document", "the document is nested too deeply, or has more than %d parts with its aliases written out", maxNodes)
		}
		return n
	}
	switch a := a.(type) {
	case *ast.MappingNode:
		b.mapping(n, a.Values, a.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		b.mapping(n, []*ast.MappingValueNode{a}, false, depth)
	case *ast.SequenceNode:
		n.Kind = NodeList
		for _, e := range a.Values {
			n.Elems = append(n.Elems, b.child(e, n.Pos, depth))
		}
	case *ast.AnchorNode:
		name := ""
		if a.Name != nil {
			name = a.Name.GetToken().Value
		}
		n = b.child(a.Value, n.Pos, depth)
		b.anchors[name] = n
	case *ast.AliasNode:
		return b.alias(n, a)
	case *ast.TagNode:
		b.errorf(n.Pos, "yaml-tag", a.GetToken().Value, "leave the tag out; quote the value if text is meant", "YAML tags are not part of the language")
		return b.child(a.Value, n.Pos, depth)
	case *ast.LiteralNode:
		n.Kind, n.Quoted = NodeText, true
		n.TextPos = b.blockText(n.Pos)
		if a.Value != nil {
			n.Text = a.Value.Value
		}
	case *ast.StringNode:
		b.scalar(n, a.GetToken(), a.Value)
	case ast.ScalarNode:
		b.scalar(n, a.GetToken(), a.GetToken().Value)
	default:
		b.errorf(n.Pos, "yaml-syntax", firstLine(a.GetToken().Value), "write it plainly", "this part of YAML is not part of the language")
	}
	return n
}

// child is node for a value that may be missing.
func (b *builder) child(a ast.Node, at penstock.Pos, depth int) *Node {
	if a == nil || a.GetToken() == nil {
		return &Node{Pos: at}
	}
	return b.node(a, depth+1)
}

// blockText is where the text of a block scalar begins whose | or > stands at pos.
func (b *builder) blockText(pos penstock.Pos) penstock.Pos {
	at := pos
	at.Line, at.Col = pos.Line+1, 1
	for i := pos.Line - b.line; i >= 0 && i < len(b.lines); i++ {
		if body := strings.TrimLeft(b.lines[i], " "); body != "" {
			at.Col = len(b.lines[i]) - len(body) + 1
			return at
		}
	}
	return pos
}

func (b *builder) alias(n *Node, a *ast.AliasNode) *Node {
	name := ""
	if a.Value != nil {
		name = a.Value.GetToken().Value
	}
	target, ok := b.anchors[name]
	if !ok {
		b.errorf(n.Pos, "yaml-syntax", "*"+name, "put &"+name+" before the value that is meant, above this line", "the alias refers to nothing")
		return n
	}
	return b.copyOf(target)
}

// copyOf writes an alias out, so that what is counted is what is walked later.
func (b *builder) copyOf(n *Node) *Node {
	if b.nodes++; b.nodes > maxNodes {
		if !b.broken {
			b.errorf(n.Pos, "too-deep", "", "write less with aliases", "the document has more than %d parts with its aliases written out", maxNodes)
		}
		return &Node{Pos: n.Pos}
	}
	c := *n
	c.Entries, c.Elems = nil, nil
	for _, e := range n.Entries {
		c.Entries = append(c.Entries, NodeEntry{e.Key, e.KeyPos, b.copyOf(e.Value)})
	}
	for _, e := range n.Elems {
		c.Elems = append(c.Elems, b.copyOf(e))
	}
	return &c
}

func (b *builder) mapping(n *Node, values []*ast.MappingValueNode, flow bool, depth int) {
	n.Kind = NodeMap
	if !flow && len(values) > 0 && values[0].Key != nil {
		n.Pos = b.pos(values[0].Key.GetToken()) // the token of a block map is its first colon
	}
	lines := make(map[string]int, len(values))
	for _, v := range values {
		key, pos, ok := b.key(v.Key)
		value := b.child(v.Value, pos, depth)
		if !ok {
			continue
		}
		if first, twice := lines[key]; twice {
			b.errorf(pos, "duplicate-key", key, "keep one of them", "the key `%s` stands twice in the same map, first in line %d", clip(key), first)
			continue
		}
		lines[key] = pos.Line
		n.Entries = append(n.Entries, NodeEntry{key, pos, value})
	}
}

// key reads the key of a map's entry.
func (b *builder) key(k ast.MapKeyNode) (string, penstock.Pos, bool) {
	if k == nil {
		return "", penstock.Pos{File: b.file, Line: b.line + 1, Col: 1}, false
	}
	t := k.GetToken()
	pos := b.pos(t)
	switch k := k.(type) {
	case *ast.MergeKeyNode:
		b.errorf(pos, "yaml-merge-key", "<<", "write the entries out", "merge keys are not part of YAML 1.2")
		return "", pos, false
	case *ast.StringNode:
		if quoted(t) {
			return k.Value, pos, true
		}
		return b.plainKey(k.Value, pos)
	case ast.ScalarNode:
		if _, tagged := k.(*ast.TagNode); !tagged && !quoted(t) {
			return b.plainKey(t.Value, pos)
		}
	}
	b.errorf(pos, "yaml-key", firstLine(t.Value), "write the key as plain text", "the key of a map must be text")
	return "", pos, false
}

func (b *builder) plainKey(text string, pos penstock.Pos) (string, penstock.Pos, bool) {
	if problem, _ := scalarConflict(text); problem != "" {
		b.errorf(pos, "yaml-versions", text, "write "+strconv.Quote(text), "the key `%s` is ambiguous: %s", text, problem)
		return text, pos, true
	}
	if kind := readScalar12(text); kind != NodeText {
		b.errorf(pos, "yaml-key", text, "write "+strconv.Quote(text), "the key of a map must be text, and `%s` is %s", text, kind)
	}
	return text, pos, true
}

func quoted(t *token.Token) bool {
	switch t.Type {
	case token.SingleQuoteType, token.DoubleQuoteType, token.LiteralType, token.FoldedType:
		return true
	}
	return false
}

func (b *builder) scalar(n *Node, t *token.Token, value string) {
	n.Text, n.TextPos = value, n.Pos
	if quoted(t) {
		n.Kind, n.Quoted = NodeText, true
		n.TextPos.Col++
		return
	}
	if t.Type == token.ImplicitNullType {
		n.Text = ""
		return
	}
	n.Text = strings.TrimRight(value, " \t\n")
	if problem, fix := scalarConflict(n.Text); problem != "" {
		b.errorf(n.Pos, "yaml-versions", n.Text, fix, "`%s` is ambiguous: %s", n.Text, problem)
	}
	n.Kind = readScalar12(n.Text)
	n.Bool = n.Kind == NodeBool && strings.EqualFold(n.Text, "true")
}

// sameReading compares what YAML 1.2 says with what kubectl read, and reports the first place of
// each part in which they differ.
func sameReading(n *Node, other any, l *diag.List) {
	differ := func(how string) {
		l.Errorf(n.Pos, "yaml-versions", firstLine(n.Text), "quote the value, or write it more plainly", "kubectl (YAML 1.1) reads this differently: %s", how)
	}
	switch o := other.(type) {
	case yaml11.MapSlice:
		if n.Kind != NodeMap {
			differ("as a map")
			return
		}
		if len(o) != len(n.Entries) {
			differ("as a map with " + strconv.Itoa(len(o)) + " entries")
			return
		}
		for i := range o {
			if k, ok := o[i].Key.(string); !ok || k != n.Entries[i].Key {
				e := n.Entries[i]
				l.Errorf(e.KeyPos, "yaml-versions", e.Key, "write "+strconv.Quote(e.Key), "kubectl (YAML 1.1) reads the key `%s` differently", e.Key)
				continue
			}
			sameReading(n.Entries[i].Value, o[i].Value, l)
		}
	case []any:
		if n.Kind != NodeList || len(o) != len(n.Elems) {
			differ("as a list with " + strconv.Itoa(len(o)) + " elements")
			return
		}
		for i := range o {
			sameReading(n.Elems[i], o[i], l)
		}
	case nil:
		if n.Kind != NodeNull {
			differ("as nothing")
		}
	case bool:
		if n.Kind != NodeBool || n.Bool != o {
			differ("as " + strconv.FormatBool(o))
		}
	case string:
		if n.Kind != NodeText || n.Text != o {
			differ("as the text " + strconv.Quote(o))
		}
	default:
		// Numbers: scalarConflict has made sure that what is a number here has the same value there.
		if n.Kind != NodeInt && n.Kind != NodeFloat {
			differ("as a number")
		}
	}
}
