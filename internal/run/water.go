package run

import "sync"

// water is the watermark of event time where lanes run ahead of one another: the greatest
// time among the messages of those intakes before which nothing is still on its way. So a
// lane that is behind is never overtaken by the clock of one that is ahead.
type water struct {
	mu      sync.Mutex
	waiting map[uint64]*tide
	next    uint64
	high    int64
}

type tide struct {
	works int32
	maxAt int64
}

func newWater() *water { return &water{waiting: map[uint64]*tide{}, high: minTime} }

// arrive announces an intake that n works will carry.
func (w *water) arrive(in *intake, n int32) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.waiting[in.seq] = &tide{works: n, maxAt: minTime}
	w.mu.Unlock()
}

// passed says that one work of the intake has been through, having seen times up to maxAt. It
// returns the watermark if it rose.
func (w *water) passed(seq uint64, maxAt int64) (int64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.waiting[seq]
	if t == nil {
		return 0, false
	}
	t.works--
	t.maxAt = max(t.maxAt, maxAt)
	before := w.high
	for {
		t := w.waiting[w.next]
		if t == nil || t.works > 0 {
			break
		}
		w.high = max(w.high, t.maxAt)
		delete(w.waiting, w.next)
		w.next++
	}
	return w.high, w.high > before
}
