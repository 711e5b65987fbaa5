package conform

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"penstock.dev/penstock/internal/store"
)

// mirror is the store that the random transactions are held to.
type mirror struct {
	messages map[string][]string // all that were ever appended
	first    map[string]int64    // what was dropped at most
	entries  map[string]map[string]store.Entry
}

func (m mirror) clone() mirror {
	c := mirror{maps.Clone(m.messages), maps.Clone(m.first), map[string]map[string]store.Entry{}}
	for n, s := range m.entries {
		c.entries[n] = maps.Clone(s)
	}
	return c
}

func (m mirror) scan(space string) []store.Entry {
	return slices.SortedFunc(maps.Values(m.entries[space]), func(a, b store.Entry) int { return cmp.Compare(string(a.Key), string(b.Key)) })
}

func (m mirror) due(space string, until int64) []store.Entry {
	all := slices.DeleteFunc(m.scan(space), func(e store.Entry) bool { return e.Due == 0 || e.Due > until })
	slices.SortStableFunc(all, func(a, b store.Entry) int { return cmp.Compare(a.Due, b.Due) })
	return all
}

// model runs groups of random transactions, checks what each of them sees, and compares everything after every group.
func model(f *fixture) {
	rnd := rand.New(rand.NewPCG(42, 1))
	m := mirror{map[string][]string{}, map[string]int64{}, map[string]map[string]store.Entry{}}
	serial := 0
	for range 60 {
		var commits []*store.Commit
		var bad []bool
		after := []mirror{m} // before the first transaction, and after each of them: they may run more than once
		f.held(func() {
			for i := range 1 + rnd.IntN(8) {
				after = append(after, mirror{})
				seed, fails := rnd.Uint64(), rnd.IntN(3) == 0
				bad = append(bad, fails)
				number := serial
				serial += 12
				commits = append(commits, f.s.Submit(store.Small, func(tx store.Tx) error {
					next := after[i].clone()
					after[i+1] = after[i]
					visible := after[i].clone().messages // a transaction does not see what it appends
					rnd := rand.New(rand.NewPCG(seed, 2))
					for j := range 1 + rnd.IntN(12) {
						if err := f.step(tx, rnd, next, visible, number+j); err != nil {
							return err
						}
					}
					if fails {
						return errWanted
					}
					after[i+1] = next
					return nil
				}))
			}
		})
		for i, c := range commits {
			if err := f.wait(c); bad[i] != errors.Is(err, errWanted) || (!bad[i] && err != nil) {
				f.Fatalf("transaction that has to fail: %v; got %v", bad[i], err)
			}
		}
		m = after[len(after)-1]
		f.compare(m)
		if rnd.IntN(6) == 0 {
			f.reopen()
			f.compare(m)
		}
		if f.report(); f.Failed() {
			return
		}
	}
}

// step does something in a transaction and in the model.
func (f *fixture) step(tx store.Tx, rnd *rand.Rand, m mirror, visible map[string][]string, serial int) error {
	channel, space, key := fmt.Sprint("c", rnd.IntN(3)), fmt.Sprint("s", rnd.IntN(3)), fmt.Sprint("k", rnd.IntN(6))
	switch rnd.IntN(12) {
	case 0, 1, 2:
		var sent []string
		for i := range 1 + rnd.IntN(3) {
			sent = append(sent, fmt.Sprint(serial, ".", i))
		}
		base, err := tx.Append(channel, Bundle(int64(serial), sent...))
		f.equal("base", base, len(m.messages[channel]))
		m.messages[channel] = append(slices.Clip(m.messages[channel]), sent...)
		return err
	case 3, 4, 5:
		if m.entries[space] == nil {
			m.entries[space] = map[string]store.Entry{}
		}
		e := store.Entry{Key: []byte(key), Value: fmt.Appendf(nil, "%0*d", 1+rnd.IntN(600), serial), Due: int64(rnd.IntN(5))}
		m.entries[space][key] = e
		return tx.Put(space, e)
	case 6:
		delete(m.entries[space], key)
		return tx.Delete(space, []byte(key))
	case 7:
		e, ok, err := tx.State().Get(space, []byte(key))
		want, there := m.entries[space][key]
		f.equal("get "+space+" "+key, fmt.Sprintf("%v %s %d", ok, e.Value, e.Due), fmt.Sprintf("%v %s %d", there, want.Value, want.Due))
		return err
	case 8:
		all, err := tx.State().Due(space, 3, 100)
		f.equal("due in "+space, keys(all), keys(m.due(space, 3)))
		return err
	case 9:
		all, err := tx.State().Scan(space, nil, 100)
		f.equal("scan "+space, keys(all), keys(m.scan(space)))
		return err
	case 10:
		n := int64(len(visible[channel]))
		before := m.first[channel] + rnd.Int64N(4)
		if n == 0 || rnd.IntN(3) > 0 {
			break
		}
		_, err := tx.Drop(channel, before)
		b, err2 := tx.Log().Bounds(channel)
		f.equal("next of "+channel, b.Next, n)
		if b.First > max(before, m.first[channel]) || b.First < m.first[channel] {
			f.Errorf("drop before %d: the first is %d, and was %d", before, b.First, m.first[channel])
		}
		m.first[channel] = b.First
		return errors.Join(err, err2)
	case 11:
		if rnd.IntN(4) > 0 {
			break
		}
		delete(m.entries, space)
		return tx.Clear(space)
	}
	return nil
}

// compare holds the store to the model.
func (f *fixture) compare(m mirror) {
	f.Helper()
	f.view(func(v store.View) error {
		for channel, want := range m.messages {
			b, err := v.Log().Bounds(channel)
			if err != nil {
				return err
			}
			f.equal("bounds of "+channel, []int64{b.First, b.Next}, []int64{m.first[channel], int64(len(want))})
			f.equal(channel, read(f, v.Log(), channel, 0), want[m.first[channel]:])
		}
		listed, err := v.State().Spaces("s")
		if err != nil {
			return err
		}
		counted := map[string]store.Space{}
		for _, s := range listed {
			counted[s.Name] = s
		}
		for i := range 3 {
			space := fmt.Sprint("s", i)
			all, err := v.State().Scan(space, nil, 100)
			if err != nil {
				return err
			}
			var size, n int64
			for _, e := range all {
				n++
				size += int64(len(e.Key) + len(e.Value))
			}
			f.equal("entries of "+space, all, m.scan(space))
			f.equal("counts of "+space, []int64{counted[space].Entries, counted[space].Bytes}, []int64{n, size})
			due, err := v.State().Due(space, 4, 100)
			if err != nil {
				return err
			}
			f.equal("due in "+space, keys(due), keys(m.due(space, 4)))
		}
		return nil
	})
}
