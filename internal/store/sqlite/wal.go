package sqlite

import (
	"database/sql/driver"
	"errors"
)

// The write-ahead log. SQLite goes on at its end until all of it is in the file and no reader needs it; then it begins at its
// start again, in place, which is what keeps it short. So:
//
//   - from walSoft on, a goroutine copies it into the file, on a connection of its own, while the writer goes on (PASSIVE);
//   - when that has caught up but for a little, the writer copies the rest between two commits and begins at the start (RESTART);
//     it waits a few milliseconds for readers;
//   - at walHard, readers are cancelled first.
//
// Measured (small transactions beside a saturating channel): with 8 MiB and 1 MiB the writer stood still for 15 ms at each
// RESTART (median), with these values for 5 ms and half as often; from 32 MiB on the copying of the goroutine in one piece
// holds up the commits' own fsync, and the slowest percent becomes worse again.
//
// The size is bounded so that a start after a crash, which reads the log, takes less than a second.
const (
	walSoft   = 16 << 20
	walHard   = 64 << 20
	walFinish = 256 << 10 // so much the writer copies itself
	walRounds = 6         // of the goroutine, until the writer does it in any case
)

// checkpoint is what a checkpoint says: how many frames the log has, and how many of them are in the file.
type checkpoint struct {
	busy          bool
	frames, taken int64
	err           error
}

// walState is what the writer knows of the log.
type walState struct {
	rounds  int
	running bool
	later   int64 // frames before which it makes no sense to try again
	done    chan checkpoint
	c       *conn // the goroutine's
}

func copyLog(c *conn, id sqlID) (r checkpoint) {
	r.err = c.query(id, func(v []driver.Value) (bool, error) {
		r = checkpoint{busy: number(v[0]) != 0, frames: number(v[1]), taken: number(v[2])}
		return true, nil
	})
	// A full disk loses nothing here: the log stays as it is until there is room.
	if code := primaryCode(r.err); code == codeBusy || code == codeFull {
		r = checkpoint{busy: true}
	}
	return r
}

// wrote is called by the writer after each commit.
func (s *walState) wrote(d *DB) {
	if d.mem {
		return
	}
	if s.running {
		select {
		case r := <-s.done:
			s.finished(d, r)
			return
		default:
		}
	}
	r := copyLog(d.w, sqlCheckpointNoop) // it only asks, and takes two microseconds
	if r.err != nil {
		_ = d.fail("ask for the size of the write-ahead log", r.err)
		return
	}
	soft, hard := d.o.walSoft/pageSize, d.o.walHard/pageSize
	if r.frames < s.later/2 { // it has begun at its start
		s.later = 0
	}
	switch {
	case r.frames < s.later:
	case r.frames >= hard:
		s.bound(d)
	case !s.running && r.frames-r.taken >= soft:
		s.rounds = 0
		s.start(d)
	}
}

// start copies in the background.
func (s *walState) start(d *DB) {
	if s.done == nil {
		s.done = make(chan checkpoint, 1)
	}
	s.running = true
	s.rounds++
	go func() {
		if s.c == nil {
			c, err := d.open.open("PRAGMA busy_timeout = 0")
			if err == nil {
				err = d.tune(c, readerCache)
			}
			if err != nil {
				s.done <- checkpoint{err: err}
				return
			}
			s.c = c
		}
		s.done <- copyLog(s.c, sqlCheckpointPassive)
	}()
}

// finished takes what the goroutine did.
func (s *walState) finished(d *DB, r checkpoint) {
	s.running = false
	if r.err != nil {
		_ = d.fail("copy the write-ahead log into the file", r.err)
		return
	}
	if r.busy {
		return
	}
	if now := copyLog(d.w, sqlCheckpointNoop); now.err == nil {
		r = now
	}
	if r.frames-r.taken <= walFinish/pageSize || s.rounds >= walRounds {
		s.restart(d, sqlCheckpointRestart)
	} else {
		s.start(d)
	}
}

// restart copies the rest and begins at the start of the log, if no reader is in the way.
func (s *walState) restart(d *DB, id sqlID) bool {
	r := copyLog(d.w, id)
	if r.err != nil {
		_ = d.fail("copy the write-ahead log into the file", r.err)
		return false
	}
	if n, err := d.w.number(statements[sqlFreePages]); err == nil {
		d.counts.freePages.Store(n)
	}
	if r.busy {
		s.later = copyLog(d.w, sqlCheckpointNoop).frames + d.o.walSoft/pageSize/2
		return false
	}
	s.later = 0
	return true
}

// bound shortens the log in any case: readers are cancelled.
func (s *walState) bound(d *DB) {
	if s.running {
		if r := <-s.done; r.err != nil {
			s.finished(d, r)
			return
		}
		s.running = false
	}
	id := sqlCheckpointRestart
	if fileSize(d.o.Path+"-wal") > 2*d.o.walHard {
		id = sqlCheckpointTruncate
	}
	p := &d.views
	p.gate.Lock()
	defer p.gate.Unlock()
	e := d.over("the snapshot was cancelled, as the write-ahead log has come to its bound")
	e.Hint = "try again, and read less at a time"
	p.cancelAll(e)
	if !s.restart(d, id) && d.failure.Load() == nil {
		d.log.Warn("the write-ahead log can't be shortened: another process reads the file", "store", d.o.Path, "bytes", fileSize(d.o.Path+"-wal"))
	}
}

// wait ends the goroutine's part; the writer has ended.
func (s *walState) wait() error {
	var errs []error
	if s.running {
		errs = append(errs, (<-s.done).err)
		s.running = false
	}
	if s.c != nil {
		errs = append(errs, s.c.close())
		s.c = nil
	}
	return errors.Join(errs...)
}
