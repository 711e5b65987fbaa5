package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bundle(messages ...string) store.Bundle {
	b := store.Bundle{N: len(messages), MinTime: 1, MaxTime: 2}
	for _, m := range messages {
		b.Data = store.AppendFrame(b.Data, []byte(m))
	}
	return b
}

func do(t testing.TB, s store.Store, f func(store.Tx) error) error {
	t.Helper()
	return s.Submit(store.Small, f).Wait(context.Background())
}

func view(t testing.TB, s store.Store, f func(store.View) error) {
	t.Helper()
	if err := s.View(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	s := memory.New()
	var told []int64
	cancel := s.Notify("c", func(g store.Segment) { told = append(told, g.Base) })
	for range 2 {
		if err := do(t, s, func(tx store.Tx) error { _, err := tx.Append("c", bundle("a", "b")); return err }); err != nil {
			t.Fatal(err)
		}
	}
	err := do(t, s, func(tx store.Tx) error {
		if base, err := tx.Append("c", bundle("a", "b")); err != nil || base != 4 {
			t.Errorf("base %d, %v", base, err)
		}
		if b, _ := tx.Log().Bounds("c"); b.Next != 4 {
			t.Error("a transaction sees what it appended")
		}
		if err := tx.Put("s", store.Entry{Key: []byte("k"), Value: []byte("1")}); err != nil {
			return err
		}
		if e, ok, _ := tx.State().Get("s", []byte("k")); !ok || string(e.Value) != "1" {
			t.Error("a transaction does not see what it put")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := do(t, s, func(tx store.Tx) error {
		_, _ = tx.Append("c", bundle("x"))
		_ = tx.Put("s", store.Entry{Key: []byte("k"), Value: []byte("2")})
		_ = tx.Clear("s")
		return boom
	}); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	cancel()
	if err := do(t, s, func(tx store.Tx) error {
		if _, err := tx.Append("c", bundle("y", "z")); err != nil {
			return err
		}
		n, err := tx.Drop("c", 5)
		if n != 2 {
			t.Errorf("%d segments dropped", n)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int64{0, 2, 4}) {
		t.Errorf("told of %v", told)
	}
	view(t, s, func(v store.View) error {
		b, _ := v.Log().Bounds("c")
		if b.First != 4 || b.Next != 8 || b.Segments != 2 || b.Bytes != 8 {
			t.Errorf("%+v", b)
		}
		segs, _ := v.Log().Segments("c", 5, 1)
		if len(segs) != 1 || segs[0].Base != 4 {
			t.Errorf("%+v", segs)
		}
		for at, want := range map[int64]int64{1: 4, 2: 4, 3: 8} {
			if p, _ := v.Log().Seek("c", time.Unix(0, at)); p != want {
				t.Errorf("seek %d: %d", at, p)
			}
		}
		if e, ok, _ := v.State().Get("s", []byte("k")); !ok || string(e.Value) != "1" {
			t.Error("what failed was not undone")
		}
		return nil
	})
	for name, b := range map[string]store.Bundle{"torn": {N: 1, Data: []byte{5, 1}}, "wrong": {N: 2, Data: []byte{1, 1}}} {
		if err := do(t, s, func(tx store.Tx) error { _, err := tx.Append("c", b); return err }); err == nil {
			t.Errorf("a bundle that is %s was taken", name)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := do(t, s, func(store.Tx) error { return nil }); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("closed, and %v", err)
	}
}

func TestFail(t *testing.T) {
	put := func(key string) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Put("s", store.Entry{Key: []byte(key)}) }
	}
	keys := func(s store.Store) (got []string) {
		view(t, s, func(v store.View) error {
			all, err := v.State().Scan("s", nil, 10)
			for _, e := range all {
				got = append(got, string(e.Key))
			}
			return err
		})
		return got
	}
	for _, unsure := range []bool{false, true} {
		s := memory.New()
		if err := do(t, s, put("a")); err != nil {
			t.Fatal(err)
		}
		want := []string{"a"}
		if unsure {
			s.FailUnsure(errors.New("disk"))
			want = append(want, "b")
		} else {
			s.Fail(errors.New("disk"))
		}
		for _, k := range []string{"b", "c"} {
			if err := do(t, s, put(k)); penstock.CodeOf(err) != penstock.Unavailable {
				t.Errorf("%s: %v", k, err)
			}
		}
		again := s.Reopen()
		if got := keys(again); !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
		if err := do(t, again, put("d")); err != nil {
			t.Error(err)
		}
	}
}

// TestState holds state and its snapshots against maps.
func TestState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memory.New()
		defer func() { _ = s.Close() }()
		model := map[string]store.Entry{}
		key := rapid.StringMatching(`[ab]{0,3}`)
		for range rapid.IntRange(1, 30).Draw(t, "transactions") {
			next := map[string]store.Entry{}
			for k, e := range model {
				next[k] = e
			}
			type op struct {
				e   store.Entry
				del bool
			}
			var ops []op
			for range rapid.IntRange(1, 5).Draw(t, "ops") {
				o := op{store.Entry{Key: []byte(key.Draw(t, "key")), Value: []byte(key.Draw(t, "value")), Due: rapid.Int64Range(0, 3).Draw(t, "due")}, rapid.Bool().Draw(t, "delete")}
				ops = append(ops, o)
				delete(next, string(o.e.Key))
				if !o.del {
					next[string(o.e.Key)] = o.e
				}
			}
			fail := rapid.Bool().Draw(t, "fail")
			err := s.Submit(store.Small, func(tx store.Tx) error {
				for _, o := range ops {
					if o.del {
						_ = tx.Delete("s", o.e.Key)
					} else {
						_ = tx.Put("s", o.e)
					}
				}
				if fail {
					return errors.New("no")
				}
				return nil
			}).Wait(context.Background())
			if (err != nil) != fail {
				t.Fatal(err)
			}
			if !fail {
				model = next
			}
			check(t, s, model)
		}
	})
}

func check(t *rapid.T, s store.Store, model map[string]store.Entry) {
	show := func(e store.Entry) string { return fmt.Sprintf("%q=%q@%d", e.Key, e.Value, e.Due) }
	var all, due []string
	var size int64
	byDue := map[int64][]string{}
	var keys []string
	for k := range model {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		e := model[k]
		all = append(all, show(e))
		size += int64(len(e.Key) + len(e.Value))
		byDue[e.Due] = append(byDue[e.Due], show(e))
	}
	due = append(byDue[1], byDue[2]...)
	err := s.View(context.Background(), func(v store.View) error {
		var got, gotDue []string
		var after []byte
		for {
			page, err := v.State().Scan("s", after, 2)
			if err != nil || len(page) == 0 {
				break
			}
			for _, e := range page {
				got, after = append(got, show(e)), e.Key
			}
		}
		es, _ := v.State().Due("s", 2, 100)
		for _, e := range es {
			gotDue = append(gotDue, show(e))
		}
		if !slices.Equal(got, all) || !slices.Equal(gotDue, due) {
			t.Fatalf("got %v, due %v\nwant %v, due %v", got, gotDue, all, due)
		}
		spaces, _ := v.State().Spaces("")
		if len(model) == 0 && len(spaces) != 0 || len(model) > 0 && (len(spaces) != 1 || spaces[0] != store.Space{Name: "s", Entries: int64(len(model)), Bytes: size}) {
			t.Fatalf("spaces %v of %v", spaces, strings.Join(all, " "))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
