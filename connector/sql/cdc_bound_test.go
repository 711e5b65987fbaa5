package sql

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
)

// TestCDCSlotThatWasRemade: a slot that was dropped and made again by hand, or moved on, while the flow was stopped is not the one that the flow has read, and what lies between is
// missing. The flow says so. One that nobody has touched is read on, and a flow that begins anew takes the slot as it is.
func TestCDCSlotThatWasRemade(t *testing.T) {
	const drop, remake = "SELECT pg_drop_replication_slot('remade')", "SELECT pg_create_logical_replication_slot('remade', 'pgoutput')"
	for name, c := range map[string]struct {
		meanwhile []string
		unsettled bool // nothing of what was read was settled
		anew      bool
		refused   string
	}{
		"untouched":              {meanwhile: []string{"INSERT INTO t VALUES (100)"}},
		"remade":                 {meanwhile: []string{drop, "INSERT INTO t VALUES (100)", remake}, refused: "made again"},
		"remade idle":            {meanwhile: []string{drop, remake}, refused: "made again"},
		"moved on":               {meanwhile: []string{"INSERT INTO t VALUES (100)", "SELECT pg_replication_slot_advance('remade', pg_current_wal_insert_lsn())"}, refused: "made again"},
		"dropped":                {meanwhile: []string{drop}, refused: "is gone"},
		"from start":             {meanwhile: []string{drop, remake}, anew: true},
		"unsettled, untouched":   {unsettled: true},
		"unsettled, remade":      {meanwhile: []string{drop, "INSERT INTO t VALUES (100)", remake}, unsettled: true, refused: "made again"},
		"unsettled, remade idle": {meanwhile: []string{drop, remake}, unsettled: true, refused: "made again"},
		"unsettled, dropped":     {meanwhile: []string{drop}, unsettled: true, refused: "is gone"},
		"unsettled, from start":  {meanwhile: []string{drop, remake}, unsettled: true, anew: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := onLogical(t)
			f.env.State = &entries{}
			f.exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
			config := CDCConfig{Slot: "remade", Tables: []string{"t"}, Snapshot: snapshotNever}
			s := f.cdc(t, config)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.exec(t, "INSERT INTO t SELECT generate_series(1, 5)")
			all := take(t, s, 5)
			if !c.unsettled {
				settle(t, s, all...)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.exec(t, c.meanwhile...)
			f.env.Anew = c.anew
			s = f.cdc(t, config)
			var from []penstock.Position
			if !c.anew && !c.unsettled {
				from = []penstock.Position{all[4].pos}
			}
			if err := s.Resume(t.Context(), from); err != nil {
				t.Fatal(err)
			}
			err := s.Open(t.Context())
			defer func() {
				if err := s.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			if c.refused != "" {
				drive.Code(t, err, penstock.Config, c.refused, "--from start")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.anew:
			case c.unsettled:
				wants(t, take(t, s, 5)[:1], `{"operation":"create","before":null,"after":{"id":1}}`)
			default:
				wants(t, take(t, s, 1), `{"operation":"create","before":null,"after":{"id":100}}`)
			}
		})
	}
}

// stopped is a State whose store takes nothing any more.
type stopped struct{ entries }

// CompareAndSet implements penstock.State.
func (*stopped) CompareAndSet(context.Context, string, []byte, []byte, time.Duration) (bool, error) {
	return false, errors.New("the store has stopped")
}

// TestCDCTellsNoMoreThanIsKept: the server is never told of more than what is kept of it; otherwise a slot that nobody touched could seem to be another.
func TestCDCTellsNoMoreThanIsKept(t *testing.T) {
	kept := &entries{}
	s := &cdcSource{config: CDCConfig{Slot: "s"}, env: penstock.Env{State: kept, Clock: penstock.SystemClock{}, Logger: slog.New(slog.DiscardHandler)}}
	if err := s.setBound(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sure, heard lsn
		last        bool
		want        lsn
	}{{90, 200, false, 90}, {150, 200, false, 100}, {150, 200, true, 150}, {190, 300, false, 190}, {210, 300, false, 200}} {
		if got := s.mayTell(c.sure, c.heard, c.last); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	s.env.State = &stopped{}
	if got := s.mayTell(1000, 1000, true); got != 200 {
		t.Errorf("without a store: %d", got)
	}
}
