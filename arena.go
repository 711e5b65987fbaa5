package penstock

import "penstock.dev/penstock/jsonview"

// arenaChunk is the size of a chunk of an arena in bytes: a batch of a hundred
// 300-byte messages with their mapped bodies fits one.
const arenaChunk = 64 << 10

// Arena hands out memory that lives as long as a batch: a bump allocator without
// free. The zero Arena is ready. It is not safe for concurrent use.
type Arena struct {
	chunks [][]byte // chunks[cur] is in use, those before it are full
	cur    int
	used   int // of chunks[cur]
	total  int // bytes handed out since the last Reset
}

// Alloc returns n bytes, not zeroed, with capacity n.
func (a *Arena) Alloc(n int) []byte {
	for a.cur < len(a.chunks) {
		c := a.chunks[a.cur]
		if len(c)-a.used >= n {
			b := c[a.used : a.used+n : a.used+n]
			a.used += n
			a.total += n
			return b
		}
		a.cur, a.used = a.cur+1, 0
	}
	size := arenaChunk
	if n > size {
		size = n
	}
	a.chunks = append(a.chunks, make([]byte, size))
	a.cur, a.used = len(a.chunks)-1, n
	a.total += n
	return a.chunks[a.cur][:n:n]
}

// Tail returns an empty slice over the free rest of the current chunk, at least n
// bytes of capacity, for append-style writing; Keep then claims what was written. Nothing
// may be allocated in between: no expression may run.
func (a *Arena) Tail(n int) []byte {
	for a.cur < len(a.chunks) {
		if c := a.chunks[a.cur]; len(c)-a.used >= n {
			return c[a.used:a.used:len(c)]
		}
		a.cur, a.used = a.cur+1, 0
	}
	a.chunks = append(a.chunks, make([]byte, max(arenaChunk, n)))
	a.cur, a.used = len(a.chunks)-1, 0
	return a.chunks[a.cur][:0]
}

// Keep claims b, which was written into the slice that Tail gave or, when that was too
// small, moved by append to memory of its own. It returns b with its capacity cut, so
// that nobody can append into the arena through it.
func (a *Arena) Keep(b []byte) []byte {
	if a.cur < len(a.chunks) && len(b) > 0 && cap(b) > 0 {
		c := a.chunks[a.cur]
		if a.used < len(c) && &b[0] == &c[a.used] {
			a.used += len(b)
		}
	}
	a.total += len(b)
	return b[:len(b):len(b)]
}

// Copy returns a copy of b that lives in the arena.
func (a *Arena) Copy(b []byte) []byte {
	dst := a.Alloc(len(b))
	copy(dst, b)
	return dst
}

// Bytes is how much was handed out since the last Reset.
func (a *Arena) Bytes() int { return a.total }

// arenaKeep is how many chunks an arena keeps over a Reset, so that one batch of huge
// messages doesn't hold its memory for good.
const arenaKeep = 16

// Reset takes all memory back. Whoever still reads it reads garbage; a build with the
// tag penstock_debug overwrites it, to find them.
func (a *Arena) Reset() {
	kept := a.chunks[:0]
	for _, c := range a.chunks {
		jsonview.Poison(c)
		if len(c) == arenaChunk && len(kept) < arenaKeep {
			kept = append(kept, c)
		}
	}
	clear(a.chunks[len(kept):])
	a.chunks, a.cur, a.used, a.total = kept, 0, 0, 0
}
