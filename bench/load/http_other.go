//go:build !linux

package load

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// drive drives the connections, each from a goroutine.
func (h HTTPLoad) drive(conns []net.Conn, from, until time.Time) (out tally) {
	each := make([]tally, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { each[i].err = h.one(c, from, until, &each[i]) })
	}
	wg.Wait()
	for _, t := range each {
		out.took, out.all, out.err = slices.Concat(out.took, t.took), out.all+t.all, errors.Join(out.err, t.err)
	}
	return out
}

// one drives a connection.
func (h HTTPLoad) one(c net.Conn, from, until time.Time, out *tally) error {
	buf := make([]byte, 64<<10)
	for {
		sent := time.Now()
		if sent.After(until) {
			return nil
		}
		if _, err := c.Write(h.Request); err != nil {
			return err
		}
		for have, whole := 0, false; !whole; {
			if have == len(buf) {
				return errTooLong
			}
			n, err := c.Read(buf[have:])
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			have += n
			if whole, err = h.check(buf[:have]); err != nil {
				return err
			}
		}
		out.all++
		if sent.After(from) {
			out.took = append(out.took, time.Since(sent))
		}
	}
}
