package entity_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// frames reads the events of part 0 as they lie.
func frames(t testing.TB, st store.Store) (out [][]byte) {
	t.Helper()
	err := st.View(t.Context(), func(v store.View) error {
		segs, err := v.Log().Segments("entity/account#00", 0, 1<<24)
		for _, s := range segs {
			rest := s.Data
			for range s.N {
				var rec []byte
				if rec, rest, err = store.NextFrame(rest); err != nil {
					return err
				}
				out = append(out, bytes.Clone(rec))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// written is a store with these events, and the entries of another.
func written(t testing.TB, of store.Store, all [][]byte) store.Store {
	t.Helper()
	st := memory.New()
	var entries []store.Entry
	err := of.View(t.Context(), func(v store.View) (err error) {
		entries, err = v.State().Scan("entity/account/chain#00", nil, 10)
		return err
	})
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	err = st.Submit(store.Small, func(tx store.Tx) error {
		var data []byte
		for _, f := range all {
			data = store.AppendFrame(data, f)
		}
		if _, err := tx.Append("entity/account#00", store.Bundle{N: len(all), Data: data}); err != nil {
			return err
		}
		return tx.Put("entity/account/chain#00", entries[0])
	}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestEachChangedByteBreaksTheChain changes every byte of a history, one at a time, and takes events out, puts them in and puts them elsewhere: it is found,
// at its place.
func TestEachChangedByteBreaksTheChain(t *testing.T) {
	w := newWorld(t, accounts, memory.New())
	w.do("open", "a", `{"owner":"Ada","city":"London"}`)
	w.do("deposit", "a", `{"amount":200}`)
	w.do("withdraw", "a", `{"amount":150}`)
	all := frames(t, w.st)
	if v := w.verified(); len(v.Broken) > 0 || len(v.Heads) != 1 {
		t.Fatalf("%+v", v)
	}
	found := func(what string, changed [][]byte, at int64) {
		t.Helper()
		v, err := entity.Verify(t.Context(), written(t, w.st, changed), "account", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Broken) == 0 || !slices.ContainsFunc(v.Broken, func(b entity.Break) bool { return b.Position == at }) {
			t.Errorf("%s: found %+v, and not position %d", what, v.Broken, at)
		}
	}
	for i := range all {
		for at := range all[i] {
			changed := slices.Clone(all)
			changed[i] = bytes.Clone(all[i])
			changed[i][at] ^= 1
			found(fmt.Sprintf("byte %d of event %d", at, i), changed, int64(i))
		}
	}
	for i := range all {
		found(fmt.Sprintf("without event %d", i), slices.Delete(slices.Clone(all), i, i+1), int64(max(0, min(i, len(all)-1))))
	}
	found("one twice", slices.Insert(slices.Clone(all), 2, all[1]), 2)
	swapped := slices.Clone(all)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	found("two in another order", swapped, 1)
	found("one more at the end", append(slices.Clone(all), all[3]), 4)
}

// FuzzVerify has arbitrary bytes as an event: whatever they are, they are told and not believed.
func FuzzVerify(f *testing.F) {
	w := newWorld(f, accounts, memory.New())
	w.do("open", "a", `{"owner":"Ada"}`)
	first := frames(f, w.st)[0]
	f.Add(first)
	f.Add([]byte{})
	f.Add(first[:len(first)/2])
	f.Fuzz(func(t *testing.T, rec []byte) {
		v, err := entity.Verify(t.Context(), written(t, w.st, [][]byte{rec}), "account", nil)
		if err != nil {
			t.Fatal(err)
		}
		if (len(v.Broken) == 0) != bytes.Equal(rec, first) {
			t.Errorf("%x: %+v", rec, v)
		}
	})
}
