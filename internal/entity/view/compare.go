package view

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"penstock.dev/penstock/internal/mutation"
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
	sum  checksum
	n    int64
}

// peek is the next row; false where there is none.
func (c *cursor) peek(ctx context.Context) (Row, bool, error) {
	if len(c.page) == 0 && !c.end {
		page, err := c.rows.Scan(ctx, c.last, comparePage)
		if err != nil {
			return Row{}, false, err
		}
		c.page, c.end = page, len(page) < comparePage
		if len(page) > 0 {
			c.last = page[len(page)-1].Key
		}
	}
	if len(c.page) == 0 {
		return Row{}, false, nil
	}
	return c.page[0], true, nil
}

func (c *cursor) pop() {
	c.sum.add(c.page[0])
	c.n++
	c.page = c.page[1:]
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

// compare goes through two generations, whose rows must not change meanwhile, and gives up to list rows that differ.
func compare(ctx context.Context, read, built backend, list int) (*Compared, error) {
	a, b := &cursor{rows: read}, &cursor{rows: built}
	out := &Compared{}
	differ := func(d Difference) {
		if out.Differ++; len(out.Differences) < list {
			out.Differences = append(out.Differences, d)
		}
	}
	for {
		ra, hasA, err := a.peek(ctx)
		if err != nil {
			return nil, err
		}
		rb, hasB, err := b.peek(ctx)
		if err != nil {
			return nil, err
		}
		switch {
		case !hasA && !hasB:
			out.Rows, out.New, out.Checksum, out.Built = a.n, b.n, a.sum.String(), b.sum.String()
			return out, nil
		case !hasB || hasA && ra.Key < rb.Key:
			differ(Difference{ra.Key, string(ra.Text), ""})
			a.pop()
		case !hasA || rb.Key < ra.Key:
			differ(Difference{rb.Key, "", string(rb.Text)})
			b.pop()
		default:
			if !sameRows(ra, rb) {
				differ(Difference{ra.Key, string(ra.Text), string(rb.Text)})
			}
			a.pop()
			b.pop()
		}
	}
}
