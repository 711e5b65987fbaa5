//go:build !unix

package upstream

import "crypto/tls"

// watchable prepares looking at the socket, which can't be done here.
func (c *conn) watchable() { _, c.secure = c.nc.(*tls.Conn) }

// fresh says that a connection which lay idle may be used: if it was closed meanwhile, the request finds out.
func (c *conn) fresh() bool { return !c.secure || c.silentTLS() }
