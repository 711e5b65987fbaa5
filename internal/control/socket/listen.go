package socket

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// ErrTaken says that another process listens for this store.
var ErrTaken = errors.New("another process listens there")

// Listen makes the socket of the process that has the store at path open. A socket that a dead process left is replaced. One that
// is answered is [ErrTaken], unless takeOver says that this process holds the store's lock, so that the other one can't.
func Listen(ctx context.Context, path string, takeOver bool) (net.Listener, error) {
	p, err := placeOf(path)
	if err != nil {
		return nil, err
	}
	at, err := p.choose()
	if err != nil {
		return nil, err
	}
	fail := func(err error) (net.Listener, error) {
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "control socket", Path: at, Err: err}
	}
	if !takeOver {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(ctx, "unix", at)
		if err == nil {
			_ = c.Close() // it answered, and that is all that was asked
			return fail(ErrTaken)
		}
		if !errors.Is(err, fs.ErrNotExist) && !refused(err) {
			return fail(err)
		}
	}
	// It is made under another name, so that under its own it is there with its rights or not at all, and takes the place of an old one
	// in one step.
	made := at + "." + strconv.Itoa(os.Getpid())
	_ = os.Remove(made) // left by a process with our id that was killed here
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return fail(err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, at)); err != nil {
		return fail(errors.Join(err, l.Close(), os.Remove(made)))
	}
	info, err := os.Lstat(at)
	if err != nil {
		return fail(errors.Join(err, l.Close()))
	}
	return &listener{Listener: l, at: at, info: info}, nil
}

// listener takes its socket away when it is closed, if it is still its own.
type listener struct {
	net.Listener
	at   string
	info fs.FileInfo
	once sync.Once
	err  error
}

// Addr names the socket as it can be dialled.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.at, Net: "unix"} }

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.err = l.Listener.Close()
		if now, err := os.Lstat(l.at); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.at) // what is left is replaced by the next one
		}
	})
	return l.err
}
