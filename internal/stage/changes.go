package stage

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// Repeated counts messages whose key came before in the same extract.
const Repeated Counted = "repeated"

// Changes compares each full extract with the one before, and lets the differences go on: a message with the body {change, key, before,
// after}, where change is added (without before), changed, or gone (without after). What is equal, as values and not as text, is
// dropped.
//
// An extract ends when a message of another one comes, or with the sources; then what it did not have is gone. So an extract without a
// message is not seen, a process that dies in the middle of one goes on with it, and two extracts that follow each other
// without an end of the sources between them need different names.
//
// What is gone leaves in portions, over several transactions, and messages of the next extract are compared meanwhile. The order of each
// key is right all the same: if the next extract has a key that is gone from the last, gone leaves first, and then added. Before the first
// message of a new extract leaves, a portion does: everything, if fewer than about a thousand keys are gone.
//
// A key that comes again in one extract is compared with what it said before, so the last one wins; it is counted as [Repeated].
// A message of the extract before the current one, which was held up while that ended, is compared as though it came in time, but not if
// something newer of its key is known; then, and if it is of a yet older extract, it ends here and is counted as [Late]. The names of
// the last three extracts are remembered for that until the sources end: until then none of them can be the name of a new one.
//
// Headers and variables of added and changed are those of the message. gone has none; its origin is the name of the extract
// that it is missing from, and its event time the latest one seen.
type Changes struct {
	space string
	st    store.Store
	changesHead

	unseen map[string]unseenRow // what was written, and perhaps is not durable yet
	rows   map[string][]byte    // of the messages that are being absorbed
	docs   [2]jsonview.Doc

	portion int // messages that one sweep emits at most
	scanned int // entries that it reads at most
	page    int // entries that it reads at a time; follows their size

	key, value, body, after, rec []byte // buffers
}

// unseenRow is an entry that was written by a transaction; a nil value was deleted.
type unseenRow struct {
	value    []byte
	sequence uint64
}

// extract is one that a message can belong to.
type extract struct {
	of     string
	number uint64
}

// rememberedExtracts is how many extracts that have ended are known by their names.
const rememberedExtracts = 3

var _ Machine = (*Changes)(nil)

// NewChanges makes the machine of a changes step that keeps the bodies in the space.
func NewChanges(_ *plan.Changes, space string) *Changes {
	return &Changes{space: space, unseen: map[string]unseenRow{}, rows: map[string][]byte{}, portion: portion, scanned: 16 << 10, page: 64}
}

// Absorb compares messages with what is known.
func (c *Changes) Absorb(ctx context.Context, out Output, now time.Time, items []Item) error {
	if len(items) == 0 {
		return nil
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := c.fetch(ctx, items); err != nil {
		return err
	}
	if err := c.sweep(ctx, out, now); err != nil {
		return err
	}
	for i := range items {
		it := &items[i]
		number, found := c.number(it.Of)
		if !found {
			if c.open {
				c.finish(false)
				if err := c.sweep(ctx, out, now); err != nil {
					return err
				}
			}
			number = c.current.number + 1
			c.current, c.open = extract{it.Of, number}, true
		}
		if err := c.compare(out, now, it, number); err != nil {
			return err
		}
	}
	c.save(out)
	return nil
}

// number finds the extract that a message belongs to; false: a new one.
func (c *Changes) number(of string) (uint64, bool) {
	if !c.open {
		return 0, false
	}
	if of == c.current.of {
		return c.current.number, true
	}
	for _, e := range c.earlier {
		if of == e.of {
			return e.number, true
		}
	}
	return 0, false
}

// finish ends the current extract: what it did not have is gone from now on. With the sources nothing of it, or of those before, can come any
// more.
func (c *Changes) finish(sources bool) {
	c.open, c.sweeping, c.cursor, c.ended = false, true, nil, c.current.of
	if sources {
		c.earlier = nil
		return
	}
	c.earlier = append(c.earlier, c.current)
	if len(c.earlier) > rememberedExtracts {
		c.earlier = c.earlier[1:]
	}
}

// finished is the number of the last extract that has ended: a key that was last seen before it is gone.
func (c *Changes) finished() uint64 {
	if c.open {
		return c.current.number - 1
	}
	return c.current.number
}

// compare holds a message of an extract against what is known of its key.
func (c *Changes) compare(out Output, now time.Time, it *Item, number uint64) error {
	v, err := record.Parse(it.Record)
	if err != nil {
		return err
	}
	if t := v.EventTime(); t.After(c.high) {
		c.high = t
	}
	c.key = textKey(c.key[:0], 'k', it.Key)
	old, known, err := c.row()
	if err != nil {
		return err
	}
	if number < c.finished() || known && old.number > number {
		out.Count(Late, 1)
		return nil
	}
	// Lanes have read the body: it is well-formed.
	c.after = v.AppendBody(c.after[:0])
	if len(c.after) == 0 { // the empty document
		c.after = append(c.after, "null"...)
	}
	body := c.after
	switch {
	case !known:
		c.emit(out, v, now, "added", it.Key, nil, body)
	case old.number+1 < number: // an extract between did not have it, and the sweep has not been here yet
		c.gone(out, now, it.Key, old.body, c.name(number-1))
		c.emit(out, v, now, "added", it.Key, nil, body)
	default:
		if old.number == number {
			out.Count(Repeated, 1)
		}
		if !c.equal(old.body, body) {
			c.emit(out, v, now, "changed", it.Key, old.body, body)
			break
		}
		out.Count(Dropped, 1)
		if old.number == number {
			return nil
		}
		body = old.body
	}
	c.value = binary.AppendUvarint(c.value[:0], number)
	if len(it.Key) >= longKey {
		c.value = binary.AppendUvarint(c.value, uint64(len(it.Key)))
		c.value = append(c.value, it.Key...)
	}
	c.value = append(c.value, body...)
	c.put(out, c.key, c.value)
	return nil
}

// name is the name of an extract that has ended, if it is still known.
func (c *Changes) name(number uint64) string {
	for _, e := range c.earlier {
		if e.number == number {
			return e.of
		}
	}
	if number == c.finished() {
		return c.ended
	}
	return ""
}

// equal compares two bodies: numbers by value, objects without regard to order.
func (c *Changes) equal(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	for i, text := range [][]byte{a, b} {
		c.docs[i].Reset(jsonview.JSON, text)
		if c.docs[i].Parse(jsonview.Limits{}) != nil {
			return false
		}
	}
	return penstock.NodeValue(&c.docs[0], 0).Equal(penstock.NodeValue(&c.docs[1], 0))
}

// emit lets a difference go on, as a message made of the one that tells it.
func (c *Changes) emit(out Output, v record.View, now time.Time, change, key string, before, after []byte) {
	d := v.Draft()
	d.Time, d.Key, d.Format = now.UnixNano(), key, jsonview.JSON
	d.Body = c.document(change, key, before, after)
	c.rec = d.Append(c.rec[:0])
	out.Emit(c.rec)
}

// gone lets a message go on that says that an extract did not have a key.
func (c *Changes) gone(out Output, now time.Time, key string, before []byte, of string) {
	d := record.Draft{Time: now.UnixNano(), EventTime: c.high, Key: key, Origin: of, Format: jsonview.JSON}
	d.Body = c.document("gone", key, before, nil)
	c.rec = d.Append(c.rec[:0])
	out.Emit(c.rec)
}

// document is the body of a difference.
func (c *Changes) document(change, key string, before, after []byte) []byte {
	b := append(c.body[:0], `{"change":"`...)
	b = append(append(b, change...), `","key":`...)
	b = jsonview.AppendString(b, key)
	if before != nil {
		b = append(append(b, `,"before":`...), before...)
	}
	if after != nil {
		b = append(append(b, `,"after":`...), after...)
	}
	c.body = append(b, '}')
	return c.body
}

// Due is at once while there is something to be told of what is gone.
func (c *Changes) Due() int64 {
	if c.sweeping {
		return 1
	}
	return 0
}

// Fire tells a portion of what is gone.
func (c *Changes) Fire(ctx context.Context, out Output, now time.Time) (more bool, err error) {
	if !c.sweeping {
		return false, nil
	}
	if err := c.begin(ctx); err != nil {
		return false, err
	}
	if err := c.sweep(ctx, out, now); err != nil {
		return false, err
	}
	c.save(out)
	return c.sweeping, nil
}

// End ends the last extract, and tells a portion of what is gone.
func (c *Changes) End(ctx context.Context, out Output, now time.Time) (more bool, err error) {
	if c.open {
		c.finish(true)
	}
	return c.Fire(ctx, out, now)
}
