package load

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// drive drives the connections from one thread: whichever has an answer is read, and gets its next request at once. A goroutine for each connection takes
// a fifth more of the processors that the server is measured on, for a scheduler that is no part of what is measured; several threads, which wake each other
// for one answer at a time, still more.
func (h HTTPLoad) drive(conns []net.Conn, from, until time.Time) (out tally) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return tally{err: err}
	}
	defer syscall.Close(poll) //nolint:errcheck // it is only waited on
	lines := make([]line, len(conns))
	out.took = make([]time.Duration, 0, 1<<20)
	for i, c := range conns {
		f, err := c.(*net.TCPConn).File() // a descriptor of its own, which the runtime does not wait on
		if err != nil {
			return tally{err: err}
		}
		defer f.Close() //nolint:errcheck // nothing more comes
		lines[i] = line{fd: int(f.Fd()), buf: make([]byte, 16<<10)}
		if err := syscall.SetNonblock(lines[i].fd, true); err != nil {
			return tally{err: err}
		}
		if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, lines[i].fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}); err != nil {
			return tally{err: err}
		}
		if out.err = lines[i].send(h.Request); out.err != nil {
			return out
		}
	}
	events := make([]syscall.EpollEvent, len(conns))
	for waiting := len(conns); waiting > 0; {
		n, err := syscall.EpollWait(poll, events, int(longestAnswer.Milliseconds()))
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return tally{err: fmt.Errorf("no answer within %s: %w", longestAnswer, err)}
		}
		for _, e := range events[:n] {
			l := &lines[e.Fd]
			whole, err := l.receive(h)
			if err != nil {
				return tally{err: err}
			}
			if !whole {
				continue
			}
			out.all++
			now := time.Now()
			if l.sent.After(from) {
				out.took = append(out.took, now.Sub(l.sent))
			}
			if now.After(until) {
				waiting--
				continue
			}
			if err := l.send(h.Request); err != nil {
				return tally{err: err}
			}
		}
	}
	return out
}

// line is one connection with its request under way.
type line struct {
	fd   int
	sent time.Time
	buf  []byte
	have int
}

// send sends a request, which is small enough to be taken whole.
func (l *line) send(request []byte) error {
	l.sent, l.have = time.Now(), 0
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(l.fd), uintptr(unsafe.Pointer(&request[0])), uintptr(len(request)))
	if e != 0 {
		return os.NewSyscallError("write", e)
	}
	if int(n) != len(request) {
		return io.ErrShortWrite
	}
	return nil
}

// receive reads what is there of the answer, and checks it once it is whole.
func (l *line) receive(h HTTPLoad) (whole bool, err error) {
	free := l.buf[l.have:]
	if len(free) == 0 {
		return false, errTooLong
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(l.fd), uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)))
	switch {
	case e == syscall.EAGAIN:
		return false, nil
	case e != 0:
		return false, os.NewSyscallError("read", e)
	case n == 0:
		return false, io.ErrUnexpectedEOF
	}
	l.have += int(n)
	return h.check(l.buf[:l.have])
}
