package postgres

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/internal/store"
)

// Log implements store.View.
func (t *tx) Log() store.Log { return txView{t} }

// State implements store.View.
func (t *tx) State() store.State { return txView{t} }

// txView is what a transaction reads: what is stored, with what the group has gathered over it.
type txView struct{ t *tx }

// visible are the segments that the transactions before this one append to a channel, from a position on. What is read here ends a
// segment: what is dropped later are the same segments.
func (t *tx) visible(ch *channel, from int64) []bundle {
	n := len(ch.added)
	for n > 0 && ch.added[n-1].turn == t.turn {
		n--
	}
	if n == 0 {
		return nil
	}
	ch.added[n-1].sealed = true
	runs := runs(ch.added[:n])
	for len(runs) > 0 && runs[0].end() <= from {
		runs = runs[1:]
	}
	return runs
}

// runs joins bundles to the segments that they become.
func runs(added []bundle) (all []bundle) {
	open := false
	for _, b := range added {
		if !open {
			all = append(all, b)
		} else {
			last := &all[len(all)-1]
			last.data = append(slices.Clip(last.data), b.data...)
			last.n += b.n
			last.min, last.max, last.sealed = min(last.min, b.min), max(last.max, b.max), b.sealed
		}
		open = !b.sealed
	}
	return all
}

// sees is the bounds of a channel as the transaction sees it.
func (t *tx) sees(ch *channel) store.Bounds {
	b := bounds(ch.name, ch.row)
	for _, r := range t.visible(ch, ch.first) {
		if b.First == b.Next {
			b.First, b.Oldest = r.base, time.Unix(0, r.min)
		}
		b.Next = r.end()
		b.Segments++
		b.Bytes += int64(len(r.data))
	}
	return b
}

func bounds(name string, r row) store.Bounds {
	b := store.Bounds{Channel: name, First: r.first, Next: max(r.next, r.first), Segments: r.seq - r.firstSeq, Bytes: r.total - r.firstTotal}
	if b.First < b.Next {
		b.Oldest = time.Unix(0, r.oldest)
	}
	return b
}

// Channels implements store.Log.
func (v txView) Channels() ([]store.Bounds, error) {
	t := v.t
	if err := t.live(); err != nil {
		return nil, err
	}
	t.everywhere()
	stored := ask(t, "channels", channelsQuery)
	var out []store.Bounds
	seen := map[string]bool{}
	for _, b := range stored {
		seen[b.Channel] = true
		if ch := t.g.parts[store.Home(b.Channel, len(t.g.parts))].channels[b.Channel]; ch != nil {
			b = t.sees(ch)
		}
		out = append(out, b)
	}
	for _, ch := range t.g.opened {
		if b := t.sees(ch); !seen[ch.name] && b.Next > 0 {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b store.Bounds) int { return cmp.Compare(a.Channel, b.Channel) })
	return out, nil
}

// everywhere has the transaction need all parts.
func (t *tx) everywhere() {
	for p := range t.g.parts {
		t.g.touched[p] = true
	}
	if t.g.locked != nil && !t.g.locks() {
		panic(missing{})
	}
}

// Bounds implements store.Log.
func (v txView) Bounds(channel string) (store.Bounds, error) {
	if err := v.t.live(); err != nil {
		return store.Bounds{}, err
	}
	return v.t.sees(v.t.channel(channel)), nil
}

// Segments implements store.Log.
func (v txView) Segments(channel string, from int64, maxBytes int) ([]store.Segment, error) {
	t := v.t
	if err := t.live(); err != nil {
		return nil, err
	}
	ch := t.channel(channel)
	from = max(from, ch.first)
	var all []store.Segment
	size := 0
	if from < ch.next {
		all = ask(t, fmt.Sprint("segments ", ch.id, " ", from, " ", maxBytes), segmentsQuery(channel, from, maxBytes))
		for _, s := range all {
			size += len(s.Data)
		}
		all = slices.Clip(all)
		from = all[len(all)-1].End()
	}
	for _, r := range t.visible(ch, from) {
		if from < ch.next || size >= maxBytes && len(all) > 0 {
			break
		}
		all = append(all, store.Segment{Channel: channel, Base: r.base, N: int(r.n), MinTime: r.min, MaxTime: r.max, Data: r.data})
		size += len(r.data)
	}
	return all, nil
}

// Seek implements store.Log.
func (v txView) Seek(channel string, at time.Time) (int64, error) {
	t := v.t
	if err := t.live(); err != nil {
		return 0, err
	}
	ch := t.channel(channel)
	ns := at.UnixNano()
	if ch.first < ch.next {
		if p := ask(t, fmt.Sprint("seek ", ch.id, " ", ch.first, " ", ns), seekQuery(channel, ns, ch.first)); p < ch.next {
			return p, nil
		}
	}
	for _, r := range t.visible(ch, ch.first) {
		if r.max >= ns {
			return r.base, nil
		}
	}
	return t.sees(ch).Next, nil
}

// dropAt finds the segment that holds a position.
func (t *tx) dropAt(ch *channel, position int64) segmentRow {
	return ask(t, fmt.Sprint("at ", ch.id, " ", position), segmentAtQuery(ch.id, position))
}

// Get implements store.State.
func (v txView) Get(space string, key []byte) (store.Entry, bool, error) {
	t := v.t
	if err := t.live(); err != nil {
		return store.Entry{}, false, err
	}
	if p := t.touch(space); t.g.parts[p].spaces[space] == nil {
		t.need(func(w *wants) { w.spaces[space] = true; w.cells[cellRef{space, string(key)}] = true })
	}
	sp := t.space(space)
	if sp.id == 0 {
		return store.Entry{}, false, nil
	}
	c := t.look(sp, key)
	if c == nil || !c.there {
		return store.Entry{}, false, nil
	}
	return c.entry(), true, nil
}

// entry is what the caller may keep and change.
func (c *cell) entry() store.Entry {
	return store.Entry{Key: []byte(c.key), Value: append([]byte{}, c.value...), Due: c.due}
}

// over lays what is gathered over entries that are stored, up to limit of them, in order. stored has to have as many more than limit as there
// are cells, if there are that many.
func (t *tx) over(sp *space, stored []store.Entry, limit int, in func(*cell) bool, order func(a, b store.Entry) int) []store.Entry {
	gathered := map[string]bool{}
	var out []store.Entry
	for _, c := range t.g.dirty {
		if c.sp != sp || !c.dirty {
			continue
		}
		gathered[c.key] = true
		if c.there && in(c) {
			out = append(out, c.entry())
		}
	}
	for _, e := range stored {
		if !gathered[string(e.Key)] {
			out = append(out, store.Entry{Key: slices.Clone(e.Key), Value: slices.Clone(e.Value), Due: e.Due})
		}
	}
	slices.SortFunc(out, order)
	return out[:min(limit, len(out))]
}

// more is how many entries have to be asked for, so that limit are left when what is gathered is laid over them.
func (t *tx) more(sp *space, limit int) int {
	n := 0
	for _, c := range t.g.dirty {
		if c.sp == sp && c.dirty {
			n++
		}
	}
	return limit + (n+63)/64*64 // few different questions
}

func byKey(a, b store.Entry) int { return slices.Compare(a.Key, b.Key) }

func byDue(a, b store.Entry) int {
	return cmp.Or(cmp.Compare(a.Due, b.Due), slices.Compare(a.Key, b.Key))
}

// Scan implements store.State.
func (v txView) Scan(space string, after []byte, limit int) ([]store.Entry, error) {
	t := v.t
	if err := t.live(); err != nil {
		return nil, err
	}
	sp := t.space(space)
	if limit <= 0 || sp.id == 0 {
		return nil, nil
	}
	var stored []store.Entry
	if sp.saved {
		n := t.more(sp, limit)
		stored = ask(t, fmt.Sprintf("scan %d %t %d %s", sp.id, after == nil, n, after), scanQuery(sp.name, after, n))
	}
	return t.over(sp, stored, limit, func(c *cell) bool { return after == nil || c.key > string(after) }, byKey), nil
}

// Due implements store.State.
func (v txView) Due(space string, until int64, limit int) ([]store.Entry, error) {
	t := v.t
	if err := t.live(); err != nil {
		return nil, err
	}
	sp := t.space(space)
	if limit <= 0 || sp.id == 0 {
		return nil, nil
	}
	var stored []store.Entry
	if sp.saved {
		n := t.more(sp, limit)
		stored = ask(t, fmt.Sprintf("due %d %d %d", sp.id, until, n), dueQuery(sp.name, until, n))
	}
	return t.over(sp, stored, limit, func(c *cell) bool { return c.due != 0 && c.due <= until }, byDue), nil
}

// Spaces implements store.State.
func (v txView) Spaces(prefix string) ([]store.Space, error) {
	t := v.t
	if err := t.live(); err != nil {
		return nil, err
	}
	t.everywhere()
	counted := map[string]store.Space{}
	for _, s := range ask(t, "spaces "+prefix, spacesQuery(prefix)) {
		counted[s.Name] = s
	}
	for _, sp := range t.g.cleared {
		delete(counted, sp.name)
	}
	for _, c := range t.g.dirty {
		now := t.g.parts[c.sp.p].spaces[c.sp.name]
		if !c.dirty || c.sp != now || !strings.HasPrefix(c.sp.name, prefix) {
			continue
		}
		if c.stored == storedUnknown {
			t.need(func(w *wants) { w.sizes[cellRef{c.sp.name, c.key}] = true })
		}
		s := counted[c.sp.name]
		s.Name = c.sp.name
		if c.stored >= 0 {
			s.Entries--
			s.Bytes -= c.stored
		}
		if c.there {
			s.Entries++
			s.Bytes += int64(len(c.key) + len(c.value))
		}
		counted[s.Name] = s
	}
	var out []store.Space
	for _, s := range counted {
		if s.Entries > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b store.Space) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
