package sqlite

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestReserve lets the disk become full and free again.
func TestReserve(t *testing.T) {
	var free atomic.Int64
	const reserve = 1 << 20
	d := mustOpen(t, Options{Path: newPath(t), Reserve: reserve, Free: func(string) (int64, error) { return free.Load(), nil }})
	for _, c := range []struct {
		free        int64
		small, bulk bool
	}{
		{10 * reserve, true, true}, {reserve, true, true}, {reserve - 1, true, false}, {reserve / 2, true, false}, {reserve/2 - 1, false, false},
		{0, false, false}, {reserve / 2, true, false}, {2 * reserve, true, true},
	} {
		free.Store(c.free)
		for class, want := range map[store.Class]bool{store.Small: c.small, store.Bulk: c.bulk} {
			ran := false
			err := submit(d, class, func(tx store.Tx) error {
				ran = true
				return appendMessage("c", 10)(tx)
			})
			if want != (err == nil) || ran != want {
				t.Errorf("free %d, class %d: ran %v, %v", c.free, class, ran, err)
			}
			if err != nil && (penstock.CodeOf(err) != penstock.Limited || !strings.Contains(err.Error(), "reserve of 1 MiB")) {
				t.Errorf("%v", err)
			}
		}
	}
	none := mustOpen(t, Options{Path: newPath(t), Reserve: -1, Free: func(string) (int64, error) { return 0, nil }})
	if err := submit(none, store.Bulk, appendMessage("c", 10)); err != nil {
		t.Errorf("without a reserve: %v", err)
	}
	real := mustOpen(t, Options{Path: newPath(t)})
	if s := real.Stats(); s.DiskFree <= 0 || s.FileBytes <= 0 {
		t.Errorf("%+v", s)
	}
}

// TestDamage changes bytes on the disk: what was written must come back, or an error that says what to do.
func TestDamage(t *testing.T) {
	path := newPath(t)
	d := mustOpen(t, Options{Path: path})
	marker := strings.Repeat("find me ", 100)
	mustDo(t, d, func(tx store.Tx) error {
		_, err := tx.Append("c", store.Bundle{N: 1, Data: store.AppendFrame(nil, []byte(marker))})
		return err
	})
	mustDo(t, d, appendMessage("c", 10))
	mustDo(t, d, putEntry("s", "k", []byte(strings.Repeat("or find me ", 50))))
	mustDo(t, d, putEntry("s", "short", []byte("v")))
	mustClose(t, d)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(file), "find me find me", "find me fInd me"), "or find me or find me", "or find me or find mE")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, Options{Path: path})
	wrong := func(what string, err error) {
		t.Helper()
		if penstock.CodeOf(err) != penstock.Internal || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "backup restore") {
			t.Errorf("%v", err)
		}
	}
	read := func(v store.View) error {
		_, err := v.Log().Segments("c", 0, 1)
		wrong("messages 0 to 0 of channel c", err)
		s, err := v.Log().Segments("c", 1, 1)
		if err != nil || len(s) != 1 {
			t.Errorf("what is not damaged: %v", err)
		}
		_, _, err = v.State().Get("s", []byte("k"))
		wrong(`the entry "k" of space s`, err)
		_, err = v.State().Scan("s", nil, 10)
		wrong(`the entry "k" of space s`, err)
		e, ok, err := v.State().Get("s", []byte("short"))
		if err != nil || !ok || string(e.Value) != "v" {
			t.Errorf("what is not damaged: %v", err)
		}
		return nil
	}
	if err := d.View(context.Background(), read); err != nil {
		t.Error(err)
	}
	// A transaction that comes upon it fails; the store goes on.
	err = submit(d, store.Small, func(tx store.Tx) error {
		_ = read(tx)
		_, _, err := tx.State().Get("s", []byte("k"))
		return err
	})
	wrong("the entry", err)
	mustDo(t, d, putEntry("s", "k", []byte("written again")))
}

// TestDamagedPage makes pages of trees unreadable.
func TestDamagedPage(t *testing.T) {
	path := newPath(t)
	d := mustOpen(t, Options{Path: path})
	mustDo(t, d, func(tx store.Tx) error {
		for i := range 2000 {
			if err := putEntry("s", fmt.Sprintf("%06d", i), make([]byte, 100))(tx); err != nil {
				return err
			}
		}
		return nil
	})
	mustClose(t, d)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for page := 8 * pageSize; page < len(file); page += pageSize { // behind the schema
		clear(file[page : page+100])
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, Options{Path: path})
	err = d.View(context.Background(), func(v store.View) error {
		_, err := v.State().Scan("s", nil, 10_000)
		return err
	})
	if penstock.CodeOf(err) != penstock.Internal || !strings.Contains(err.Error(), "backup restore") {
		t.Errorf("a view: %v", err)
	}
	err = submit(d, store.Small, func(tx store.Tx) error {
		_, err := tx.State().Scan("s", nil, 10_000)
		return err
	})
	if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a transaction: %v", err)
	}
	if err := submit(d, store.Small, putEntry("s", "k", nil)); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("the store goes on writing into a damaged tree: %v", err)
	}
	if err := d.View(context.Background(), func(store.View) error { return nil }); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("the store goes on: %v", err)
	}
}
