package sql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// wire is a connection of the replication protocol (PostgreSQL's manual, "Streaming Replication Protocol") that has been started. Receive is for one
// goroutine; send is safe for concurrent use.
type wire struct {
	conn     net.Conn
	buf      []byte
	from, to int // of buf: what was received and not taken

	mu sync.Mutex // of writing
}

// unsafeText is b as a text, for as long as b stays as it is.
func unsafeText(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

const (
	wireBuffer = 256 << 10
	// maxWire is the largest message: PostgreSQL's own limit of what it allocates at once.
	maxWire = 1<<30 + 1<<20
)

// dial opens a connection that is not the pool's.
func (p *postgres) dial(ctx context.Context, replication bool) (*pgconn.PgConn, error) {
	cfg := p.pool.Config()
	cc := cfg.ConnConfig
	if cfg.BeforeConnect != nil {
		if err := cfg.BeforeConnect(ctx, cc); err != nil {
			return nil, err
		}
	}
	delete(cc.RuntimeParams, "statement_timeout")
	if replication {
		cc.RuntimeParams["replication"] = "database"
	}
	c, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, p.failure(ctx, err, true)
	}
	if !replication && cfg.AfterConnect != nil {
		if err := cfg.AfterConnect(ctx, c); err != nil {
			return nil, errors.Join(p.failure(ctx, err, false), c.Close(ctx))
		}
	}
	return c.PgConn(), nil
}

// startWire starts replication. The error is pgconn's.
func startWire(ctx context.Context, c *pgconn.PgConn, slot, publication string, at lsn) (*wire, error) {
	if err := c.SyncConn(ctx); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	w := &wire{conn: h.Conn, buf: make([]byte, wireBuffer)}
	if n := h.Frontend.ReadBufferLen(); n > 0 {
		return nil, errors.Join(fmt.Errorf("%d bytes before replication began", n), w.conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { w.interrupt() })
	defer stop()
	text := fmt.Sprintf(`START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names '%s')`, slot, at, strings.ReplaceAll(quote(publication), "'", "''"))
	if err := w.send('Q', append([]byte(text), 0)); err != nil {
		return nil, errors.Join(err, w.conn.Close())
	}
	for {
		kind, body, err := w.receive()
		switch {
		case errors.Is(err, errInterrupted) && ctx.Err() != nil:
			return nil, errors.Join(ctx.Err(), w.conn.Close())
		case err != nil:
			return nil, errors.Join(err, w.conn.Close())
		case kind == 'W':
			return w, w.resume()
		case kind == 'E':
			return nil, errors.Join(serverError(body), w.conn.Close())
		}
	}
}

// serverError reads an error of the server.
func serverError(body []byte) error {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return err
	}
	return pgconn.ErrorResponseToPgError(&e)
}

var (
	errInterrupted = errors.New("interrupted")
	errWire        = errors.New("what came is no message of the protocol")
)

// interrupt ends the receive that waits, and those to come until resume.
func (w *wire) interrupt() { _ = w.conn.SetReadDeadline(time.Unix(1, 0)) }

func (w *wire) resume() error { return w.conn.SetReadDeadline(time.Time{}) }

// buffered says that a whole message is there.
func (w *wire) buffered() bool {
	n := w.to - w.from
	return n >= 5 && n >= 1+int(binary.BigEndian.Uint32(w.buf[w.from+1:]))
}

// receive gives the next message; its body is there until the next call. After errInterrupted it may be called again.
func (w *wire) receive() (kind byte, body []byte, err error) {
	for {
		need := 5
		if n := w.to - w.from; n >= 5 {
			size := int(binary.BigEndian.Uint32(w.buf[w.from+1:]))
			if size < 4 || size > maxWire {
				return 0, nil, errWire
			}
			if need = 1 + size; n >= need {
				kind, body = w.buf[w.from], w.buf[w.from+5:w.from+need]
				w.from += need
				return kind, body, nil
			}
		}
		if err := w.more(need); err != nil {
			return 0, nil, err
		}
	}
}

// more receives what is there, with room for a message of so many bytes.
func (w *wire) more(need int) error {
	if w.from == w.to {
		w.from, w.to = 0, 0
		if len(w.buf) > wireBuffer*4 && need < wireBuffer { // a message of some megabytes is no reason to keep them
			w.buf = make([]byte, wireBuffer)
		}
	}
	if w.from > 0 && len(w.buf)-w.from < max(need, wireBuffer/2) {
		w.to = copy(w.buf, w.buf[w.from:w.to])
		w.from = 0
	}
	if len(w.buf)-w.from < need {
		w.buf = append(make([]byte, 0, need+wireBuffer/2), w.buf[w.from:w.to]...)
		w.from, w.to = 0, len(w.buf)
		w.buf = w.buf[:cap(w.buf)]
	}
	n, err := w.conn.Read(w.buf[w.to:])
	w.to += n
	switch {
	case n > 0:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errInterrupted
	}
	return err
}

// send sends one message.
func (w *wire) send(kind byte, body []byte) error {
	msg := make([]byte, 0, 5+len(body))
	msg = binary.BigEndian.AppendUint32(append(msg, kind), uint32(len(body)+4)) //nolint:gosec // short
	msg = append(msg, body...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil {
		return err
	}
	_, err := w.conn.Write(msg)
	return err
}

// sendPatience is how long the server may take to receive a few bytes.
const sendPatience = 20 * time.Second

// status says how far everything is durable; what was received (at) is no more than that it came. reply asks for a keep-alive at once.
func (w *wire) status(at, durable lsn, now time.Time, reply bool) error {
	b := make([]byte, 0, 34)
	b = append(b, 'r')
	b = binary.BigEndian.AppendUint64(b, uint64(max(at, durable)))
	b = binary.BigEndian.AppendUint64(b, uint64(durable))
	b = binary.BigEndian.AppendUint64(b, uint64(durable))
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-epochSeconds*1e6)) //nolint:gosec // its bits
	if reply {
		return w.send('d', append(b, 1))
	}
	return w.send('d', append(b, 0))
}

// close ends the replication, and waits a moment for the server to let go of the slot.
func (w *wire) close() error {
	err := w.send('c', nil)
	if err == nil {
		err = w.conn.SetReadDeadline(time.Now().Add(closePatience))
	}
	for err == nil {
		var kind byte
		if kind, _, err = w.receive(); err == nil && kind == 'Z' {
			break
		}
	}
	if err == nil {
		err = w.send('X', nil)
	}
	for err == nil {
		_, _, err = w.receive()
	}
	return w.conn.Close()
}

// closePatience is how long the server may take to end.
const closePatience = 3 * time.Second

// pgTime is an instant as the protocol has it: microseconds since 2000.
func pgTime(micros uint64) time.Time {
	return time.UnixMicro(int64(micros) + epochSeconds*1e6).UTC() //nolint:gosec // its bits
}
