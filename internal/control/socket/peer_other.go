//go:build !linux

package socket

import "net"

// peer can't tell who is at the other end: the folder's and the socket's rights keep others out.
func peer(net.Conn) (who string, err error) { return "", nil }
