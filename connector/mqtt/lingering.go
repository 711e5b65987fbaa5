package mqtt

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/wire"
)

// lingering is a connection whose Close waits until the other side has closed it, too. Without that, whatever the other side has sent and nobody has read would
// have the connection reset, and the other side forget what it has not read yet: acknowledgements.
type lingering struct {
	net.Conn
	reading sync.Mutex // held while something is read
	ending  atomic.Bool
	failed  atomic.Bool // to be written to
}

// Read implements net.Conn.
func (l *lingering) Read(p []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.ending.Load() {
		return 0, net.ErrClosed
	}
	return l.Conn.Read(p)
}

// Write implements net.Conn.
func (l *lingering) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if err != nil {
		l.failed.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (l *lingering) Close() error {
	c, ok := l.Conn.(interface{ CloseWrite() error })
	if again := l.ending.Swap(true); again || !ok || l.failed.Load() {
		return l.Conn.Close()
	}
	_ = l.SetReadDeadline(time.Unix(1, 0)) // whoever reads is done
	l.reading.Lock()
	defer l.reading.Unlock()
	_ = l.SetReadDeadline(time.Now().Add(wire.LastWords))
	if c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, l.Conn)
	}
	return l.Conn.Close()
}
