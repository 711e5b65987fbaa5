package control

import (
	"fmt"

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
