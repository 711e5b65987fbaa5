package resource

import "penstock.dev/penstock"

// NodeKind is the shape of a [Node].
type NodeKind uint8

// The shapes.
const (
	NodeNull NodeKind = iota
	NodeBool
	NodeInt   // Text is a YAML 1.2 integer: decimal, 0o octal, 0x hexadecimal
	NodeFloat // Text is a YAML 1.2 float
	NodeText
	NodeList
	NodeMap
)

// Node is a part of a YAML document with its place. It is immutable after loading and safe
// for concurrent use.
type Node struct {
	Kind    NodeKind
	Pos     penstock.Pos // of the first character of the value
	Text    string       // a scalar's value, unquoted; numbers as they are written
	Quoted  bool         // the scalar is quoted or a block
	Bool    bool         // of NodeBool
	Entries []NodeEntry  // of NodeMap, in the order of the file
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
