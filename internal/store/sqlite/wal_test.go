package sqlite

import (
	"context"
	"errors"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestLogIsBounded writes much more than the log may hold, with and without a reader that is held open.
func TestLogIsBounded(t *testing.T) {
	const soft, hard = 256 << 10, 1 << 20
	for _, reader := range []bool{false, true} {
		d := mustOpen(t, Options{Path: newPath(t), walSoft: soft, walHard: hard,
			afterFunc: func(time.Duration, func()) func() bool { return func() bool { return true } }}) // the bound has to do it
		mustDo(t, d, putEntry("s", "k", []byte("v")))
		opened, written, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			result <- d.View(context.Background(), func(v store.View) error {
				_, _, err := v.State().Get("s", []byte("k"))
				close(opened)
				if err != nil || !reader {
					return err
				}
				<-written
				_, _, err = v.State().Get("s", []byte("k"))
				return err
			})
		}()
		<-opened
		peak := int64(0)
		for range 200 {
			if err := submit(d, store.Bulk, appendMessage("c", 60<<10)); err != nil {
				t.Fatal(err)
			}
			peak = max(peak, d.Stats().WALBytes)
		}
		close(written)
		err := <-result
		if reader && penstock.CodeOf(err) != penstock.Timeout {
			t.Errorf("the reader was not cancelled: %v", err)
		}
		if !reader && err != nil {
			t.Error(err)
		}
		if peak > 3*hard {
			t.Errorf("reader %v: the log had %d bytes, with a bound of %d", reader, peak, hard)
		}
		// And reading goes on.
		if err := d.View(context.Background(), func(v store.View) error { _, err := v.Log().Bounds("c"); return err }); err != nil {
			t.Error(err)
		}
		mustClose(t, d)
	}
}

// TestViewIsCancelled moves the timer of a view.
func TestViewIsCancelled(t *testing.T) {
	var expire func()
	d := mustOpen(t, Options{Path: newPath(t), afterFunc: func(after time.Duration, f func()) func() bool {
		if after != store.MaxView {
			t.Errorf("a view may last %s", after)
		}
		expire = f
		return func() bool { return true }
	}})
	mustDo(t, d, putEntry("s", "k", []byte("v")))
	for range 2 * viewConns { // a view that was cancelled gives its connection back
		err := d.View(context.Background(), func(v store.View) error {
			if _, ok, err := v.State().Get("s", []byte("k")); err != nil || !ok {
				t.Errorf("%v %v", ok, err)
			}
			expire()
			_, _, err := v.State().Get("s", []byte("k"))
			return err
		})
		if penstock.CodeOf(err) != penstock.Timeout || !errors.Is(err, context.DeadlineExceeded) { // its readers look for either
			t.Errorf("%v", err)
		}
	}
}

// TestSweeping drops and clears more than goes with one commit, and looks for it in the file.
func TestSweeping(t *testing.T) {
	path := newPath(t)
	d := mustOpen(t, Options{Path: path})
	const n = 3 * sweepRows
	for range n {
		d.Submit(store.Bulk, func(tx store.Tx) error {
			_, err := tx.Log().Bounds("c") // it makes segments of its own
			if err == nil {
				err = appendMessage("c", 5000)(tx)
			}
			return err
		})
	}
	mustDo(t, d, func(tx store.Tx) error {
		for i := range 3 * sweepEntries {
			if err := tx.Put("s", store.Entry{Key: []byte{byte(i >> 8), byte(i)}, Due: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	if err := submit(d, store.Bulk, func(tx store.Tx) error {
		dropped, err := tx.Drop("c", n-1)
		if dropped != n-1 {
			t.Errorf("%d dropped", dropped)
		}
		if err == nil {
			err = tx.Clear("s")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	// It ends by itself: at the end of one run, or after the next start.
	d = mustOpen(t, Options{Path: path})
	for left := int64(1); left > 0; {
		if err := d.exclusive(func(w *conn) (err error) {
			left, err = w.number("SELECT (SELECT count(*) FROM segment WHERE (id & 0x3fffffffffff) < 767) + (SELECT count(*) FROM state) + (SELECT count(*) FROM space)")
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	b := store.Bounds{}
	if err := d.View(context.Background(), func(v store.View) (err error) { b, err = v.Log().Bounds("c"); return err }); err != nil {
		t.Fatal(err)
	}
	if b.First != n-1 || b.Next != n || b.Segments != 1 {
		t.Errorf("%+v", b)
	}
}

// TestAllocations holds the hot path of a single message.
func TestAllocations(t *testing.T) {
	d := mustOpen(t, Options{Path: newPath(t)})
	f := appendMessage("c", 300)
	mustDo(t, d, f)
	if n := testing.AllocsPerRun(200, func() {
		if err := d.Submit(store.Small, f).Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
	}); n > 40 {
		t.Errorf("%v allocations for a commit of one message", n)
	}
}
