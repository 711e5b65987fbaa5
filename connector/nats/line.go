package nats

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// line puts what a consumer delivers into the order of the stream.
//
// A consumer of JetStream delivers new messages in order. What was delivered and not acknowledged it gives again once ackWait is over, or at once when it is
// refused (nak): behind messages that are newer. That happens where a process died, where a connection broke under messages that were on their
// way, and where acknowledgements were lost. So the line keeps account of what the server has delivered:
//
//   - Deliveries of a consumer are numbered without gaps. Where a number is missing, and where a reader begins, messages may be out that only come
//     again later. Until the server's count of unacknowledged messages says that all of them are here, what comes is held back, and then
//     handed out sorted.
//   - Nothing is waited for longer than it takes the server to give it again (ackWait), so that another reader of the same consumer, which has messages of
//     its own, stops nobody for good.
//   - What comes again while it is here, or after it was settled, is taken for what it is: the newer delivery takes the place of the older, or
//     is acknowledged once more.
//   - What turns up nevertheless behind a newer one that was handed out is late. It is handed out, marked as such.
//   - What lies before a newer one that was handed out, and is not here, though the server counts more messages than are here, is a gap. Positions bear
//     their gaps, so that a later run does not take for done what nobody has done.
//
// A line does not wait for anything itself, and is guarded by its owner.
type line struct {
	ordered bool // else everything is handed out as it comes
	from    uint64
	gaps    gaps // what is not done before the last that was handed out

	flight map[uint64]*delivery // by sequence: here, and not settled
	seen   seen
	last   uint64 // the highest sequence that was handed out
	turn   uint64 // the last number of a delivery
	known  bool   // turn is

	out   []*delivery // to be handed out
	held  []*delivery // until it is known what lies before them
	bytes int         // of out and held

	unsure  bool            // something may lie before held
	since   time.Time       // unsure is true since
	away    map[uint64]bool // sent back, and to come again
	back    []*delivery     // … of which the server was not told yet
	settles int             // messages settled so far
}

// delivery is a message that is here.
type delivery struct {
	place
	reply   string // what it is acknowledged on
	message message
	size    int
	handed  bool      // to the engine
	late    bool      // it turned up behind a newer one
	touched time.Time // when the server last heard that we have it
}

// verdict says what is to be done about a message that has come.
type verdict uint8

const (
	take   verdict = iota // it is in the line
	known                 // it is in the line already: this delivery takes the place of the one before
	settle                // it was settled before: acknowledge it again
)

// heldBytes bounds what is held back.
const heldBytes = 64 << 20

// begin starts a line for a consumer that has delivered up to a number, with so many messages unacknowledged.
func (l *line) begin(turn uint64, unacknowledged int, now time.Time) {
	l.turn, l.known = turn, true
	if l.ordered && unacknowledged > len(l.flight) {
		l.doubt(now)
	}
}

func (l *line) doubt(now time.Time) {
	if !l.unsure {
		l.unsure, l.since = true, now
	}
}

// arrive puts a message into the line.
func (l *line) arrive(d *delivery, now time.Time) verdict {
	gap := l.known && d.turn != l.turn+1
	l.turn, l.known = d.turn, true
	if gap && l.ordered {
		l.doubt(now)
	}
	if old := l.flight[d.seq]; old != nil {
		old.reply, old.turn, old.delivered, old.touched = d.reply, d.turn, d.delivered, now
		return known
	}
	if l.seen.has(d.seq) || d.seq < l.from && !l.gaps.has(d.seq) {
		return settle
	}
	delete(l.away, d.seq)
	if l.flight == nil {
		l.flight = map[uint64]*delivery{}
	}
	d.touched = now
	l.flight[d.seq] = d
	l.seen.add(d.seq)
	l.bytes += d.size
	if l.unsure {
		l.held = append(l.held, d)
		l.shed()
	} else {
		l.hand(d)
	}
	return take
}

// shed sends back the last of what is held back while it is too much: the server is to keep it for a while.
func (l *line) shed() {
	for l.bytes > heldBytes && len(l.held) > 1 {
		i := 0
		for j, d := range l.held {
			if d.seq > l.held[i].seq {
				i = j
			}
		}
		d := l.held[i]
		l.held = slices.Delete(l.held, i, i+1)
		l.bytes -= d.size
		delete(l.flight, d.seq)
		l.seen.remove(d.seq)
		if l.away == nil {
			l.away = map[uint64]bool{}
		}
		l.away[d.seq] = true
		l.back = append(l.back, d)
	}
}

// sentBack gives what was shed since it was asked last.
func (l *line) sentBack() []*delivery {
	back := l.back
	l.back = nil
	return back
}

// hand puts a message behind those that are handed out.
func (l *line) hand(d *delivery) {
	d.late = l.ordered && d.seq < l.last
	l.last = max(l.last, d.seq)
	l.out = append(l.out, d)
}

// count is how many messages were here when the server was asked how many it counts.
type count struct{ here, settles int }

// counting begins to ask the server.
func (l *line) counting() count { return count{len(l.flight) + len(l.away), l.settles} }

// counted tells how many messages the server counted as unacknowledged at some time since c. Those that were here before, and were not settled
// since, are among them: if there are no others, nothing lies before what is held back. All messages before floor are acknowledged. It reports whether the
// line is sure now.
func (l *line) counted(c count, unacknowledged int, floor uint64, now time.Time, wait time.Duration) bool {
	whole := unacknowledged <= c.here-(l.settles-c.settles)
	if !l.unsure {
		l.gaps.below(floor)
		if whole {
			l.gaps.only(l.late())
		}
		return true
	}
	over := now.Sub(l.since) >= wait
	if !whole && !over {
		return false
	}
	whole = whole && len(l.away) == 0
	end := uint64(math.MaxUint64)
	if over {
		clear(l.away) // whoever has them now
	}
	for seq := range l.away {
		end = min(end, seq)
	}
	slices.SortFunc(l.held, bySequence)
	n := 0
	for n < len(l.held) && l.held[n].seq < end {
		l.hand(l.held[n])
		n++
	}
	l.held = slices.Delete(l.held, 0, n)
	l.unsure, l.since = len(l.away) > 0, now
	switch {
	case whole:
		l.gaps.only(l.late())
		l.gaps.looked = l.last
	case over:
		l.gaps.below(floor)
		l.gaps.look(max(floor, l.from), l.last, &l.seen)
	}
	return !l.unsure
}

// late are the numbers of what turned up behind newer ones, and is not done.
func (l *line) late() (all []uint64) {
	if len(l.gaps.ranges) == 0 {
		return nil
	}
	for seq, d := range l.flight {
		if d.late {
			all = append(all, seq)
		}
	}
	return all
}

// next hands out at most n messages of so many bytes, at least one where there is one.
func (l *line) next(n, size int, into []*delivery) []*delivery {
	i := 0
	for i < len(l.out) && i < n && (i == 0 || size >= l.out[i].size) {
		d := l.out[i]
		d.handed = true
		size -= d.size
		l.bytes -= d.size
		i++
	}
	into = append(into, l.out[:i]...)
	rest := copy(l.out, l.out[i:])
	clear(l.out[rest:])
	l.out = l.out[:rest]
	return into
}

// settled takes a message out of the line that needs to be acknowledged; nil if there is none.
func (l *line) settled(seq uint64) *delivery {
	d := l.flight[seq]
	if d != nil {
		delete(l.flight, seq)
		l.settles++
		if d.late {
			l.gaps.fill(seq)
		}
	}
	return d
}

func bySequence(a, b *delivery) int { return cmp.Compare(a.seq, b.seq) }

// give empties the line: what was not settled, sorted, so that the server gives it again in this order.
func (l *line) give() []*delivery {
	all := make([]*delivery, 0, len(l.flight))
	for _, d := range l.flight {
		all = append(all, d)
		l.seen.remove(d.seq)
	}
	slices.SortFunc(all, bySequence)
	clear(l.flight)
	clear(l.away)
	l.out, l.held, l.bytes, l.unsure, l.known = nil, nil, 0, false, false
	return all
}
