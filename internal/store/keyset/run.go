package keyset

import (
	"encoding/binary"
	"math/bits"
)

// entry is a key in the set.
type entry struct {
	hash Hash
	at   int64 // milliseconds
}

func (h Hash) compare(o Hash) int {
	switch {
	case h.hi < o.hi, h.hi == o.hi && h.lo < o.lo:
		return -1
	case h == o:
		return 0
	}
	return 1
}

// run is a sorted run in the store, and what is in memory of it.
type run struct {
	id      uint64
	entries int64
	pages   int
	base    int64 // milliseconds: what the times of its entries are counted from
	width   int   // bytes of such a time, 0 to 6
	newest  int64 // milliseconds
	filter  filter
	fences  []uint64 // by page: the first half of its first hash
}

const hashSize = 16

func (r *run) size() int     { return hashSize + r.width }
func (r *run) memory() int64 { return int64(cap(r.filter)+cap(r.fences)) * 8 }

// span sets base and width for times from oldest to newest.
func (r *run) span(oldest, newest int64) {
	r.base, r.newest = oldest, newest
	r.width = (bits.Len64(uint64(newest-oldest)) + 7) / 8
}

// append adds an entry to a page.
func (r *run) append(page []byte, e entry) []byte {
	page = binary.BigEndian.AppendUint64(page, e.hash.hi)
	page = binary.BigEndian.AppendUint64(page, e.hash.lo)
	d := uint64(e.at - r.base)
	for i := r.width - 1; i >= 0; i-- {
		page = append(page, byte(d>>(8*i)))
	}
	return page
}

// at reads the i-th entry of a page.
func (r *run) at(page []byte, i int) entry {
	p := page[i*r.size():]
	e := entry{hash: Hash{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}}
	var d uint64
	for _, b := range p[hashSize:r.size()] {
		d = d<<8 | uint64(b)
	}
	e.at = r.base + int64(d)
	return e
}

// page finds the page that would hold a hash; -1: none.
func (r *run) page(h Hash) int {
	lo, hi := 0, len(r.fences) // the fences before lo are not above h, those from hi on are
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if r.fences[m] <= h.hi {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// find looks for a hash in a page.
func (r *run) find(page []byte, h Hash) (int64, bool) {
	size := r.size()
	lo, hi := 0, len(page)/size
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		p := page[m*size:]
		switch h.compare(Hash{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}) {
		case 0:
			return r.at(page, m).at, true
		case 1:
			lo = m + 1
		default:
			hi = m
		}
	}
	return never, false
}

// filter is a blocked Bloom filter (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007): a key has all its
// bits in one cache line. The block is chosen by the hash's high bits, so a sorted run fills it from the front to the back
// and it can be stored piece by piece. With 12 bits a key about 0.7 % of the keys that are not there pass.
type filter []uint64

const (
	blockWords = 8
	blockBits  = blockWords * 64
	probes     = 7 // of 9 bits each, from the second half of the hash
	bitsPerKey = 12
)

// filterWords is the size of a filter for so many keys.
func filterWords(n int64) int {
	return int((n*bitsPerKey+blockBits-1)/blockBits) * blockWords
}

// block is the index of the first word of a hash's block.
func (f filter) block(h Hash) int {
	b, _ := bits.Mul64(h.hi, uint64(len(f)/blockWords))
	return int(b) * blockWords
}

func (f filter) add(h Hash) {
	w := f[f.block(h):]
	for i, x := 0, h.lo; i < probes; i, x = i+1, x>>9 {
		w[x>>6&7] |= 1 << (x & 63)
	}
}

func (f filter) has(h Hash) bool {
	if len(f) == 0 {
		return false
	}
	w := f[f.block(h):]
	for i, x := 0, h.lo; i < probes; i, x = i+1, x>>9 {
		if w[x>>6&7]&(1<<(x&63)) == 0 {
			return false
		}
	}
	return true
}
