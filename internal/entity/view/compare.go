package view

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Compared is what two generations of a view have in common.
type Compared struct {
	Position    []int64      `json:"position"` // of the source, at which both were
	Level       bool         `json:"level"`    // both were made of the same events; else the one that is read was made by another definition, and stays as it is
	Rows        int64        `json:"rows"`     // of the one that is read
	New         int64        `json:"new"`      // rows of the one that was built
	Differ      int64        `json:"differ"`   // keys whose rows are not the same
	Checksum    string       `json:"checksum"` // over the keys and rows of the one that is read
	Built       string       `json:"built"`    // … of the one that was built
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is a key whose rows are not the same.
type Difference struct {
	Key string `json:"key"`
	Row string `json:"row,omitempty"` // JSON; "" there is none
	New string `json:"new,omitempty"`
}

// comparePage is how many rows are looked at at a time.
const comparePage = 1000

// cursor goes through the rows of a generation.
type cursor struct {
	rows backend
	page []Row
	last string
	end  bool
}

// peek is the next row; nil where there is none.
func (c *cursor) peek(ctx context.Context) (*Row, error) {
	if len(c.page) == 0 && !c.end {
		page, err := c.rows.Scan(ctx, c.last, comparePage)
		if err != nil {
			return nil, err
		}
		c.page, c.end = page, len(page) < comparePage
		if len(page) > 0 {
			c.last = page[len(page)-1].Key
		}
	}
	if len(c.page) == 0 {
		return nil, nil
	}
	return &c.page[0], nil
}

// checksum is a sum over rows that does not depend on how they are paged.
type checksum struct{ state [32]byte }

func (c *checksum) add(r Row) {
	h := sha256.New()
	h.Write(c.state[:])
	var n [16]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(r.Key)))
	binary.LittleEndian.PutUint64(n[8:], uint64(len(r.Text)))
	h.Write(n[:])
	h.Write([]byte(r.Key))
	if !mutation.On("view-checksum-keys-only") {
		h.Write(r.Text)
	}
	h.Sum(c.state[:0])
}

func (c *checksum) String() string { return hex.EncodeToString(c.state[:16]) }

// tally is what a comparison has come to.
type tally struct {
	out  Compared
	a, b checksum
	list int
}

func (t *tally) differ(d Difference) {
	if t.out.Differ++; len(t.out.Differences) < t.list {
		t.out.Differences = append(t.out.Differences, d)
	}
}

// pair takes the next row of one generation, or of both where their keys are the same; nil is none. It says which of them it has taken.
func (t *tally) pair(ra, rb *Row) (tookA, tookB bool) {
	tookA = ra != nil && (rb == nil || ra.Key <= rb.Key)
	tookB = rb != nil && (ra == nil || rb.Key <= ra.Key)
	switch {
	case tookA && tookB && !sameRows(*ra, *rb):
		t.differ(Difference{ra.Key, string(ra.Text), string(rb.Text)})
	case tookA && !tookB:
		t.differ(Difference{ra.Key, string(ra.Text), ""})
	case tookB && !tookA:
		t.differ(Difference{rb.Key, "", string(rb.Text)})
	}
	if tookA {
		t.a.add(*ra)
		t.out.Rows++
	}
	if tookB {
		t.b.add(*rb)
		t.out.New++
	}
	return tookA, tookB
}

func (t *tally) end() *Compared {
	t.out.Checksum, t.out.Built = t.a.String(), t.b.String()
	return &t.out
}

// compare goes through two generations, whose rows must not change meanwhile, and gives up to list rows that differ.
func compare(ctx context.Context, read, built backend, list int) (*Compared, error) {
	a, b := &cursor{rows: read}, &cursor{rows: built}
	t := &tally{list: list}
	for {
		ra, err := a.peek(ctx)
		if err != nil {
			return nil, err
		}
		rb, err := b.peek(ctx)
		if err != nil {
			return nil, err
		}
		if ra == nil && rb == nil {
			return t.end(), nil
		}
		tookA, tookB := t.pair(ra, rb)
		if tookA {
			a.page = a.page[1:]
		}
		if tookB {
			b.page = b.page[1:]
		}
	}
}

// compareInline is compare for generations that both change with their events: each page of both is read at once.
func compareInline(ctx context.Context, st store.Store, read, built *stored, list int) (*Compared, error) {
	t := &tally{list: list}
	for last, more := "", true; more; {
		var pages [2][]Row
		err := look(ctx, st, func(v store.View) (err error) {
			var after []byte
			if last != "" {
				after = []byte(last)
			}
			if pages[0], err = read.scan(v, after, comparePage); err == nil {
				pages[1], err = built.scan(v, after, comparePage)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		end := "" // what lies behind it is not known of one of them
		more = false
		for _, p := range pages {
			if len(p) == comparePage && (!more || p[len(p)-1].Key < end) {
				more, end = true, p[len(p)-1].Key
			}
		}
		first := func(p []Row) *Row {
			if len(p) == 0 || more && p[0].Key > end {
				return nil
			}
			return &p[0]
		}
		for {
			ra, rb := first(pages[0]), first(pages[1])
			if ra == nil && rb == nil {
				break
			}
			tookA, tookB := t.pair(ra, rb)
			if tookA {
				pages[0] = pages[0][1:]
			}
			if tookB {
				pages[1] = pages[1][1:]
			}
		}
		last = end
	}
	return t.end(), nil
}
