package channel

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// backSpace is where what a channel's groups gave back is.
func backSpace(channel string) string { return "nack/" + channel }

// backKey is the key of a message that was given back: group, 0, position.
func backKey(group string, pos int64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(group), 0), uint64(pos))
}

// readBackKey is the position in a backKey of the group.
func readBackKey(group string, key []byte) (int64, bool) {
	n := len(group)
	if len(key) != n+9 || string(key[:n]) != group || key[n] != 0 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(key[n+1:])), true
}

// loadBack reads what was given back. The messages stay where they are.
func (g *Group) loadBack(ctx context.Context) error {
	after := before(backKey(g.name, 0))
	for over := false; !over; {
		err := g.c.hub.view(ctx, func(v store.View) error {
			all, err := v.State().Scan(backSpace(g.c.config.Name), after, pageEntries)
			over = len(all) < pageEntries
			for _, e := range all {
				pos, ok := readBackKey(g.name, e.Key)
				if !ok {
					over = true
					break
				}
				after = e.Key
				nacks, at, rec, err := readBack(e.Value)
				if err != nil {
					return err
				}
				g.giveBack(pos, &given{due: e.Due, time: at, nacks: nacks}, g.c.hub.opts.Key(rec))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// The value of a message that was given back: how often, as a varint; when its segment was stored; the message.
func appendBack(dst []byte, nacks int, at int64, rec []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(nacks))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	return append(dst, rec...)
}

func readBack(b []byte) (nacks int, at int64, rec []byte, err error) {
	u, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+8 || u > 1<<31 {
		return 0, 0, nil, errors.New("a message that was given back is damaged")
	}
	return int(u), int64(binary.LittleEndian.Uint64(b[n:])), b[n+8:], nil
}

// Nack gives a message back in a transaction: it is given out again after the delay, also by a later run. Messages
// of its key that were not given out yet wait until it is; those that a reader has are not called back. Other
// messages go on, and the message no longer keeps the log from being shortened. It must be with a reader. When the transaction is
// durable, Nacked must be called with the same position.
func (g *Group) Nack(tx store.Tx, pos int64, delay time.Duration) error {
	if mutation.On("nack-forgets-delay") {
		delay = 0
	}
	due := g.c.hub.clock.Now().Add(max(delay, 0)).UnixNano()
	var rec []byte
	var nacks int
	var at int64
	g.mu.Lock()
	b, e := g.back[pos], g.pages.entry(pos)
	switch {
	case b != nil:
		rec, nacks, at = b.record, b.nacks, b.time
	case e != nil && e.state != free:
		rec, at = e.record, g.pages.m[pos>>pageShift].time
	}
	if rec != nil {
		g.nacking[pos] = due
	}
	g.mu.Unlock()
	if rec == nil {
		return g.wrong("give back", fmt.Errorf("the message at %d is with no reader", pos))
	}
	cur, err := g.cursor(tx)
	if err != nil {
		return err
	}
	if err := tx.Put(backSpace(g.c.config.Name), store.Entry{Key: backKey(g.name, pos), Value: appendBack(nil, nacks+1, at, rec), Due: due}); err != nil {
		return err
	}
	if mutation.On("nack-forgets-message") {
		_ = tx.Delete(backSpace(g.c.config.Name), backKey(g.name, pos))
	}
	cur.add(Range{pos, pos + 1})
	return g.put(tx, cur)
}

// Nacked says that a Nack is durable.
func (g *Group) Nacked(pos int64) {
	g.mu.Lock()
	defer g.unlock()
	due, ok := g.nacking[pos]
	if !ok {
		return
	}
	delete(g.nacking, pos)
	g.track()
	b := &given{due: due}
	var key string
	switch old, e := g.back[pos], g.pages.entry(pos); {
	case old != nil:
		key = g.c.hub.opts.Key(old.record)
		b.nacks, b.time = old.nacks+1, old.time
		g.takeBack(pos, old)
	case e != nil && e.state != free:
		key = g.c.hub.opts.Key(e.record)
		b.nacks, b.time = 1, g.pages.m[pos>>pageShift].time
	default:
		return // acknowledged at the same time
	}
	g.done.add(Range{pos, pos + 1})
	g.giveBack(pos, b, key) // before finish, which would let the next of its key go
	g.finish(Range{pos, pos + 1})
}

// giveBack keeps a message until it is due.
func (g *Group) giveBack(pos int64, b *given, key string) {
	g.keyed = true
	g.back[pos] = b
	b.line = g.lineOf(key)
	g.waiting++
	b.line.insert(pos)
	g.place(b.line)
}

func (g *Group) takeBacks(r Range) {
	if r.To-r.From <= few {
		for pos := r.From; pos < r.To; pos++ {
			if b := g.back[pos]; b != nil {
				g.takeBack(pos, b)
			}
		}
		return
	}
	for pos, b := range g.back {
		if pos >= r.From && pos < r.To {
			g.takeBack(pos, b)
		}
	}
}

// takeBack forgets a message that was given back.
func (g *Group) takeBack(pos int64, b *given) {
	delete(g.back, pos)
	g.leaves(b.line, b.reader)
	if b.reader == nil {
		g.waiting--
	} else {
		g.flight--
	}
	g.place(b.line)
}

// delays are lines by the time when their first message is due.
type delays []delayed

type delayed struct {
	due  int64
	line *line
}

func (d delays) Len() int { return len(d) }

func (d delays) Less(i, j int) bool { return d[i].due < d[j].due }

func (d delays) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

func (d *delays) Push(x any) { *d = append(*d, x.(delayed)) }

func (d *delays) Pop() any {
	old := *d
	x := old[len(old)-1]
	old[len(old)-1] = delayed{}
	*d = old[:len(old)-1]
	return x
}

var _ heap.Interface = (*delays)(nil)
