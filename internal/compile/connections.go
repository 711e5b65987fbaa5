package compile

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// connection is a compiled Connection resource.
type connection struct {
	spec   *resource.Connection
	config any // pointer to the technology's struct; nil where it has errors

	// What holds for it, of its own or by policies.
	timeout  time.Duration
	retry    *plan.Retry
	policy   *plan.Policy
	hedgePos penstock.Pos
}

// compileConnections decodes the configuration of every connection, once for all who use it.
func (c *compiler) compileConnections() {
	c.connections = map[string]*connection{}
	for _, r := range c.set.Of(resource.KindConnection) {
		spec := r.Spec.(*resource.Connection)
		conn := &connection{spec: spec}
		c.connections[r.Name()] = conn
		if spec.Config == nil {
			continue // no technology: said when it was loaded
		}
		_, conn.config = c.decoder.DecodeConfig(c.reg, penstock.KindOfConnection, spec.Tech, spec.TechPos, spec.Config)
		if conn.config != nil {
			d := &driverConfig{c: c, role: "connection", exprs: c.exprs(), scope: c.paramScope(), diags: c.diags}
			d.compile(conn.config)
		}
	}
}

// connect completes a reference to a connection. Tech is the driver that refers to it.
func (c *compiler) connect(ref *penstock.ConnectionRef, tech string, l *diag.List) *connection {
	conn, ok := c.connections[ref.Name]
	if !ok {
		c.dangling(l, resource.Ref{Name: ref.Name, Pos: ref.Pos}, resource.KindConnection)
		return nil
	}
	c.use(resource.KindConnection, ref.Name)
	if _, own := c.reg.Lookup(penstock.KindOfConnection, tech); own && conn.spec.Tech != tech && conn.spec.Tech != "" {
		l.Errorf(ref.Pos, "type-mismatch", ref.Name, "name a connection of "+tech, "connection %s is for %s, and this is %s", ref.Name, conn.spec.Tech, tech)
		return nil
	}
	ref.Config = conn.config
	return conn
}
