package nats

// seen remembers which sequence numbers came, of the last millions: a bit each, in pages that are made when they are needed. What is forgotten counts
// as new: better twice than never.
type seen struct {
	pages map[uint64]*[pageBits / 64]uint64
	high  uint64 // the highest page
}

const (
	pageBits  = 1 << 16
	keptPages = 128 // 8 million numbers in at most 1 MiB
)

// add notes a number.
func (s *seen) add(n uint64) {
	p := n / pageBits
	page := s.pages[p]
	if page == nil {
		if s.pages == nil {
			s.pages = map[uint64]*[pageBits / 64]uint64{}
		}
		if p > s.high {
			s.high = p
			for old := range s.pages {
				if old+keptPages <= p {
					delete(s.pages, old)
				}
			}
		} else if p+keptPages <= s.high {
			return
		}
		page = new([pageBits / 64]uint64)
		s.pages[p] = page
	}
	page[n%pageBits/64] |= 1 << (n % 64)
}

// has says that a number was noted, and is not forgotten.
func (s *seen) has(n uint64) bool {
	page := s.pages[n/pageBits]
	return page != nil && page[n%pageBits/64]&(1<<(n%64)) != 0
}

// remove forgets a number.
func (s *seen) remove(n uint64) {
	if page := s.pages[n/pageBits]; page != nil {
		page[n%pageBits/64] &^= 1 << (n % 64)
	}
}
