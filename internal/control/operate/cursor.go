package operate

import (
	"encoding/binary"
	"fmt"
	"sort"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// group is what a group of a channel has done: everything before first, and ranges above it. It is read without the channel
// being opened, as package channel wrote it (space `group/<channel>`).
type group struct {
	name   string
	first  int64
	ranges []channel.Range
}

// cursorVersion is the first byte of a stored cursor: low and the number of ranges as varints, then for each how far it lies
// behind what was before, and how long it is.
const cursorVersion = 1

func groupSpace(channel string) string { return "group/" + channel }

// backSpace is where package channel keeps what groups of a channel gave back.
func backSpace(channel string) string { return "nack/" + channel }

// groupOf reads one group of a channel; one that is not there has done nothing.
func groupOf(v store.View, b store.Bounds, name string) (group, error) {
	e, ok, err := v.State().Get(groupSpace(b.Channel), []byte(name))
	if err != nil || !ok {
		return group{name: name}, err
	}
	g, err := parseGroup(name, e.Value)
	if err != nil {
		err = damagedGroup(b.Channel, name, err)
	}
	return g, err
}

func damagedGroup(channel, group string, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "read channel " + channel, Path: "group " + group, Err: err, Hint: "`penstock store check` says what else is damaged"}
}

func parseGroup(name string, b []byte) (group, error) {
	bad := len(b) == 0 || b[0] != cursorVersion
	next := func() int64 {
		if bad {
			return 0
		}
		u, n := binary.Uvarint(b)
		if n <= 0 || u > 1<<62 {
			bad = true
			return 0
		}
		b = b[n:]
		return int64(u)
	}
	if !bad {
		b = b[1:]
	}
	g := group{name: name, first: next()}
	n := next()
	at := g.first
	for range n {
		from := at + next()
		to := from + next()
		if bad || to <= from {
			bad = true
			break
		}
		g.ranges = append(g.ranges, channel.Range{From: from, To: to})
		at = to
	}
	if bad || len(b) > 0 {
		return group{}, fmt.Errorf("the stored cursor is damaged, or of a newer version")
	}
	return g, nil
}

// has says that the group has not done a position yet.
func (g *group) has(pos int64) bool {
	if pos < g.first {
		return false
	}
	i := sort.Search(len(g.ranges), func(i int) bool { return g.ranges[i].To > pos })
	return i == len(g.ranges) || pos < g.ranges[i].From
}

// open counts what a channel holds that the group has not done.
func (g *group) open(b store.Bounds) int64 {
	from := max(g.first, b.First)
	n := max(0, b.Next-from)
	for _, r := range g.ranges {
		n -= max(0, min(r.To, b.Next)-max(r.From, from))
	}
	return max(0, n)
}
