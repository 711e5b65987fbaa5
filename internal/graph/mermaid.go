package graph

import (
	"fmt"
	"strings"
)

// shapes are Mermaid's brackets by kind of node; what is in the store is a cylinder.
var shapes = map[Kind][2]string{
	KindSource: {"([", "])"}, KindSink: {"([", "])"}, KindEnd: {"([", "])"}, KindRoute: {"{{", "}}"},
	KindChannel: {"(", ")"}, KindState: {"[[", "]]"}, KindCall: {"[/", "/]"},
}

// Mermaid writes g as a Mermaid flowchart, which GitHub and most wikis draw.
func (g Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, c := range g.Clusters {
		fmt.Fprintf(&b, "  subgraph %s[\"%s · %s\"]\n", c.ID, mermaidText(c.Title), mermaidText(c.Note))
		for _, n := range c.Nodes {
			fmt.Fprintf(&b, "    %s\n", mermaidNode(n))
		}
		b.WriteString("  end\n")
	}
	for _, n := range g.Channels {
		fmt.Fprintf(&b, "  %s\n", mermaidNode(n))
	}
	if memory := g.inMemory(); len(memory) > 0 {
		fmt.Fprintf(&b, "  classDef memory stroke-dasharray:4 3\n  class %s memory\n", strings.Join(memory, ","))
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Kind == EdgeError {
			arrow = "-.->"
		}
		if e.Label != "" {
			arrow += "|\"" + mermaidText(e.Label) + "\"|"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", e.From, arrow, e.To)
	}
	return b.String()
}

// inMemory lists the channels that are not in the store.
func (g Graph) inMemory() []string {
	var out []string
	for _, n := range g.Channels {
		if !n.Durable {
			out = append(out, n.ID)
		}
	}
	return out
}

func mermaidNode(n Node) string {
	shape, ok := shapes[n.Kind]
	switch {
	case n.Durable:
		shape = [2]string{"[(", ")]"}
	case !ok:
		shape = [2]string{"[", "]"}
	}
	text := "<b>" + mermaidText(n.Title) + "</b>"
	for _, l := range n.Lines {
		text += "<br/>" + mermaidText(clip(l, lineChars))
	}
	return n.ID + shape[0] + `"` + text + `"` + shape[1]
}

// mermaidText escapes what Mermaid and the HTML in its labels would read.
func mermaidText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "#", "#35;", "`", "#96;").Replace(s)
}

// clip shortens s to at most n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
