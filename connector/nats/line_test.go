package nats

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func deliver(seq, turn, delivered uint64) *delivery {
	return &delivery{place: place{seq: seq, turn: turn, delivered: delivered}, reply: fmt.Sprintf("%d/%d", seq, turn), size: 300}
}

func sequences(ds []*delivery) (out []uint64) {
	for _, d := range ds {
		out = append(out, d.seq)
	}
	return out
}

func handedOut(l *line) []uint64 { return sequences(l.next(1000, 1<<30, nil)) }

func equal(t testing.TB, have, want []uint64) {
	t.Helper()
	if !slices.Equal(have, want) {
		t.Fatalf("%v, want %v", have, want)
	}
}

func TestLineHandsOutWhatComesInOrder(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(0, 0, now)
	for i := uint64(1); i <= 3; i++ {
		if v := l.arrive(deliver(10*i, i, 1), now); v != take {
			t.Fatal(v)
		}
	}
	equal(t, handedOut(&l), []uint64{10, 20, 30})
}

// TestLineWaitsForWhatIsOut: where a process died, its messages come again behind newer ones.
func TestLineWaitsForWhatIsOut(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(4, 2, now) // 4 were delivered, and two of them not acknowledged
	l.arrive(deliver(5, 5, 1), now)
	l.arrive(deliver(6, 6, 1), now)
	equal(t, handedOut(&l), nil)
	if l.counted(l.counting(), 4, 0, now, time.Minute) {
		t.Fatal("4 are out and 2 are here, and the line is sure")
	}
	c := l.counting()
	l.arrive(deliver(3, 7, 2), now)
	l.arrive(deliver(4, 8, 2), now)
	if l.counted(c, 4, 0, now, time.Minute) {
		t.Fatal("what came after the question counts")
	}
	if !l.counted(l.counting(), 4, 0, now, time.Minute) {
		t.Fatal("4 are out and here, and the line is not sure")
	}
	equal(t, handedOut(&l), []uint64{3, 4, 5, 6})
	l.arrive(deliver(7, 9, 1), now)
	equal(t, handedOut(&l), []uint64{7})
}

// TestLineSeesGaps: where a connection broke, messages are lost on their way.
func TestLineSeesGaps(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(0, 0, now)
	l.arrive(deliver(1, 1, 1), now)
	l.arrive(deliver(4, 4, 1), now) // 2 and 3 were sent into nothing
	equal(t, handedOut(&l), []uint64{1})
	l.settled(1)
	if l.counted(l.counting(), 3, 0, now, time.Minute) {
		t.Fatal("2 and 3 are out")
	}
	l.arrive(deliver(2, 5, 2), now)
	l.arrive(deliver(3, 6, 2), now)
	l.counted(l.counting(), 3, 0, now, time.Minute)
	equal(t, handedOut(&l), []uint64{2, 3, 4})
}

// TestLineCountsNobodyTwice: what is settled between the question and the answer may be in the count or not.
func TestLineCountsNobodyTwice(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(0, 0, now)
	l.arrive(deliver(1, 1, 1), now)
	l.arrive(deliver(3, 3, 1), now)
	c := l.counting() // 1 and 3 are here; the server counts 2 and 3, since it had heard of 1 already
	l.settled(1)
	if l.counted(c, 2, 0, now, time.Minute) {
		t.Fatal("2 is out")
	}
}

func TestLineDoesNotWaitForEver(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(1, 1, now)
	l.arrive(deliver(2, 2, 1), now)
	if l.counted(l.counting(), 2, 0, now.Add(time.Minute-1), time.Minute) || !l.counted(l.counting(), 2, 0, now.Add(time.Minute), time.Minute) {
		t.Fatal("the line waits a minute")
	}
	equal(t, handedOut(&l), []uint64{2})
	late := deliver(1, 3, 2)
	if v := l.arrive(late, now); v != take {
		t.Fatal(v)
	}
	l.counted(l.counting(), 2, 0, now, time.Minute)
	equal(t, handedOut(&l), []uint64{1})
	if !late.late {
		t.Error("1 came behind 2, and is not late")
	}
}

func TestLineKnowsWhatComesAgain(t *testing.T) {
	l := line{ordered: true, from: 5}
	now := time.Unix(0, 0)
	l.begin(0, 0, now)
	if v := l.arrive(deliver(4, 1, 1), now); v != settle {
		t.Error("4 was done by an earlier run: ", v)
	}
	l.arrive(deliver(5, 2, 1), now)
	if v := l.arrive(deliver(5, 3, 2), now); v != known {
		t.Error("5 is here: ", v)
	}
	if d := l.settled(5); d == nil || d.reply != "5/3" {
		t.Errorf("the delivery to acknowledge is %+v, and the last is the third", d)
	}
	if v := l.arrive(deliver(5, 4, 3), now); v != settle {
		t.Error("5 is settled: ", v)
	}
	if l.settled(5) != nil {
		t.Error("5 is settled twice")
	}
}

func TestLineGivesBackInOrder(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(0, 0, now)
	for i := uint64(1); i <= 50; i++ {
		l.arrive(deliver(i, i, 1), now)
	}
	l.next(20, 1<<30, nil)
	l.settled(7)
	back := sequences(l.give())
	if len(back) != 49 || !slices.IsSorted(back) || slices.Contains(back, 7) {
		t.Errorf("%v", back)
	}
	if v := l.arrive(deliver(3, 51, 2), now); v != take {
		t.Error("3 was given back and comes again: ", v)
	}
}

// TestLineIsBounded: while something is missing, no more than so many bytes are held back; what is over comes again.
func TestLineIsBounded(t *testing.T) {
	l := line{ordered: true}
	now := time.Unix(0, 0)
	l.begin(1, 1, now) // 1 is out
	large := func(seq, turn, delivered uint64) *delivery {
		d := deliver(seq, turn, delivered)
		d.size = heldBytes/4 + 1
		return d
	}
	turn, out := uint64(1), map[uint64]bool{1: true} // what the server counts
	var away []uint64
	arrive := func(seq, delivered uint64) {
		turn++
		l.arrive(large(seq, turn, delivered), now)
		away = append(away, sequences(l.sentBack())...)
		if l.bytes > heldBytes {
			t.Fatalf("%d bytes are held", l.bytes)
		}
	}
	for seq := uint64(2); seq <= 10; seq++ {
		out[seq] = true
		arrive(seq, 1)
	}
	if len(away) != 6 {
		t.Fatalf("%v were sent back", away)
	}
	if l.counted(l.counting(), len(out), 0, now, time.Minute) || len(handedOut(&l)) > 0 {
		t.Fatal("1 is out")
	}
	arrive(1, 2)
	var got []uint64
	for round := 0; len(got) < 10 && round < 20; round++ {
		l.counted(l.counting(), len(out), 0, now, time.Minute)
		for _, seq := range handedOut(&l) {
			got = append(got, seq)
			l.settled(seq)
			delete(out, seq)
		}
		again := away
		away = nil
		for _, seq := range again {
			arrive(seq, 2)
		}
	}
	equal(t, got, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
}

// TestLineAgainstAServer has a model of a consumer lose messages on their way, give them again out of turn, and lose acknowledgements: everything is
// handed out, once, and in order.
func TestLineAgainstAServer(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := &model{rnd: rnd, out: map[uint64]bool{}, total: uint64(20 + rnd.IntN(200))}
		l := &line{ordered: true}
		now := time.Unix(0, 0)
		l.begin(0, 0, now)
		var got, flight []uint64
		for step := 0; len(got) < int(m.total) && step < 100_000; step++ {
			switch rnd.IntN(6) {
			case 0, 1:
				if d := m.deliver(); d != nil && rnd.IntN(8) > 0 {
					if l.arrive(d, now) == settle {
						delete(m.out, d.seq)
					}
				}
			case 2:
				m.expire()
			case 3:
				for _, d := range l.next(1+rnd.IntN(5), 1<<30, nil) {
					if d.late {
						t.Fatalf("seed %d: %d is late", seed, d.seq)
					}
					got, flight = append(got, d.seq), append(flight, d.seq)
				}
			case 4:
				if len(flight) > 0 {
					i := rnd.IntN(len(flight))
					seq := flight[i]
					flight = slices.Delete(flight, i, i+1)
					l.settled(seq)
					if rnd.IntN(8) > 0 {
						delete(m.out, seq)
					}
				}
			case 5:
				l.counted(l.counting(), len(m.out), 0, now, time.Hour)
			}
		}
		for i, seq := range got {
			if seq != uint64(i+1) {
				t.Fatalf("seed %d: %v", seed, got)
			}
		}
		if len(got) != int(m.total) {
			t.Fatalf("seed %d: %d of %d", seed, len(got), m.total)
		}
	}
}

// model is a consumer as the server has it.
type model struct {
	rnd               *rand.Rand
	total, next, turn uint64
	out               map[uint64]bool // delivered and not acknowledged
	again             []uint64        // to be given again
	delivered         map[uint64]uint64
	_                 struct{}
}

func (m *model) deliver() *delivery {
	var seq uint64
	for len(m.again) > 0 && seq == 0 {
		if m.out[m.again[0]] {
			seq = m.again[0]
		}
		m.again = m.again[1:]
	}
	if seq == 0 {
		if m.next == m.total {
			return nil
		}
		m.next++
		seq = m.next
		m.out[seq] = true
	}
	if m.delivered == nil {
		m.delivered = map[uint64]uint64{}
	}
	m.turn++
	m.delivered[seq]++
	return deliver(seq, m.turn, m.delivered[seq])
}

// expire has ackWait pass for some.
func (m *model) expire() {
	var all []uint64
	for seq := range m.out {
		if m.rnd.IntN(3) == 0 && !slices.Contains(m.again, seq) {
			all = append(all, seq)
		}
	}
	slices.Sort(all)
	m.again = append(m.again, all...)
}

func TestSeen(t *testing.T) {
	var s seen
	if s.has(0) || s.has(7) {
		t.Error("nothing was seen")
	}
	for _, n := range []uint64{1, 63, 64, pageBits - 1, pageBits, 5 * pageBits} {
		s.add(n)
		if !s.has(n) || s.has(n+1) {
			t.Errorf("%d", n)
		}
	}
	s.remove(63)
	if s.has(63) || !s.has(64) {
		t.Error("63 was forgotten, and that alone")
	}
	s.add(500 * pageBits)
	if len(s.pages) > keptPages || s.has(1) || !s.has(500*pageBits) {
		t.Errorf("%d pages are kept", len(s.pages))
	}
	s.add(2) // too old to be kept
	if s.has(2) || len(s.pages) > keptPages {
		t.Error("what is too old is kept")
	}
}

func FuzzPlaceOf(f *testing.F) {
	for _, s := range []string{"$JS.ACK.ORDERS.flow.1.17.17.1700000000000000000.3", "$JS.ACK.hub.ACC.ORDERS.flow.2.17.18.1700000000000000000.0.token", "$JS.ACK.hub.ACC.ORDERS.flow.2.17.18.1700000000000000000.0",
		"$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK.", "", "_INBOX.x", "$JS.ACK.ORDERS.flow.0.1.1.1.1", "$JS.ACK.ORDERS.flow.1.99999999999999999999.1.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := placeOf(s)
		if err == nil && (p.seq == 0 || p.delivered == 0 || int64(p.seq)+1 <= 0) {
			t.Errorf("%q: %+v", s, p)
		}
	})
}

func TestPlaceOf(t *testing.T) {
	want := place{delivered: 2, seq: 17, turn: 18, at: time.Unix(0, 1700000000000000001).UTC(), pending: 3}
	for _, s := range []string{"$JS.ACK.ORDERS.flow.2.17.18.1700000000000000001.3", "$JS.ACK.hub.ACC.ORDERS.flow.2.17.18.1700000000000000001.3", "$JS.ACK._.ACC.ORDERS.flow.2.17.18.1700000000000000001.3.x1"} {
		if p, err := placeOf(s); err != nil || p != want {
			t.Errorf("%s: %+v, %v", s, p, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = placeOf("$JS.ACK.ORDERS.flow.2.17.18.1700000000000000001.3") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
