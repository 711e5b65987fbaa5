package policy

import "time"

// buckets is into how many parts a sliding window is divided: what is older than the window leaves it in steps of a tenth.
const buckets = 10

// window counts two sorts of events over the time that has passed last. The zero window, with a width, is empty. Times are since any
// fixed moment; one that lies before the last one counts as that.
type window struct {
	width  time.Duration
	counts [buckets][2]int64
	sums   [2]int64
	at     int64 // number of the newest bucket
}

// add counts n events of a sort (0 or 1) at now.
func (w *window) add(now time.Duration, sort int, n int64) {
	w.roll(now)
	w.counts[w.at%buckets][sort] += n
	w.sums[sort] += n
}

// roll forgets what is older than the window.
func (w *window) roll(now time.Duration) {
	to := int64(now / (w.width / buckets))
	if to == w.at {
		return
	}
	if to-w.at >= buckets {
		w.counts, w.sums, w.at = [buckets][2]int64{}, [2]int64{}, to
		return
	}
	for w.at < to {
		w.at++
		b := &w.counts[w.at%buckets]
		w.sums[0] -= b[0]
		w.sums[1] -= b[1]
		*b = [2]int64{}
	}
}

// reset forgets everything.
func (w *window) reset() { w.counts, w.sums = [buckets][2]int64{}, [2]int64{} }
