package jobs

import (
	"bytes"
	"testing"
)

// FuzzRows: whatever is stored is read or refused, and what is read is written and read again as the same.
func FuzzRows(f *testing.F) {
	f.Add((&Job{ID: "a", Number: 7, Priority: -3, Key: "k", Unique: "u", Created: 1, At: 2, Attempts: 3, Epoch: 4, Lease: 5, Worker: "w", Error: "e", Code: "internal", Record: []byte("r"), Result: []byte("1"), state: Leased, turn: 9}).bytes())
	h := head{Counts: Counts{Ready: 1, Stale: 2}, number: 3, epoch: 4, clock: 5, due: 6, rate: 7, paused: true}
	h.turns.set(-1, 8)
	f.Add(h.append(nil))
	l := lane{active: 1, blocked: 2, unfinished: 3, rate: 4, gated: true}
	l.turns.set(5, 6)
	f.Add(l.append(nil))
	f.Fuzz(func(t *testing.T, row []byte) {
		if j, err := parseJob(row); err == nil {
			b := j.bytes()
			if again, err := parseJob(b); err != nil || !bytes.Equal(again.bytes(), b) {
				t.Errorf("a job is %x, and then not: %v", b, err)
			}
		}
		if h, err := parseHead(row); err == nil {
			b := h.append(nil)
			if again, err := parseHead(b); err != nil || !bytes.Equal(again.append([]byte{}), b) {
				t.Errorf("a head is %x, and then not: %v", b, err)
			}
		}
		if l, err := parseLane(row); err == nil {
			b := l.append(nil)
			if again, err := parseLane(b); err != nil || !bytes.Equal(again.append([]byte{}), b) {
				t.Errorf("a lane is %x, and then not: %v", b, err)
			}
		}
	})
}
