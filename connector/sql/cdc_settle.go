package sql

import (
	"context"
	"time"

	"penstock.dev/penstock"
)

// advance finds out how far everything is settled. Where nothing is under way, that is how far the server is: so its log is not kept for a table that nothing
// happens to, while others change.
func (s *cdcSource) advance() {
	for len(s.pending) > 0 {
		t := &s.pending[0]
		if at, ok := s.settled[t.region]; t.given && (!ok || !at.covers(t.last)) {
			return
		}
		s.sure = max(s.sure, t.end)
		s.pending = s.pending[1:]
	}
	s.pending = nil
	if !s.within && !s.settling && (s.finish < 0 || s.rows >= s.finish) {
		s.sure = max(s.sure, s.heard)
	}
}

// report tells the server how far everything is settled.
func (s *cdcSource) report(w *wire, reply bool) error {
	s.mu.Lock()
	heard, sure := s.heard, s.sure
	s.mu.Unlock()
	sure = s.mayTell(sure, heard, s.env.Once)
	s.mu.Lock()
	s.told = max(s.told, sure)
	s.mu.Unlock()
	return w.status(heard, sure, s.env.Clock.Now(), reply)
}

// keep tells the server now and then how far everything is settled, whether or not anybody reads: it ends connections that it hears nothing of.
func (s *cdcSource) keep(w *wire) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	tick, quiet, looked := keepTick, 0, 0
	if s.env.Once {
		tick = keepTick / 20
	}
	go func() {
		defer close(ended)
		for {
			fired, halt := s.env.Clock.NewTimer(tick)
			select {
			case <-stop:
				halt()
				return
			case <-fired:
			}
			if looked++; looked >= keepLook && !s.env.Once {
				looked = 0
				s.lookAtLag()
			}
			s.mu.Lock()
			news := s.sure > s.told
			s.mu.Unlock()
			if quiet++; !news && quiet < keepQuiet && !s.env.Once {
				continue
			}
			quiet = 0
			if err := s.report(w, s.env.Once); err != nil {
				return // whoever reads hears of it
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

const (
	keepTick  = time.Second
	keepQuiet = 10 // ticks without news
	keepLook  = 60 // ticks between looks at the slot
)

// Settle implements penstock.Source.
func (s *cdcSource) Settle(ctx context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	snapshot := false
	for _, o := range outcomes {
		if o.Err != nil {
			s.settling = true
		}
		if s.settling {
			break
		}
		if o.Pos.Stream == s.stream {
			s.rows, snapshot = o.Pos.Next, true
			continue
		}
		r, ok := regionOf(s.config.Slot, o.Pos.Stream)
		if !ok {
			continue
		}
		at := placeOf(r, o.Pos.Offset)
		if was, ok := s.settled[r]; !ok || at.covers(was) {
			s.settled[r] = at
		}
	}
	s.advance()
	s.forget()
	w := s.live
	if s.sure <= s.told {
		w = nil
	}
	s.mu.Unlock()
	if w != nil {
		if err := s.report(w, false); err != nil {
			s.env.Logger.Debug("telling the server how far everything is settled", "error", err) // it is told again, on the next connection
		}
	}
	if snapshot {
		return s.snapshotSettled(ctx)
	}
	return nil
}

// forget finds streams that are over: regions of the log before the one in which everything is settled.
func (s *cdcSource) forget() {
	if len(s.settled) < 2 {
		return
	}
	var newest uint64
	for r := range s.settled {
		newest = max(newest, r)
	}
	for _, t := range s.pending {
		if t.region < newest {
			return
		}
	}
	for r := range s.settled {
		if r < newest {
			s.over = append(s.over, streamOf(s.config.Slot, r))
			delete(s.settled, r)
		}
	}
}

// Over implements penstock.Forgetter.
func (s *cdcSource) Over() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.over
	s.over = nil
	return over
}
