package sql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
)

// slotBound is the place in the log up to which the server may have been told, at most, that everything is settled. It is kept before the server is told, so that
// a slot which is further than that is another one of the same name, or was moved on by somebody: what lies between was never read. It is as far as the server's log was
// when it was set, at most, and a slot that is made later begins behind that.
type slotBound struct {
	mu    sync.Mutex
	at    lsn
	value []byte // what State has
	set   time.Time
}

// cdcBound is what State keeps of a bound.
type cdcBound struct {
	Slot string `json:"slot"`
	At   string `json:"at"`
}

const (
	boundKey   = "told"
	boundEvery = time.Second // as often as it is set, at most: each time is a transaction of the run's store
)

// hadSlot reads the bound that is kept, and says whether there is one for this slot: an earlier run of the flow, or an earlier Open, has begun to read the slot, whether or
// not anything of it was settled.
func (s *cdcSource) hadSlot(ctx context.Context) (bool, error) {
	if s.env.State == nil {
		return false, nil
	}
	b := &s.bound
	b.mu.Lock()
	defer b.mu.Unlock()
	value, err := s.env.State.Get(ctx, boundKey)
	if err != nil {
		return false, err
	}
	b.value = append([]byte(nil), value...)
	if value == nil {
		return false, nil
	}
	var kept cdcBound
	if err = json.Unmarshal(value, &kept); err == nil {
		b.at, err = parseLSN(kept.At)
	}
	if err != nil {
		return false, &penstock.Error{Code: penstock.Internal, Op: "cdc", Path: s.env.Name, Err: fmt.Errorf("what is kept of the slot can't be read: %w", err)}
	}
	return kept.Slot == s.config.Slot, nil
}

// sameSlot makes sure that the slot is the one that this flow has had. look is what it was when the source was opened; nil where it was made just now. had says that there is
// one that counts: its bound was read.
func (s *cdcSource) sameSlot(ctx context.Context, look *slotLook, had bool) (err error) {
	if s.env.State == nil {
		return nil
	}
	b := &s.bound
	b.mu.Lock()
	defer b.mu.Unlock()
	if look == nil {
		if look, err = s.slotNow(ctx); err != nil || look == nil {
			return err
		}
	}
	confirmed, err := parseLSN(look.confirmed)
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "cdc", Path: "slot " + s.config.Slot, Err: err}
	}
	switch {
	case !had:
		return s.setBound(ctx, confirmed)
	case confirmed <= b.at:
		return nil
	}
	return &penstock.Error{Code: penstock.Config, Op: "cdc", Path: "slot " + s.config.Slot,
		Err:  fmt.Errorf("the replication slot is not where this flow has left it: it begins at %s, and %s is as far as the flow can have confirmed it. It was dropped and made again, or moved on by hand, and what changed in between can't be read any more", confirmed, b.at),
		Hint: s.config.anew()}
}

// anew says how a flow whose slot is lost begins again.
func (c *CDCConfig) anew() string {
	if c.Snapshot == snapshotNever {
		return "begin anew: penstock run --from start, which reads what changes from then on; what changed in between has to be had by other means, as `snapshot: initial` reads all rows"
	}
	return "begin anew: penstock run --from start, which makes the slot where it is missing, and reads all rows again"
}

// slotNow looks at the slot.
func (s *cdcSource) slotNow(ctx context.Context) (l *slotLook, err error) {
	err = s.db.again(ctx, func(conn *pgx.Conn) error {
		rows, err := asks{ctx, conn.PgConn()}.rows(cdcSlot, s.config.Slot)
		if len(rows) == 1 {
			l = slotOf(rows[0])
		}
		return err
	})
	return l, err
}

// setBound keeps a bound. b.mu is held.
func (s *cdcSource) setBound(ctx context.Context, at lsn) error {
	b := &s.bound
	next, err := json.Marshal(cdcBound{Slot: s.config.Slot, At: at.String()})
	if err != nil {
		return err
	}
	put, err := s.env.State.CompareAndSet(ctx, boundKey, b.value, next, 0)
	if err != nil {
		return err
	}
	if !put {
		return &penstock.Error{Code: penstock.Conflict, Op: "cdc", Path: "slot " + s.config.Slot, Err: errors.New("another process has read the slot for this flow meanwhile"), Hint: "run the flow once"}
	}
	b.at, b.value, b.set = at, next, s.env.Clock.Now()
	return nil
}

// mayTell says how far the server may be told that everything is settled, which is sure, or what the bound allows. heard is how far its log is. A bound that is too
// low is raised, unless that was done just now: then it waits for the next time, or for whoever says that it is the last.
func (s *cdcSource) mayTell(sure, heard lsn, last bool) lsn {
	if s.env.State == nil {
		return sure
	}
	b := &s.bound
	b.mu.Lock()
	defer b.mu.Unlock()
	if sure > b.at && (last || s.env.Clock.Now().Sub(b.set) >= boundEvery) {
		ctx, cancel := context.WithTimeout(context.Background(), sendPatience/4)
		defer cancel()
		if err := s.setBound(ctx, max(sure, heard)); err != nil {
			s.env.Logger.Debug("keeping how far the slot is", "slot", s.config.Slot, "error", err) // the server keeps its log for a while longer
		}
	}
	return min(sure, b.at)
}
