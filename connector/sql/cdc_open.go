package sql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
)

// Open implements penstock.Source. Opened again after the connection was lost, it goes on behind what was read; opened again without, behind what
// was settled.
func (s *cdcSource) Open(ctx context.Context) (err error) {
	if s.wire != nil || s.snap != nil {
		if err := s.hangUp(); err != nil {
			s.env.Logger.Debug("ending the connection", "error", err)
		}
		s.mu.Lock()
		s.rewind()
		s.mu.Unlock()
	}
	s.failed, s.reached, s.between = nil, false, false
	if s.db, err = s.config.server(s.env); err != nil {
		return err
	}
	s.decoder.lookUp = func(r *relation) error {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendPatience)
		defer cancel()
		return r.lookUp(own, s.db, s.env.Type)
	}
	look, err := s.config.look(ctx, s.db)
	if err != nil {
		return err
	}
	snapshot, err := s.needsSnapshot(ctx)
	if err != nil {
		return err
	}
	// A slot that this flow has had is looked for, unless all rows are read again anyway.
	had, err := s.hadSlot(ctx)
	if err != nil {
		return err
	}
	had = had && (s.opened || s.kept || !snapshot && !s.env.Anew)
	if err := s.slotReady(ctx, look, had); err != nil {
		return err
	}
	s.opened = true
	if s.env.Once {
		if s.target, err = s.db.walEnd(ctx); err != nil {
			return err
		}
	}
	if err := s.sameSlot(ctx, look.slot, had); err != nil {
		return err
	}
	if snapshot {
		return s.beginSnapshot(ctx)
	}
	return s.startStream(ctx)
}

// rewind forgets what was given and is not settled.
func (s *cdcSource) rewind() {
	s.pending, s.settling = nil, false
	if s.rows < s.finish {
		s.finish = -1 // once more
	}
	s.decoder.ever = false
	for r, at := range s.settled {
		if !s.decoder.ever || r < s.decoder.done.commit.region() {
			s.decoder.done, s.decoder.ever = at, true
		}
	}
}

// behind says that a transaction is in the snapshot.
func (s *cdcSource) behind(commit lsn, xid uint32) bool {
	return s.taken != nil && s.taken.sees(commit, xid)
}

// needsSnapshot says whether the rows that are there are to be read first.
func (s *cdcSource) needsSnapshot(ctx context.Context) (bool, error) {
	if s.config.Snapshot == snapshotNever || s.env.State == nil {
		return false, nil
	}
	if s.finish >= 0 {
		return false, nil // all of it was given: it is being settled
	}
	value, err := s.env.State.Get(ctx, markKey)
	if err != nil {
		return false, err
	}
	s.mark = append([]byte(nil), value...)
	if value == nil {
		return !s.kept, nil
	}
	var m cdcMark
	if err := json.Unmarshal(value, &m); err != nil {
		return false, &penstock.Error{Code: penstock.Internal, Op: "cdc", Path: s.env.Name, Err: fmt.Errorf("what is kept of the snapshot can't be read: %w", err)}
	}
	if m.State != markDone || !s.kept {
		return true, nil
	}
	before, err := parseLSN(m.Before)
	if err == nil {
		s.taken, err = parseSnapshot(m.Snapshot, before)
	}
	s.stream = m.Stream
	return false, err
}

// startStream begins to receive changes. A slot that is in use is waited for, a while: the process that was here before may just be ending.
func (s *cdcSource) startStream(ctx context.Context) error {
	for begun := s.env.Clock.Now(); ; {
		err := s.tryStream(ctx)
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "55006" || s.env.Clock.Now().Sub(begun) > slotPatience {
			return s.explain(s.db.failure(ctx, err, false))
		}
		fired, stop := s.env.Clock.NewTimer(slotPatience / 40)
		select {
		case <-fired:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

// slotPatience is how long a slot may be another's. Its server notices the end of a process at once, but for one that is cut off.
const slotPatience = 10 * time.Second

func (s *cdcSource) tryStream(ctx context.Context) error {
	conn, err := s.db.dial(ctx, true)
	if err != nil {
		return err
	}
	s.mu.Lock()
	var at lsn
	if s.decoder.ever {
		at = s.decoder.done.commit
	}
	s.within = false
	s.decoder.within = false
	s.decoder.relations = nil
	s.mu.Unlock()
	w, err := startWire(ctx, conn, s.config.Slot, s.config.publication(), at)
	if err != nil {
		return err
	}
	s.wire = w
	s.mu.Lock()
	s.live = w
	s.told = 0
	s.mu.Unlock()
	s.keeper = s.keep(w)
	return nil
}
