package service

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and a server and hands bytes over, until it is told to cut.
type Proxy struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	watch  func(sent []byte) bool
	forge  func(got []byte) []byte
	refuse bool
	after  bool // the cut is followed by refusing
	pause  time.Duration
	held   chan struct{} // open while nothing is handed over; nil otherwise
	closed chan struct{}
}

// NewProxy listens on a port of its own for connections to target. It ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]bool{}, closed: make(chan struct{})}
	p.done.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		close(p.closed)
		p.Cut()
		p.done.Wait()
	})
	return p
}

// Port is where it listens, on 127.0.0.1.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Refuse makes it close new connections at once, or not any more.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// CutWhen cuts a client's connection, both ways, behind the bytes sent for which when says so: the server has got them, and its answer
// does not arrive. It happens once.
func (p *Proxy) CutWhen(when func(sent []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch, p.after = when, false
}

// Forge puts what instead gives in the place of a piece of what the server says, and cuts the connection behind it: the server has done something, and the client hears
// something else. It happens once; where instead gives nil the piece is handed over as it is.
func (p *Proxy) Forge(instead func(got []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forge = instead
}

// forged is what the client gets of a piece, and whether it is the last.
func (p *Proxy) forged(got []byte) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forge == nil {
		return got, false
	}
	instead := p.forge(got)
	if instead == nil {
		return got, false
	}
	p.forge = nil
	return instead, true
}

// RefuseWhen is CutWhen, and from then on new connections are refused.
func (p *Proxy) RefuseWhen(when func(sent []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch, p.after = when, true
}

// Slow makes each piece of at most 64 KiB take so long, both ways: a line with little room and long ways.
func (p *Proxy) Slow(pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause = pause
}

// Hold lets connections stand, and hands over nothing, until it is told otherwise: a network that swallows everything.
func (p *Proxy) Hold(hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case hold && p.held == nil:
		p.held = make(chan struct{})
	case !hold && p.held != nil:
		close(p.held)
		p.held = nil
	}
}

// late waits for as long as the line takes.
func (p *Proxy) late() {
	for {
		p.mu.Lock()
		pause, held := p.pause, p.held
		p.mu.Unlock()
		if pause > 0 {
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-p.closed:
			}
			t.Stop()
		}
		if held == nil {
			return
		}
		select {
		case <-held:
		case <-p.closed:
			return
		}
	}
}

// Cut cuts all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		server, err := d.DialContext(context.Background(), "tcp", p.target)
		p.mu.Lock()
		if err != nil || p.refuse {
			p.mu.Unlock()
			_ = client.Close()
			if server != nil {
				_ = server.Close()
			}
			continue
		}
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.done.Go(func() { p.up(client, server) })
		p.done.Go(func() {
			defer func() { _, _ = client.Close(), server.Close() }()
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				p.late()
				piece, last := p.forged(buf[:n])
				if _, werr := client.Write(piece); werr != nil || err != nil || last {
					return
				}
			}
		})
	}
}

// up hands over what the client sends. Where the client says that there is no more, the server hears just that: it may have an answer to the rest.
func (p *Proxy) up(client, server net.Conn) {
	ended := false
	defer func() {
		if half, ok := server.(*net.TCPConn); ok && ended {
			_ = half.CloseWrite()
			return
		}
		_ = server.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		p.late()
		if n > 0 {
			p.mu.Lock()
			cut := p.watch != nil && p.watch(buf[:n])
			if cut {
				p.watch, p.refuse = nil, p.refuse || p.after
				_ = client.Close() // first: the answer must not get through
			}
			p.mu.Unlock()
			if _, werr := server.Write(buf[:n]); werr != nil || cut {
				// The server reads all of it before it sees the end.
				return
			}
		}
		if err != nil {
			ended = errors.Is(err, io.EOF)
			return
		}
	}
}
