package rabbitmq

import "slices"

// acks knows which deliveries of a channel wait to be settled, so that many can be acknowledged at once. Delivery tags count from 1 up.
type acks struct {
	low  uint64          // all before it are settled and told
	done map[uint64]bool // settled behind it, and told: one by one
	tags []uint64        // scratch
}

func newAcks() *acks { return &acks{low: 1, done: map[uint64]bool{}} }

// settle takes tags that are settled now, and says what to tell the server: that all up to upTo are (0: none), and each of single alone. single is
// valid until the next call.
func (a *acks) settle(tags []uint64) (upTo uint64, single []uint64) {
	slices.Sort(tags)
	a.tags = a.tags[:0]
	for _, tag := range tags {
		a.forget()
		switch {
		case tag == a.low:
			upTo = tag
			a.low++
		case tag > a.low && !a.done[tag]:
			a.done[tag] = true
			a.tags = append(a.tags, tag)
		}
	}
	return upTo, a.tags
}

// told notes that the server was told of a tag otherwise.
func (a *acks) told(tag uint64) {
	if tag >= a.low {
		a.done[tag] = true
	}
	a.forget()
}

// forget steps over what was told one by one.
func (a *acks) forget() {
	for a.done[a.low] {
		delete(a.done, a.low)
		a.low++
	}
}
