package sql

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// copyIn sends rows by a statement of COPY FROM STDIN. Unlike pgconn's CopyFrom it waits for nothing before it sends the first rows: the statements
// and they are on the way together, in one exchange (PostgreSQL's manual, Message Flow, COPY Operations: what comes for a COPY that failed is dropped).
type copyIn struct {
	c        *pgconn.PgConn
	rows     *feed
	s        *sink
	buf      []byte
	binary   bool
	numbered bool // the statements begin with one that gives the transaction's number

	number string        // of the transaction
	known  chan struct{} // closed when number is
	stop   chan struct{} // closed when there is nothing more to send
	cut    bool          // the connection broke behind the server's answer
	ended  bool          // the end of the rows was sent, or may have been
}

const (
	// firstSend is how much is gathered at first: the server is to have something to do soon.
	firstSend = 8 << 10
	nextSend  = 64 << 10
	// cancelPatience is how long a server may take to say something when it was asked to stop.
	cancelPatience = 2 * time.Second
)

// run does it. Where the error is not the server's answer, the connection is closed. in.ended then says that the server may have got everything.
func (in *copyIn) run(ctx context.Context, statements string) error {
	if err := in.c.SyncConn(ctx); err != nil {
		return err
	}
	in.known, in.stop = make(chan struct{}), make(chan struct{})
	if !in.numbered {
		close(in.known)
	}
	conn := in.c.Conn()
	cancelled := make(chan struct{})
	watch := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		_ = conn.SetDeadline(time.Now().Add(cancelPatience)) // a connection that is closed has an end, too
		asking, done := context.WithTimeout(context.WithoutCancel(ctx), cancelPatience)
		defer done()
		_ = in.c.CancelRequest(asking) // it may come too late
	})
	sent := make(chan error, 1)
	go func() {
		err := in.send(statements)
		if err != nil {
			_ = conn.Close() // whoever waits for an answer waits for nothing
		}
		sent <- err
	}()
	err := in.receive()
	broken := in.cut || err != nil && !answered(err)
	if broken {
		_ = conn.Close() // it may be blocked there
	}
	close(in.stop)
	if sending := <-sent; sending != nil && (err == nil || broken) {
		broken, err = true, errors.Join(sending, err)
	}
	if !watch() {
		<-cancelled
		broken = true // the request may come so late that it ends what is done next
	}
	if broken {
		_ = conn.Close()
		_ = in.c.Close(ctx) // so that the pool does not take it back
	}
	return err
}

// receive reads what the server says until it is ready for something else. It is done without pgconn, which would ask the server to cancel what
// it does where its connection breaks: that may be a COMMIT.
func (in *copyIn) receive() error {
	var refused error
	for {
		m, err := in.c.Frontend().Receive()
		if err != nil {
			if refused != nil {
				in.cut = true
				return refused
			}
			return err
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			if in.numbered && in.number == "" && len(m.Values) == 1 {
				in.number = string(m.Values[0])
				close(in.known)
			}
		case *pgproto3.ErrorResponse:
			if refused == nil {
				refused = pgconn.ErrorResponseToPgError(m)
			}
		case *pgproto3.ReadyForQuery:
			return refused
		}
	}
}

// send writes the statements and the rows, and their end when the transaction has a number.
func (in *copyIn) send(statements string) error {
	in.buf = append(in.buf[:0], 'Q')
	in.buf = binary.BigEndian.AppendUint32(in.buf, uint32(4+len(statements)+1)) //nolint:gosec // a few hundred bytes
	in.buf = append(append(in.buf, statements...), 0)
	for at, size, more := 0, firstSend, true; more; size = nextSend {
		head := len(in.buf)
		in.buf = append(in.buf, 'd', 0, 0, 0, 0)
		if in.binary && at == 0 {
			in.buf = append(in.buf, binaryHead...)
		}
		for more && len(in.buf) < size {
			var r row
			if r, more = in.rows.at(at); more {
				in.buf = append(in.buf, in.s.text[r.from:r.to]...)
				at++
			} else if in.binary {
				in.buf = append(in.buf, binaryEnd...)
			}
		}
		binary.BigEndian.PutUint32(in.buf[head+1:], uint32(len(in.buf)-head-1)) //nolint:gosec // a row is smaller than a document may be
		if _, err := in.c.Conn().Write(in.buf); err != nil {
			return err
		}
		in.buf = in.buf[:0]
		select {
		case <-in.stop:
			return nil
		default:
		}
	}
	select {
	case <-in.known:
	case <-in.stop:
		return nil
	}
	in.ended = true
	_, err := in.c.Conn().Write([]byte{'c', 0, 0, 0, 4})
	return err
}
