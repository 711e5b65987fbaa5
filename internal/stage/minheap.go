package stage

// ranked is what a minHeap holds: it has an order, and may remember where it stands.
type ranked[T any] interface {
	before(T) bool
	placed(at int)
}

// minHeap is a binary heap: the first comes before all others.
type minHeap[T ranked[T]] []T

func (h *minHeap[T]) push(x T) {
	*h = append(*h, x)
	h.up(len(*h) - 1)
}

// remove takes out what stands at i.
func (h *minHeap[T]) remove(i int) T {
	a := *h
	x, last := a[i], len(a)-1
	a[i] = a[last]
	var none T
	a[last] = none
	*h = a[:last]
	if i < last {
		h.fix(i)
	}
	x.placed(-1)
	return x
}

// fix restores the order after what stands at i has changed.
func (h *minHeap[T]) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *minHeap[T]) up(i int) {
	a := *h
	x := a[i]
	for i > 0 {
		over := (i - 1) / 2
		if !x.before(a[over]) {
			break
		}
		a[i] = a[over]
		a[i].placed(i)
		i = over
	}
	a[i] = x
	x.placed(i)
}

func (h *minHeap[T]) down(i int) bool {
	a := *h
	x, from := a[i], i
	for {
		c := 2*i + 1
		if c >= len(a) {
			break
		}
		if c+1 < len(a) && a[c+1].before(a[c]) {
			c++
		}
		if !a[c].before(x) {
			break
		}
		a[i] = a[c]
		a[i].placed(i)
		i = c
	}
	a[i] = x
	x.placed(i)
	return i > from
}
