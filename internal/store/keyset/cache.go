package keyset

// pageID names a page of a run.
type pageID struct {
	run  uint64
	page int
}

// unseen is a page that was written by a transaction that perhaps is not durable yet.
type unseen struct {
	data     []byte
	sequence uint64
}

// cache keeps pages that were read, and forgets one that was not used lately (the clock algorithm).
type cache struct {
	most  int
	index map[pageID]int
	slots []slot
	hand  int
}

type slot struct {
	id   pageID
	data []byte
	used bool
}

func (c *cache) init(most int) { c.most, c.index = most, map[pageID]int{} }

func (c *cache) size() int { return len(c.slots) }

func (c *cache) get(id pageID) []byte {
	i, ok := c.index[id]
	if !ok {
		return nil
	}
	c.slots[i].used = true
	return c.slots[i].data
}

func (c *cache) put(id pageID, data []byte) {
	if len(c.slots) < c.most {
		c.index[id] = len(c.slots)
		c.slots = append(c.slots, slot{id: id, data: data})
		return
	}
	for c.slots[c.hand].used {
		c.slots[c.hand].used = false
		c.hand = (c.hand + 1) % len(c.slots)
	}
	delete(c.index, c.slots[c.hand].id)
	c.slots[c.hand] = slot{id: id, data: data}
	c.index[id] = c.hand
	c.hand = (c.hand + 1) % len(c.slots)
}
