//go:build unix

package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// watchable prepares looking at the socket. The closure is made once.
func (c *conn) watchable() {
	_, c.secure = c.nc.(*tls.Conn)
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		if under, is := c.nc.(interface{ NetConn() net.Conn }); is { // a TLS connection
			sc, ok = under.NetConn().(syscall.Conn)
		}
	}
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.peekFn = func(fd uintptr) bool {
		c.peekN, _, c.peekErr = syscall.Recvfrom(int(fd), c.peeked[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}
}

// fresh looks, without waiting, whether a connection that lay idle is still what it was: not closed, and with nothing to read that
// nobody has asked for, which would be taken for the answer to the next request.
func (c *conn) fresh() bool {
	if c.raw == nil {
		return !c.secure || c.silentTLS()
	}
	if err := c.raw.Read(c.peekFn); err != nil {
		return false
	}
	if !errors.Is(c.peekErr, syscall.EAGAIN) && !errors.Is(c.peekErr, syscall.EWOULDBLOCK) && !errors.Is(c.peekErr, syscall.EINTR) {
		return false
	}
	return !c.secure || c.silentTLS()
}
