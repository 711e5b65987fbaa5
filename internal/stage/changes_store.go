package stage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock/internal/store"
)

// changesHead is what a changes step keeps beside the bodies, in one entry.
type changesHead struct {
	sequence uint64 // of the transactions
	current  extract
	open     bool // the current extract goes on
	earlier  []extract
	ended    string // name of the last extract that has ended
	sweeping bool   // it has still to be told what is gone
	cursor   []byte // … behind this entry
	high     time.Time
}

// headKey is its key. The others are those of [textKey]: of each message's key the number of the extract that had it last, and its body.
var headKey = []byte("h")

const changesVersion = 1

func (h *changesHead) encode(dst []byte) []byte {
	text := func(s string) {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	flag := func(b bool) {
		if b {
			dst = append(dst, 1)
		} else {
			dst = append(dst, 0)
		}
	}
	dst = append(dst, changesVersion)
	dst = binary.AppendUvarint(dst, h.sequence)
	dst = binary.AppendUvarint(dst, h.current.number)
	text(h.current.of)
	flag(h.open)
	text(h.ended)
	flag(h.sweeping)
	text(string(h.cursor))
	flag(!h.high.IsZero())
	dst = binary.AppendVarint(dst, h.high.Unix())
	dst = binary.AppendUvarint(dst, uint64(h.high.Nanosecond()))
	for _, e := range h.earlier {
		dst = binary.AppendUvarint(dst, e.number)
		text(e.of)
	}
	return dst
}

func readChangesHead(src []byte) (h changesHead, err error) {
	if len(src) == 0 || src[0] != changesVersion {
		return h, errDamaged
	}
	src = src[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(src)
		if n <= 0 {
			err, src = errDamaged, nil
			return 0
		}
		src = src[n:]
		return v
	}
	text := func() string {
		b, rest, e := cutBytes(src)
		if e != nil {
			err = e
		}
		src = rest
		return string(b)
	}
	flag := func() bool { return number() == 1 }
	h.sequence = number()
	h.current.number = number()
	h.current.of = text()
	h.open = flag()
	h.ended = text()
	h.sweeping = flag()
	if s := text(); s != "" {
		h.cursor = []byte(s)
	}
	dated := flag()
	seconds := number()
	nanos := number()
	if dated && nanos < 1e9 {
		// A varint that was read as an unsigned one is zigzag.
		h.high = time.Unix(int64(seconds>>1)^-int64(seconds&1), int64(nanos)).UTC()
	}
	for err == nil && len(src) > 0 {
		h.earlier = append(h.earlier, extract{number: number(), of: text()})
	}
	return h, err
}

// changesRow is what is known of a key.
type changesRow struct {
	number uint64 // of the extract that had it last
	key    []byte
	body   []byte
}

func readChangesRow(key, value []byte) (r changesRow, err error) {
	number, n := binary.Uvarint(value)
	if n <= 0 || len(key) == 0 {
		return r, errDamaged
	}
	r.number, r.body = number, value[n:]
	if key[0] < 'a' {
		r.key, r.body, err = cutBytes(r.body)
		return r, err
	}
	r.key = key[1:]
	return r, nil
}

// Load reads where the last run stopped.
func (c *Changes) Load(ctx context.Context, s store.Store) error {
	c.st = s
	return c.view(ctx, func(st store.State) error {
		e, ok, err := st.Get(c.space, headKey)
		if err != nil || !ok {
			return err
		}
		if c.changesHead, err = readChangesHead(e.Value); err != nil {
			return damaged(c.space, e.Key, err)
		}
		return nil
	})
}

func (c *Changes) view(ctx context.Context, f func(store.State) error) error {
	err := c.st.View(ctx, func(v store.View) error { return f(v.State()) })
	if err != nil {
		return fmt.Errorf("reading the state of %s: %w", c.space, err)
	}
	return nil
}

// begin begins a transaction: what earlier ones wrote and is durable is read from the store from now on.
func (c *Changes) begin(ctx context.Context) error {
	c.sequence++
	if len(c.unseen) == 0 {
		return nil
	}
	return c.view(ctx, func(st store.State) error {
		e, ok, err := st.Get(c.space, headKey)
		if err != nil || !ok {
			return err
		}
		h, err := readChangesHead(e.Value)
		if err != nil {
			return damaged(c.space, e.Key, err)
		}
		for k, u := range c.unseen {
			if u.sequence <= h.sequence {
				delete(c.unseen, k)
			}
		}
		return nil
	})
}

// save ends what a call writes.
func (c *Changes) save(out Output) {
	c.value = c.encode(c.value[:0])
	out.Put(headKey, c.value, 0)
}

func (c *Changes) put(out Output, key, value []byte) {
	out.Put(key, value, 0)
	c.unseen[string(key)] = unseenRow{slices.Clone(value), c.sequence}
}

func (c *Changes) remove(out Output, key []byte) {
	out.Delete(key)
	c.unseen[string(key)] = unseenRow{nil, c.sequence}
}

// fetch reads what is known of the keys of messages.
func (c *Changes) fetch(ctx context.Context, items []Item) error {
	clear(c.rows)
	for len(items) > 0 {
		err := c.view(ctx, func(st store.State) error {
			n := min(512, len(items))
			for i := range items[:n] {
				c.key = textKey(c.key[:0], 'k', items[i].Key)
				if _, ok := c.unseen[string(c.key)]; ok {
					continue
				}
				if _, ok := c.rows[string(c.key)]; ok {
					continue
				}
				e, ok, err := st.Get(c.space, c.key)
				if err != nil {
					return err
				}
				if ok {
					c.rows[string(c.key)] = e.Value
				}
			}
			items = items[n:]
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// row is what is known of the key whose entry has the key c.key.
func (c *Changes) row() (changesRow, bool, error) {
	value, ok := c.rows[string(c.key)]
	if u, written := c.unseen[string(c.key)]; written {
		value, ok = u.value, u.value != nil
	}
	if !ok {
		return changesRow{}, false, nil
	}
	r, err := readChangesRow(c.key, value)
	if err != nil {
		return r, false, damaged(c.space, c.key, err)
	}
	return r, true, nil
}

// sweep goes through all keys, a portion at a time, and tells what was last seen before the extract that has ended.
func (c *Changes) sweep(ctx context.Context, out Output, now time.Time) error {
	if !c.sweeping {
		return nil
	}
	hidden, err := c.hidden()
	if err != nil {
		return err
	}
	emitted, size := 0, 0
	for scanned := 0; c.sweeping && scanned < c.scanned && emitted < c.portion && size < portionBytes; {
		var page []store.Entry
		limit := min(c.page, c.scanned-scanned)
		err := c.view(ctx, func(st store.State) (err error) {
			page, err = st.Scan(c.space, c.cursor, limit)
			return err
		})
		if err != nil {
			if limit > 1 && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				c.page = (limit + 7) / 8
				continue
			}
			return err
		}
		last := len(page) < limit
		page, hidden = mix(page, hidden, last)
		read, done := 0, 0
		for _, e := range page {
			if emitted == c.portion || size >= portionBytes {
				break
			}
			n, err := c.judge(out, now, e)
			if err != nil {
				return err
			}
			if n > 0 {
				emitted++
				size += n
			}
			read += len(e.Key) + len(e.Value)
			done++
			c.cursor = e.Key
		}
		scanned += done
		if last && done == len(page) {
			c.sweeping, c.cursor = false, nil
		}
		switch {
		case read > 1<<20:
			c.page = max(1, c.page/2)
		case read < 1<<17:
			c.page = min(2*c.page, 1024)
		}
	}
	return nil
}

// hidden lists the entries behind the cursor that say that a key is gone, and that a view perhaps does not show yet.
func (c *Changes) hidden() ([]store.Entry, error) {
	var es []store.Entry
	for k, u := range c.unseen {
		if u.value == nil || k <= string(c.cursor) {
			continue
		}
		number, n := binary.Uvarint(u.value)
		if n <= 0 {
			return nil, damaged(c.space, []byte(k), errDamaged)
		}
		if number < c.finished() {
			es = append(es, store.Entry{Key: []byte(k), Value: u.value})
		}
	}
	slices.SortFunc(es, byKey)
	return es, nil
}

func byKey(a, b store.Entry) int { return bytes.Compare(a.Key, b.Key) }

// mix puts hidden entries where they belong in a page, the last one or not, and returns the others.
func mix(page, hidden []store.Entry, last bool) (mixed, rest []store.Entry) {
	n := len(hidden)
	if !last {
		n, _ = slices.BinarySearchFunc(hidden, page[len(page)-1], byKey)
	}
	if n == 0 {
		return page, hidden
	}
	page = append(page, hidden[:n]...)
	slices.SortStableFunc(page, byKey)
	return slices.CompactFunc(page, func(a, b store.Entry) bool { return bytes.Equal(a.Key, b.Key) }), hidden[n:]
}

// judge tells that a key is gone, if it is; how many bytes that were.
func (c *Changes) judge(out Output, now time.Time, e store.Entry) (int, error) {
	if string(e.Key) == string(headKey) {
		return 0, nil
	}
	if u, ok := c.unseen[string(e.Key)]; ok {
		if e.Value = u.value; u.value == nil {
			return 0, nil
		}
	}
	r, err := readChangesRow(e.Key, e.Value)
	if err != nil {
		return 0, damaged(c.space, e.Key, err)
	}
	if r.number >= c.finished() {
		return 0, nil
	}
	c.gone(out, now, string(r.key), r.body, c.ended)
	c.remove(out, e.Key)
	return len(c.rec), nil
}
