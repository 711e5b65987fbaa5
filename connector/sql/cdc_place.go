package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// lsn is a place in the server's log (WAL), in bytes.
type lsn uint64

// String writes it as PostgreSQL does.
func (l lsn) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) } //nolint:gosec // its halves

// parseLSN reads what String wrote.
func parseLSN(text string) (lsn, error) {
	high, low, ok := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is no place in the log", text)
	}
	return lsn(h<<32 | l), nil
}

// place is where a change stands, for all time: where its transaction's commit stands in the log, and the change's number in the transaction. The commits
// of a log come in their order.
type place struct {
	commit lsn
	index  int64
}

// A place is an offset of a stream: the log is cut into regions of 1 TiB, each of which is a stream. A commit takes more than 32 bytes of the log (a
// record's head alone has 24, and they are aligned), so that the number of such units tells commits apart; the rest of the 63 bits counts changes.
const (
	regionBits = 40
	unitBits   = 5
	indexBits  = 63 - (regionBits - unitBits)
	maxIndex   = 1<<indexBits - 1
)

func (l lsn) region() uint64 { return uint64(l) >> regionBits }

func (p place) offset() int64 {
	return int64(uint64(p.commit)&(1<<regionBits-1)>>unitBits<<indexBits) | p.index //nolint:gosec // 63 bits
}

// placeOf is the place of an offset, with the commit rounded down to its unit: no other commit is there.
func placeOf(region uint64, offset int64) place {
	return place{commit: lsn(region<<regionBits | uint64(offset)>>indexBits<<unitBits), index: offset & maxIndex} //nolint:gosec // it is not negative
}

// covers says that q stands at p or before it.
func (p place) covers(q place) bool {
	a, b := p.commit>>unitBits, q.commit>>unitBits
	return b < a || a == b && q.index <= p.index
}

// streamOf is the name of a region's stream.
func streamOf(slot string, region uint64) string {
	return slot + "/" + strconv.FormatUint(region, 16)
}

// regionOf reads what streamOf wrote.
func regionOf(slot, stream string) (uint64, bool) {
	text, ok := strings.CutPrefix(stream, slot+"/")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 64)
	return n, err == nil && n < 1<<(64-regionBits)
}

// snapshotStream begins the name of a snapshot's stream.
func snapshotStream(slot string) string { return slot + " snapshot " }
