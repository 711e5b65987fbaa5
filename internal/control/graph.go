package control

import (
	"fmt"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/graph"
)

// Graph draws the flows of a checked configuration as mermaid text, an svg picture, or json.
func (c *Checked) Graph(format string, flows []string) ([]byte, error) {
	p, err := c.selectFlows(flows)
	if err != nil {
		return nil, err
	}
	g := graph.Describe(p)
	if len(flows) > 0 { // channels of flows that are not drawn are nothing to look at
		g.Channels = slices.DeleteFunc(g.Channels, func(n graph.Node) bool {
			return !slices.ContainsFunc(g.Edges, func(e graph.Edge) bool { return e.From == n.ID || e.To == n.ID })
		})
	}
	switch format {
	case "mermaid":
		return []byte(g.Mermaid()), nil
	case "svg":
		return []byte(g.SVG()), nil
	case "json":
		return marshal(g)
	}
	return nil, &penstock.Error{Code: penstock.Invalid, Op: "graph", Err: fmt.Errorf("there is no format called %s", format), Hint: "there are mermaid, svg and json"}
}
