package memory

import "hash/maphash"

// tree is a sorted map that never changes: put and delete return another one that shares most of its nodes. So a
// snapshot costs nothing, and to undo is to keep the one from before. It is a treap: its shape follows
// from a hash of the keys (Seidel & Aragon, "Randomized Search Trees", 1996).
type tree[V any] struct{ root *node[V] }

type node[V any] struct {
	key         string
	prio        uint64
	value       V
	left, right *node[V]
}

var seed = maphash.MakeSeed()

func (t tree[V]) get(key string) (v V, ok bool) {
	for n := t.root; n != nil; {
		switch {
		case key == n.key:
			return n.value, true
		case key < n.key:
			n = n.left
		default:
			n = n.right
		}
	}
	return v, false
}

func (t tree[V]) put(key string, v V) tree[V] {
	return tree[V]{insert(t.root, &node[V]{key: key, prio: maphash.String(seed, key), value: v})}
}

func (t tree[V]) delete(key string) tree[V] { return tree[V]{remove(t.root, key)} }

// ascend calls f with the entries from the first key that is not less than from, until f returns false.
func (t tree[V]) ascend(from string, f func(key string, v V) bool) { ascend(t.root, from, f) }

func ascend[V any](n *node[V], from string, f func(string, V) bool) bool {
	if n == nil {
		return true
	}
	if n.key >= from {
		if !ascend(n.left, from, f) || !f(n.key, n.value) {
			return false
		}
	}
	return ascend(n.right, from, f)
}

func insert[V any](n, add *node[V]) *node[V] {
	if n == nil {
		return add
	}
	c := *n
	switch {
	case add.key == n.key:
		c.value = add.value
		return &c
	case add.key < n.key:
		l := insert(n.left, add)
		if l.prio <= c.prio {
			c.left = l
			return &c
		}
		// l is new: nobody else knows it
		c.left = l.right
		l.right = &c
		return l
	default:
		r := insert(n.right, add)
		if r.prio <= c.prio {
			c.right = r
			return &c
		}
		c.right = r.left
		r.left = &c
		return r
	}
}

func remove[V any](n *node[V], key string) *node[V] {
	if n == nil {
		return nil
	}
	if key == n.key {
		return merge(n.left, n.right)
	}
	c := *n
	if key < n.key {
		c.left = remove(n.left, key)
	} else {
		c.right = remove(n.right, key)
	}
	return &c
}

// merge joins two trees; all keys of l come before those of r.
func merge[V any](l, r *node[V]) *node[V] {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.prio >= r.prio:
		c := *l
		c.right = merge(l.right, r)
		return &c
	default:
		c := *r
		c.left = merge(l, r.left)
		return &c
	}
}
