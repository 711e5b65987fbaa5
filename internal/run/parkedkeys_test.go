package run

import (
	"testing"
	"time"
)

// reading makes tracks of an intake of n messages of one key.
func (p *parked) reading(seq uint64, n int, redriven bool) []*track {
	in := &intake{seq: seq, numbers: p.reserve(n, time.Unix(1, 0))}
	out := make([]*track, n)
	for i := range out {
		out[i] = &track{in: in, idx: i, lasting: &lasting{parkKey: parkKey(entryFrom, "k"), redriven: redriven}}
	}
	return out
}

func TestAKeyIsHeldUntilAllThatWereGivenInAgainAreThrough(t *testing.T) {
	p := newParked()
	ts := p.reading(0, 2, false)
	p.die(ts[0], place(0))
	p.die(ts[1], place(1))
	later := p.reading(1, 1, false)[0]
	again := p.reading(2, 2, true)
	for i, a := range again {
		p.again(a, deadAt{entry: entryFrom, held: "k", number: ts[i].number})
		if p.holds(a, place(i)) {
			t.Errorf("%d is held, and is the first", i)
		}
	}
	for i, a := range again {
		if !p.holds(later, place(0)) {
			t.Errorf("free while %d is on its way", i)
		}
		p.leave(a.parkKey)
	}
	if p.holds(later, place(0)) || p.any() {
		t.Error("still held")
	}
}

func TestDeadLettersAreNumberedAsTheyWereRead(t *testing.T) {
	p := newParked()
	first, second := p.reading(0, 3, false), p.reading(1, 2, false)
	p.die(second[0], place(0)) // another lane has come further
	if p.holds(first[1], place(1)) {
		t.Error("held behind a message that was read later")
	}
	p.die(first[0], place(0))
	if !p.holds(first[1], place(1)) || !p.holds(second[1], place(1)) {
		t.Error("not held behind a message that was read earlier")
	}
	if first[0].number >= second[0].number {
		t.Errorf("numbers %d and %d", first[0].number, second[0].number)
	}
}

// TestWhatIsGivenInAgainInAnotherOrderWaits reads dead letters of a key, as redrive has appended them, in an order that is not theirs.
func TestWhatIsGivenInAgainInAnotherOrderWaits(t *testing.T) {
	p := newParked()
	ts := p.reading(0, 3, false)
	for i, d := range ts {
		p.die(d, place(i))
	}
	again := p.reading(1, 3, true)
	for i, which := range []int{2, 0, 1} {
		p.again(again[i], deadAt{entry: entryFrom, held: "k", number: ts[which].number})
	}
	for i, want := range []bool{true, false, false} {
		if got := p.holds(again[i], place(i)); got != want {
			t.Errorf("%d is held: %v", i, got)
		}
	}
	p.die(again[0], place(0))
	p.leave(again[1].parkKey)
	p.leave(again[2].parkKey)
	if !p.any() {
		t.Error("free while one of the dead letters is there")
	}
}

func TestPartsOfAMessageThatDieHoldTheirKeyEach(t *testing.T) {
	p := newParked()
	d := p.reading(0, 1, false)[0]
	p.die(d, place(0))
	p.die(d, place(0))
	a := p.reading(1, 1, true)[0]
	p.again(a, deadAt{entry: entryFrom, held: "k", number: d.number})
	p.leave(a.parkKey)
	if !p.holds(p.reading(2, 1, false)[0], place(0)) {
		t.Error("free while the dead letter of the other part is there")
	}
	p.drop(a.parkKey, d.number)
	if p.any() {
		t.Error("still held")
	}
}
