package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestSoak writes and drops, beside readers that hold on to their snapshots and do nothing: log and file stay as large as they are after a
// while. PENSTOCK_FAULTS makes it longer.
func TestSoak(t *testing.T) {
	t.Parallel()
	const soft, hard = 256 << 10, 1 << 20
	// The second that a snapshot may last ends when the test says so.
	var (
		mu     sync.Mutex
		expire = map[int]func(){}
		views  int
	)
	d := mustOpen(t, Options{Path: newPath(t), walSoft: soft, walHard: hard, Reserve: -1, afterFunc: func(_ time.Duration, f func()) func() bool {
		mu.Lock()
		defer mu.Unlock()
		views++
		n := views
		expire[n] = f
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			delete(expire, n)
			return true
		}
	}})
	mustDo(t, d, publish("a", 10))
	end, beat := make(chan struct{}), make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				err := d.View(context.Background(), func(v store.View) error {
					_, err := v.Log().Bounds("a")
					if err != nil {
						return err
					}
					for { // frozen: it looks again and again, until it is told that it has ended
						if _, err := v.Log().Bounds("a"); err != nil {
							return err
						}
						select {
						case <-end:
							return nil
						case <-beat:
						}
					}
				})
				select {
				case <-end:
					if err != nil && penstock.CodeOf(err) != penstock.Timeout {
						t.Error(err)
					}
					return
				default:
				}
				if penstock.CodeOf(err) != penstock.Timeout {
					t.Errorf("a reader that is frozen ended with %v", err)
				}
			}
		})
	}
	rounds := longer(600)
	half, whole, peak := int64(0), int64(0), int64(0)
	for i := range rounds {
		err := submit(d, store.Bulk, publish("a", 100))
		if i%10 == 9 {
			err = errors.Join(err, submit(d, store.Small, func(tx store.Tx) error {
				b, err := tx.Log().Bounds("a")
				if err == nil {
					_, err = tx.Drop("a", b.Next-1000)
				}
				return err
			}))
		}
		if err != nil {
			t.Error(err)
			break
		}
		if i%100 == 99 { // a second is over
			mu.Lock()
			over := expire
			expire = map[int]func(){}
			mu.Unlock()
			for _, f := range over {
				f()
			}
		}
		if i%5 == 0 {
			select {
			case beat <- struct{}{}:
			default:
			}
		}
		s := d.Stats()
		peak = max(peak, s.WALBytes)
		if i < rounds/2 {
			half = max(half, s.FileBytes)
		}
		whole = max(whole, s.FileBytes)
	}
	close(end)
	readers.Wait()
	if peak > 3*hard {
		t.Errorf("the log had %d bytes, with a bound of %d", peak, hard)
	}
	if whole > half*11/10 {
		t.Errorf("the file grew from %d to %d bytes", half, whole)
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d views; the log had %d bytes at most, the file %d, and %d in the first half; %d were written", views, peak, whole, half, d.Stats().Bytes)
}
