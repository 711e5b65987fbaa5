package http

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

var _ interface {
	penstock.Resolver
	penstock.Routed
	penstock.Requested
	penstock.Typed
} = (*ServerConfig)(nil)

// RequestType implements penstock.Requested: of the path it is known which names it has.
func (c *ServerConfig) RequestType() *types.Type {
	texts := &types.Type{Kind: types.Object, Open: true, Rest: types.StringType}
	path := &types.Type{Kind: types.Object}
	count := map[string]int{}
	routes := c.Routes()
	var order []string
	for _, r := range routes {
		for _, name := range namesOf(r.Path) {
			if count[name]++; count[name] == 1 {
				order = append(order, name)
			}
		}
	}
	for _, name := range order {
		path.Fields = append(path.Fields, types.Field{Name: name, Type: types.StringType, Required: count[name] == len(routes)})
	}
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "method", Type: types.StringType, Required: true},
		{Name: "path", Type: path, Required: true},
		{Name: "query", Type: texts, Required: true},
		{Name: "header", Type: texts, Required: true},
	}}
}

// namesOf lists the names of a pattern's segments.
func namesOf(pattern string) []string {
	if strings.IndexByte(pattern, '{') < 0 {
		return nil
	}
	var out []string
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			out = append(out, strings.TrimSuffix(strings.TrimSuffix(name, "}"), "..."))
		}
	}
	return out
}
