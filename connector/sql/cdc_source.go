package sql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// cdcSource reads the changes of tables.
type cdcSource struct {
	config CDCConfig
	env    penstock.Env
	db     *postgres

	kept    bool // an earlier run has read something
	opened  bool
	decoder *decoder
	wire    *wire
	keeper  func() // ends the keeper of the wire
	between bool   // the snapshot was given, and the stream has not begun
	snap    *snapshotReader
	stream  string // of the snapshot
	count   int64  // rows of the snapshot that were given
	failed  error  // told by the next Read
	target  lsn    // once: where to end
	reached bool   // once: it was
	hot     bool   // changes come quickly

	mu       sync.Mutex
	live     *wire  // what Settle may report on
	mark     []byte // what State has
	taken    *cdcSnapshot
	pending  []commitEnd      // whose messages are not all settled
	settled  map[uint64]place // of the changes, by region
	sure     lsn              // everything before it is settled
	told     lsn              // what the server knows of sure
	heard    lsn              // how far the server is
	within   bool             // a transaction is half read
	finish   int64            // rows of the snapshot, once all were read; -1 before
	rows     int64            // of them settled
	over     []string
	stale    []string // streams of snapshots before, needed until this one is settled
	marked   bool     // State knows that the snapshot is settled
	bound    slotBound
	settling bool // the run settles with errors: nothing is sure any more
}

var (
	_ penstock.Positioned = (*cdcSource)(nil)
	_ penstock.Forgetter  = (*cdcSource)(nil)
)

func newCDC(c CDCConfig, env penstock.Env) (penstock.Source, error) {
	s := &cdcSource{config: c, env: env, settled: map[uint64]place{}, finish: -1}
	wanted, err := wantedTables(c.Tables)
	if err != nil {
		return nil, config(env.Name, err.Error(), "")
	}
	s.decoder = &decoder{slot: c.Slot, typ: env.Type, wanted: wanted, behind: s.behind}
	return s, nil
}

// wantedTables says which tables were asked for. A name without a schema is that of any schema: the publication says which.
func wantedTables(names []string) (func(schema, table string) bool, error) {
	if len(names) == 0 {
		return func(string, string) bool { return true }, nil
	}
	known := map[[2]string]bool{}
	for _, n := range names {
		parts, err := tableName(n)
		if err != nil {
			return nil, err
		}
		if len(parts) > 1 {
			known[[2]string{parts[len(parts)-2], parts[len(parts)-1]}] = true
		} else {
			known[[2]string{"", parts[0]}] = true
		}
	}
	return func(schema, table string) bool { return known[[2]string{schema, table}] || known[[2]string{"", table}] }, nil
}

// Resume implements penstock.Positioned.
func (s *cdcSource) Resume(_ context.Context, from []penstock.Position) error {
	first := false
	var region uint64
	for _, p := range from {
		if r, ok := regionOf(s.config.Slot, p.Stream); ok {
			s.kept = true
			at := placeOf(r, p.Offset)
			s.settled[r] = at
			if !first || r < region { // that of a region before is kept until all of it is done
				first, region = true, r
				s.decoder.done, s.decoder.ever = at, true
			}
		} else if strings.HasPrefix(p.Stream, snapshotStream(s.config.Slot)) {
			s.kept = true
			s.stale = append(s.stale, p.Stream)
		}
	}
	return nil
}

// cdcMark is what State keeps of the snapshot.
type cdcMark struct {
	State    string `json:"state"` // begun, done
	Snapshot string `json:"snapshot"`
	Before   string `json:"before"`
	Stream   string `json:"stream"`
}

const (
	markKey   = "snapshot"
	markBegun = "begun"
	markDone  = "done"
)

// Read implements penstock.Source.
func (s *cdcSource) Read(ctx context.Context, into *penstock.Batch) error {
	if s.failed != nil {
		return s.failed
	}
	if s.snap != nil {
		more, err := s.readSnapshot(ctx, into)
		if err != nil || more {
			return err
		}
	}
	if s.between {
		if err := s.snapshotSettled(ctx); err != nil {
			return err
		}
		if err := s.startStream(ctx); err != nil {
			switch {
			case ctx.Err() != nil: // the next Read goes on here
				return ctx.Err()
			case penstock.CodeOf(err).Transient():
				return s.disconnected(err)
			}
			return err
		}
		s.between = false
	}
	if s.wire == nil {
		return penstock.ErrDisconnected
	}
	if err := s.wire.resume(); err != nil {
		return s.disconnected(err)
	}
	w := s.wire
	if s.hot && !w.buffered() {
		// The server sends each change by itself. Where they come quickly it is cheaper for both sides to let some gather.
		fired, halt := s.env.Clock.NewTimer(cdcLinger)
		select {
		case <-fired:
		case <-ctx.Done():
			halt()
			return ctx.Err()
		}
	}
	stop := context.AfterFunc(ctx, w.interrupt)
	defer stop()
	start, bytes := len(into.Msgs), into.Arena().Bytes()
	most := max(s.env.Batch, cdcBatch)
	defer func() { s.hot = len(into.Msgs)-start >= cdcHot }()
	for {
		n := len(into.Msgs) - start
		if s.reached {
			if n == 0 {
				return io.EOF
			}
			return nil
		}
		if n >= most || n > 0 && (into.Arena().Bytes()-bytes > cdcBytes || !w.buffered()) {
			return nil
		}
		kind, body, err := w.receive()
		switch {
		case errors.Is(err, errInterrupted) && ctx.Err() == nil: // by a Read before
			err = w.resume()
		case errors.Is(err, errInterrupted):
			return ctx.Err()
		case err == nil:
			err = s.take(kind, body, into)
		}
		if err != nil {
			if errors.Is(err, errDisconnect) || !coded(err) || penstock.CodeOf(err).Transient() {
				err = s.disconnected(err)
			}
			if len(into.Msgs) > start {
				s.failed = err
				return nil
			}
			return err
		}
	}
}

const (
	cdcBatch = 1024    // messages in a Read, where nobody asks for more
	cdcBytes = 1 << 20 // and bytes

	cdcHot    = 8 // messages in a Read that are a sign of more
	cdcLinger = time.Millisecond
)

var errDisconnect = errors.New("the server has ended the stream")

// coded says that an error is ours, with a code.
func coded(err error) bool {
	var e *penstock.Error
	return errors.As(err, &e)
}

// take takes one message of the connection.
func (s *cdcSource) take(kind byte, body []byte, into *penstock.Batch) error {
	switch kind {
	case 'd':
	case 'E':
		return s.explain(s.db.failure(context.Background(), serverError(body), false))
	case 'c', 'C', 'Z':
		return errDisconnect
	default:
		return nil // notices, settings
	}
	if len(body) == 0 {
		return s.wrong(errTuple)
	}
	switch body[0] {
	case 'k':
		if len(body) < 18 {
			return s.wrong(errTuple)
		}
		return s.alive(lsn(binary.BigEndian.Uint64(body[1:])), body[17] == 1)
	case 'w':
		if len(body) < 25 {
			return s.wrong(errTuple)
		}
		done, err := s.decoder.change(body[25:], into)
		if err != nil {
			return s.wrong(err)
		}
		switch {
		case done != nil:
			s.committed(*done)
		case body[25] == 'B':
			s.mu.Lock()
			s.within = true
			s.mu.Unlock()
		}
	}
	return nil
}

func (s *cdcSource) wrong(err error) error {
	if coded(err) {
		return err
	}
	return &penstock.Error{Code: penstock.Internal, Op: "cdc", Path: "slot " + s.config.Slot, Err: err}
}

// committed notes that a transaction was read to its end.
func (s *cdcSource) committed(t commitEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.within = false
	s.heard = max(s.heard, t.end)
	s.pending = append(s.pending, t)
	s.advance()
	if s.env.Once && t.end >= s.target {
		s.reached = true
	}
}

// alive takes a keep-alive: everything before at was sent.
func (s *cdcSource) alive(at lsn, reply bool) error {
	s.mu.Lock()
	s.heard = max(s.heard, at)
	s.advance()
	if s.env.Once && !s.within && at >= s.target {
		s.reached = true
	}
	s.mu.Unlock()
	if reply {
		return s.report(s.wire, false)
	}
	return nil
}

// hangUp ends the connections.
func (s *cdcSource) hangUp() error {
	var err error
	if s.snap != nil {
		s.snap.close()
		s.snap = nil
	}
	if s.wire != nil {
		s.keeper()
		s.mu.Lock()
		s.live = nil
		s.mu.Unlock()
		s.mu.Lock()
		heard, sure := s.heard, s.sure
		s.mu.Unlock()
		s.mayTell(sure, heard, true)
		err = errors.Join(s.report(s.wire, false), s.wire.close())
		s.wire = nil
	}
	return err
}

// disconnected asks for a new Open.
func (s *cdcSource) disconnected(err error) error {
	if s.wire != nil {
		s.keeper()
		s.mu.Lock()
		s.live = nil
		s.mu.Unlock()
		if cerr := s.wire.conn.Close(); cerr != nil {
			s.env.Logger.Debug("ending the connection", "error", cerr)
		}
		s.wire = nil
	}
	s.env.Logger.Warn("the stream of changes has ended; connecting again", "slot", s.config.Slot, "error", err)
	return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
}

// Close implements penstock.Source.
func (s *cdcSource) Close(context.Context) error {
	if err := s.hangUp(); err != nil {
		s.env.Logger.Debug("ending the connection", "error", err)
	}
	return nil
}

// readRow appends the message of a row of the snapshot.
func (s *cdcSource) readRow(into *penstock.Batch, c *snapshotChunk, i int) {
	body, key, bad := c.row(i)
	m := into.Append()
	m.Body.Reset(jsonview.JSON, into.Arena().Copy(body))
	m.Key = unsafeText(into.Arena().Copy(key))
	m.Pos = penstock.Position{Stream: s.stream, Offset: s.count, Next: s.count + 1}
	s.count++
	m.Meta.Add("schema", penstock.StringValue(c.table.schema))
	m.Meta.Add("table", penstock.StringValue(c.table.name))
	m.Meta.Add("lsn", penstock.StringValue(c.lsn))
	if bad != nil {
		into.Fail(len(into.Msgs)-1, bad)
	}
}
