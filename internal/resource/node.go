package resource

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// NodeKind is the shape of a [Node].
type NodeKind uint8

// The shapes.
const (
	NodeNull  NodeKind = iota
	NodeBool           // true or false
	NodeInt            // Text is a decimal or 0x hexadecimal integer
	NodeFloat          // Text is a decimal number with a point or an exponent
	NodeText           // Text is the text, unquoted
	NodeList           // Elems
	NodeMap            // Entries
)

// String names the shape as messages do: "a number", "a list".
func (k NodeKind) String() string {
	switch k {
	case NodeNull:
		return "nothing"
	case NodeBool:
		return "a bool"
	case NodeInt:
		return "a whole number"
	case NodeFloat:
		return "a number"
	case NodeText:
		return "text"
	case NodeList:
		return "a list"
	default:
		return "a map"
	}
}

// Node is a part of a YAML document with its place. It is immutable after loading and safe
// for concurrent use.
type Node struct {
	Kind    NodeKind
	Pos     penstock.Pos // of the first character of the value
	TextPos penstock.Pos // of the first character of a scalar's text: behind the quote, or in the line below | and >
	Text    string       // a scalar's value, unquoted; numbers as they are written
	Quoted  bool         // the scalar is quoted or a block
	Bool    bool         // of NodeBool
	Entries []NodeEntry  // of NodeMap, in the order of the file; keys are unique
	Elems   []*Node      // of NodeList
}

// NodeEntry is one entry of a map.
type NodeEntry struct {
	Key    string
	KeyPos penstock.Pos
	Value  *Node
}

// Entry finds the entry of key; nil if there is none or n is no map.
func (n *Node) Entry(key string) *NodeEntry {
	if n == nil {
		return nil
	}
	for i := range n.Entries {
		if n.Entries[i].Key == key {
			return &n.Entries[i]
		}
	}
	return nil
}

// Get finds the value of key; nil if there is none or n is no map.
func (n *Node) Get(key string) *Node {
	if e := n.Entry(key); e != nil {
		return e.Value
	}
	return nil
}

// Lookup follows a JSON pointer (RFC 6901) as far as it leads, so that a finding about the
// JSON of n can be shown at its line. It returns the last node that is there, and whether
// that is the one pointed to.
func (n *Node) Lookup(pointer string) (*Node, bool) {
	for pointer != "" {
		if pointer[0] != '/' {
			return n, false
		}
		part, rest, _ := strings.Cut(pointer[1:], "/")
		if rest != "" || strings.HasSuffix(pointer, "/") && len(pointer) > len(part)+1 {
			pointer = pointer[1+len(part):]
		} else {
			pointer = ""
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		var next *Node
		switch n.Kind {
		case NodeMap:
			next = n.Get(part)
		case NodeList:
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.Elems) {
				next = n.Elems[i]
			}
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// AppendJSON appends n as JSON text, in the order of the file, numbers with all their digits.
func (n *Node) AppendJSON(dst []byte) []byte {
	switch n.Kind {
	case NodeBool:
		return strconv.AppendBool(dst, n.Bool)
	case NodeInt, NodeFloat:
		return append(dst, jsonNumber(n.Text)...)
	case NodeText:
		return appendJSONString(dst, n.Text)
	case NodeList:
		dst = append(dst, '[')
		for i, e := range n.Elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.AppendJSON(dst)
		}
		return append(dst, ']')
	case NodeMap:
		dst = append(dst, '{')
		for i := range n.Entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, n.Entries[i].Key), ':')
			dst = n.Entries[i].Value.AppendJSON(dst)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// JSON is n as JSON text.
func (n *Node) JSON() []byte { return n.AppendJSON(nil) }

// Tree is n as a data tree, with its positions.
func (n *Node) Tree() penstock.Tree {
	t := penstock.Tree{Pos: n.Pos}
	switch n.Kind {
	case NodeNull:
		t.Kind = penstock.TreeNull
	case NodeBool:
		t.Kind, t.Bool = penstock.TreeBool, n.Bool
	case NodeInt, NodeFloat:
		t.Kind, t.Text = penstock.TreeNumber, jsonNumber(n.Text)
	case NodeText:
		t.Kind, t.Text, t.Pos = penstock.TreeText, n.Text, textPos(n) // so that places within the text can be told
	case NodeList:
		t.Kind = penstock.TreeList
		for _, e := range n.Elems {
			t.Elems = append(t.Elems, e.Tree())
		}
	case NodeMap:
		t.Kind = penstock.TreeMap
		for i := range n.Entries {
			t.Keys = append(t.Keys, n.Entries[i].Key)
			t.KeyPos = append(t.KeyPos, n.Entries[i].KeyPos)
			t.Elems = append(t.Elems, n.Entries[i].Value.Tree())
		}
	}
	return t
}

// AppendTree appends a literal data tree, as Tests hold them, as JSON text: texts stand for
// themselves, with ${…} or without.
func AppendTree(dst []byte, t *penstock.Tree) []byte {
	switch t.Kind {
	case penstock.TreeBool:
		return strconv.AppendBool(dst, t.Bool)
	case penstock.TreeNumber:
		return append(dst, t.Text...)
	case penstock.TreeText:
		return appendJSONString(dst, t.Text)
	case penstock.TreeList:
		dst = append(dst, '[')
		for i := range t.Elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendTree(dst, &t.Elems[i])
		}
		return append(dst, ']')
	case penstock.TreeMap:
		dst = append(dst, '{')
		for i := range t.Elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, t.Keys[i]), ':')
			dst = AppendTree(dst, &t.Elems[i])
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

func appendJSONString(dst []byte, s string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return append(dst, `""`...) // a string always encodes
	}
	return append(dst, strings.TrimSuffix(b.String(), "\n")...)
}

// jsonNumber gives a YAML number that both readings share in JSON's notation (RFC 8259
// section 6): without a leading plus, with digits on both sides of the point, decimal.
func jsonNumber(s string) string {
	sign, s := cutSign(s)
	if len(s) > 2 && (s[1] == 'x' || s[1] == 'o') {
		i, ok := new(big.Int).SetString(s[:min(len(s), 64)], 0) // longer ones are reported when the file is read
		if !ok {
			return "0"
		}
		return sign + i.String()
	}
	if len(s) > 1 && s[0] == '.' && (s[1] < '0' || s[1] > '9') {
		return "null" // .inf and .nan, which are reported when the file is read
	}
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i:]
	}
	whole, frac, point := strings.Cut(mantissa, ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if point && frac == "" {
		frac = "0"
	}
	if point {
		whole += "." + frac
	}
	return sign + whole + exponent
}

func cutSign(s string) (sign, rest string) {
	switch {
	case strings.HasPrefix(s, "-"):
		return "-", s[1:]
	case strings.HasPrefix(s, "+"):
		return "", s[1:]
	}
	return "", s
}
