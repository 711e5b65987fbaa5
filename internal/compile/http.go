package compile

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd/route"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// listener says where the plan's servers of HTTP are reached: as the Integration has it, or by default.
func (c *compiler) listener() {
	h := resource.DefaultHTTP()
	if in := c.set.Integration(); in != nil {
		h = in.HTTP
	}
	p := &plan.HTTP{
		Address: h.Address, Header: h.Timeouts.Header.Std(), Body: h.Timeouts.Body.Std(), Write: h.Timeouts.Write.Std(), Idle: h.Timeouts.Idle.Std(),
		MaxHeader: int(h.MaxHeader), MaxConnections: h.MaxConnections, Pos: h.Pos,
	}
	if host, port, err := net.SplitHostPort(h.Address); h.Has("address") && h.Address != "" && (err != nil || !isPort(port) || strings.ContainsAny(host, " /")) {
		c.diags.Errorf(h.At("address"), "wrong-value", h.Address, "write it as 127.0.0.1:8080, or 0.0.0.0:8080 for every address", "`address` is host:port, and %q is not", h.Address)
	}
	if t := h.TLS; t != nil {
		p.TLS = &plan.HTTPTLS{Certificate: t.Certificate, PrivateKey: t.PrivateKey, ClientCA: t.ClientCA, ClientAuth: t.ClientAuth}
		c.wants(t.Certificate, t.PrivateKey, t.ClientCA)
	}
	c.plan.HTTP = p
}

// wants has the secrets of a part of the Integration filled in.
func (c *compiler) wants(cells ...penstock.Secret) {
	for _, s := range c.set.Secrets {
		if slices.Contains(cells, s.Target) {
			c.decoder.Secrets = append(c.decoder.Secrets, s)
		}
	}
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= 65535
}

// mounted is a route of a flow.
type mounted struct {
	penstock.HTTPRoute
	flow    string
	pattern *route.Pattern
	ep      *plan.Endpoint
}

// checkRoutes reports routes that can't be, and those that match the same requests, be they of different flows.
func (c *compiler) checkRoutes() {
	var all []mounted
	for _, f := range c.plan.Flows {
		for _, ep := range f.Sources {
			r, ok := ep.Config.(penstock.Routed)
			if !ok {
				continue
			}
			for _, h := range r.Routes() {
				p, err := route.Parse(h.Path)
				if err != nil {
					c.diags.Errorf(ep.Pos, "bad-route", h.Path, "write it as /orders/{id}", "%v", err)
					continue
				}
				m := mounted{h, f.Name, p, ep}
				for _, o := range all {
					if route.Conflict(h.Method, p, o.Method, o.pattern) {
						c.diags.Errorf(ep.Pos, "two-routes", h.Path, "give them different paths or methods, or make one of them say more",
							"requests to %s of flow %s may be for %s of flow %s just as well, at %s", m.name(), m.flow, o.name(), o.flow, o.ep.Pos)
					}
				}
				all = append(all, m)
			}
		}
	}
}

// name is the route as people write it.
func (m *mounted) name() string { return routeName(m.HTTPRoute) }

func routeName(r penstock.HTTPRoute) string {
	if r.Method == "" {
		return "any " + r.Path
	}
	return strings.ToLower(r.Method) + " " + r.Path
}

// routesLabel says what a server answers: " post /orders, get /orders/{id}".
func routesLabel(c penstock.Routed) string {
	var names []string
	for _, r := range c.Routes() {
		names = append(names, routeName(r))
	}
	if len(names) == 0 {
		return ""
	}
	return " " + strings.Join(names, ", ")
}
