package sqlite

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestCheckWhileWriting finds nothing in a store that is right, however much it changes between two snapshots.
func TestCheckWhileWriting(t *testing.T) {
	d := mustOpen(t, Options{Path: newPath(t), walSoft: 256 << 10, walHard: 1 << 20})
	end := make(chan struct{})
	var writers sync.WaitGroup
	defer writers.Wait()
	defer close(end)
	for _, ch := range []string{"a", "bb"} {
		mustDo(t, d, publish(ch, 200))
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-end:
					return
				default:
				}
				err := submit(d, store.Small, publish(ch, 1+i%7))
				if i%5 == 0 {
					err = errors.Join(err, submit(d, store.Bulk, func(tx store.Tx) error {
						b, err := tx.Log().Bounds(ch)
						if err == nil {
							_, err = tx.Drop(ch, b.Next-100)
						}
						return err
					}))
				}
				if i%20 == 0 {
					err = errors.Join(err, submit(d, store.Small, func(tx store.Tx) error {
						return errors.Join(tx.Clear("cleared"), tx.Put("cleared", store.Entry{Key: []byte{byte(i)}}))
					}))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, most := range []int{checkBytes, 5000, 500, 1} {
		k := d.checker(nil)
		k.most = most
		if err := d.checkLive(context.Background(), k); err != nil {
			t.Error(err)
		}
		if len(k.rep.Problems) > 0 {
			t.Errorf("slices of %d bytes: %q", most, k.rep.Problems)
		}
		if k.rep.Segments == 0 || k.rep.Channels != 2 {
			t.Errorf("%+v", k.rep)
		}
	}
}

// TestCheckFinds what no page and no checksum shows.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct{ do, want string }{
		{"DELETE FROM segment WHERE id = (SELECT id FROM segment ORDER BY id LIMIT 1 OFFSET 1)", "messages 3 to 5 of channel a are missing"},
		{"DELETE FROM segment WHERE id = (SELECT id FROM segment ORDER BY id LIMIT 1)", "messages 0 to 2 of channel a are missing"},
		{"DELETE FROM channel", "messages of channel number 1, and no such channel"},
		{"DELETE FROM space WHERE name = 'a'", "entries of space number 1, and no such space"},
		{"DELETE FROM state WHERE key = CAST('next' AS BLOB)", "space a has 0 entries of 0 bytes, and should have 1"},
		{"UPDATE segment SET n = n + 1 WHERE id = (SELECT max(id) FROM segment)", "are not what was written"},
		{"UPDATE state SET due = due + 1", "is not what was written"},
		{"UPDATE channel SET next = next + 1", "the positions of channel"},
		{"UPDATE space SET name = 'other' WHERE name = 'a'", "the counts of space"},
		{"DROP INDEX state_due", "the definitions of the tables"},
	} {
		d := mustOpen(t, Options{Path: newPath(t)})
		for range 3 {
			mustDo(t, d, publish("a", 3))
		}
		if err := d.exclusive(func(w *conn) error { return w.text(c.do) }); err != nil {
			t.Fatal(err)
		}
		r, err := d.Check(context.Background(), nil)
		if err != nil || len(r.Problems) == 0 || !strings.Contains(r.Problems[0], c.want) || !strings.Contains(r.Problems[0], "backup restore") {
			t.Errorf("%s: %+v %v", c.do, r, err)
		}
	}
}

func TestCheckEnds(t *testing.T) {
	d := mustOpen(t, Options{Path: newPath(t)})
	mustDo(t, d, publish("a", 3))
	stop := errors.New("enough")
	if _, err := d.Check(context.Background(), func(int64, int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if _, err := d.Check(ctx, nil); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	mem := mustOpen(t, Options{Path: Memory})
	mustDo(t, mem, publish("a", 3))
	if r, err := mem.Check(context.Background(), nil); err != nil || len(r.Problems) > 0 || r.Messages != 3 {
		t.Errorf("%+v %v", r, err)
	}
	mustClose(t, d)
	if _, err := d.Check(context.Background(), nil); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("%v", err)
	}
}
