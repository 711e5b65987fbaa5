// Package wire has a network connection that gathers what is written to it, for drivers whose client writes each packet, or pieces of one, with a system call of
// its own. It imports the standard library only.
package wire

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// Conn is a connection that gathers. What is written is sent at once where the line is idle; while something is being sent, what comes meanwhile is gathered
// and goes out together, so that a slow line has fewer and larger packets and nobody waits for a timer. It is safe for concurrent use as a
// [net.Conn] is: reads beside writes. It has a goroutine, which ends with Close.
type Conn struct {
	net.Conn
	in *bufio.Reader

	mu     sync.Mutex
	work   sync.Cond // there is something to send, or it is over
	room   sync.Cond // something was sent, or it is over
	buf    []byte
	err    error // of sending
	ended  error // of reading
	closed bool
	done   chan struct{}
}

const (
	// readSize is how much is read at a time.
	readSize = 64 << 10
	// Room is how many bytes wait to be sent before who writes waits, too.
	Room = 1 << 20
	// LastWords is how long the sending of what is gathered may take when the connection is closed.
	LastWords = time.Second
)

// New makes a connection that gathers of c, which belongs to it from then on.
func New(c net.Conn) *Conn {
	w := &Conn{Conn: c, in: bufio.NewReaderSize(c, readSize), done: make(chan struct{})}
	w.work.L, w.room.L = &w.mu, &w.mu
	go w.send()
	return w
}

// Read implements [io.Reader]. It is called by one goroutine at a time.
func (w *Conn) Read(p []byte) (int, error) {
	n, err := w.in.Read(p)
	if err != nil {
		w.mu.Lock()
		w.ended = err
		w.mu.Unlock()
	}
	return n, err
}

// Ended is the error that the last Read to fail gave, for clients that tell less of why a connection was lost; nil as long as none has failed.
func (w *Conn) Ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

// Write implements [io.Writer]. p is copied, and sent later; so an error is that of something that was written before, [net.ErrClosed] after Close. What was written
// before an error may have arrived in part.
func (w *Conn) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) > Room && w.err == nil && !w.closed {
		w.room.Wait()
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.closed:
		return 0, net.ErrClosed
	}
	w.buf = append(w.buf, p...)
	w.work.Signal()
	return len(p), nil
}

// send sends what is gathered, until it is closed or fails.
func (w *Conn) send() {
	defer close(w.done)
	var out []byte
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.buf) == 0 && !w.closed {
			w.work.Wait()
		}
		if len(w.buf) == 0 {
			return
		}
		out, w.buf = w.buf, out[:0]
		w.mu.Unlock()
		_, err := w.Conn.Write(out)
		if cap(out) > 2*Room {
			out = nil
		}
		w.mu.Lock()
		w.room.Broadcast()
		if err != nil {
			w.err = err
			return
		}
	}
}

// Close sends what is gathered, for as long as [LastWords] at most, and closes the connection. A Write that waits for room fails.
func (w *Conn) Close() error {
	w.mu.Lock()
	w.closed = true
	w.work.Broadcast()
	w.room.Broadcast()
	w.mu.Unlock()
	_ = w.SetWriteDeadline(time.Now().Add(LastWords))
	<-w.done
	return w.Conn.Close()
}
