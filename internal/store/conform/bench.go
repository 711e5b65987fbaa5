package conform

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
)

// Bench measures messages of 300 bytes, durable before they are acknowledged.
func Bench(b *testing.B, h Harness) {
	b.Run("publishers=64", func(b *testing.B) { publishers(b, h(b)()) })
	b.Run("bundles=1000", func(b *testing.B) { bundles(b, h(b)()) })
	b.Run("small beside bulk", func(b *testing.B) { beside(b, h(b)()) })
	b.Run("catching up", func(b *testing.B) { catchUp(b, h(b)()) })
	b.Run("new keys", func(b *testing.B) { newKeys(b, h(b)()) })
}

const messageSize = 300

// sample makes a bundle of messages of random bytes.
func sample(n int) store.Bundle {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := store.Bundle{N: n, MinTime: 1, MaxTime: 2}
	m := make([]byte, messageSize)
	for range n {
		for i := range m {
			m[i] = byte(rnd.Uint32())
		}
		b.Data = store.AppendFrame(b.Data, m)
	}
	return b
}

func appendBundle(channel string, data store.Bundle) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Append(channel, data)
		return err
	}
}

func finish(b *testing.B, s store.Store) {
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

func perSecond(b *testing.B, n int64, what string) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), what+"/s")
}

// publishers: each waits for its message before it sends the next one.
func publishers(b *testing.B, s store.Store) {
	data := sample(1)
	const n = 64
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := s.Submit(store.Small, appendBundle("c", data)).Wait(context.Background()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	perSecond(b, int64(b.N), "msgs")
	st := s.Stats()
	b.ReportMetric(float64(st.Transactions)/float64(st.Commits), "tx/commit")
	b.ReportMetric(float64(st.WALBytes)/1e6, "wal-MB")
	finish(b, s)
}

// bundles: one flow with a few transactions on their way.
func bundles(b *testing.B, s store.Store) {
	data := sample(1000)
	b.ResetTimer()
	flow(b, s, b.N, data, nil)
	perSecond(b, int64(b.N)*1000, "msgs")
	st := s.Stats()
	b.ReportMetric(float64(st.Transactions)/float64(st.Commits), "tx/commit")
	b.ReportMetric(float64(st.WALBytes)/1e6, "wal-MB")
	finish(b, s)
}

// flow appends bundles with four on their way, n times or until it is stopped.
func flow(b *testing.B, s store.Store, n int, data store.Bundle, stop <-chan struct{}) {
	var window []*store.Commit
	take := func() {
		if err := window[0].Wait(context.Background()); err != nil {
			b.Error(err)
		}
		window = window[1:]
	}
	for i := 0; stop != nil || i < n; i++ {
		select {
		case <-stop:
			stop, n = nil, 0
			continue
		default:
		}
		window = append(window, s.Submit(store.Bulk, appendBundle("bulk", data)))
		if len(window) >= 4 {
			take()
		}
	}
	for len(window) > 0 {
		take()
	}
}

// beside: 16 sagas, each a step after the other, beside a channel that is written as fast as it goes.
func beside(b *testing.B, s store.Store) {
	stop := make(chan struct{})
	var bulk sync.WaitGroup
	bulk.Go(func() { flow(b, s, 0, sample(1000), stop) })
	const sagas = 16
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, sagas)
	event := sample(1)
	b.ResetTimer()
	bulkBefore := s.Stats().Messages
	var wg sync.WaitGroup
	for w := range sagas {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(w)))
			value := make([]byte, 200)
			for left.Add(-1) >= 0 {
				key := fmt.Appendf(nil, "saga-%08d", rnd.IntN(100_000))
				began := time.Now()
				err := s.Submit(store.Small, func(tx store.Tx) error {
					if _, _, err := tx.State().Get("sagas", key); err != nil {
						return err
					}
					if err := tx.Put("sagas", store.Entry{Key: key, Value: value, Due: rnd.Int64N(1e9) + 1}); err != nil {
						return err
					}
					_, err := tx.Append("events", event)
					return err
				}).Wait(context.Background())
				took[w] = append(took[w], time.Since(began))
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	perSecond(b, int64(b.N), "sagas")
	perSecond(b, s.Stats().Messages-bulkBefore-int64(b.N), "bulk-msgs")
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "max-ms")
	close(stop)
	bulk.Wait()
	finish(b, s)
}

// catchUp: a reader that is far behind.
func catchUp(b *testing.B, s store.Store) {
	const bulks = 1000
	flow(b, s, bulks, sample(1000), nil)
	b.ResetTimer()
	var n int64
	for range b.N {
		for next := int64(0); next < bulks*1000; {
			err := s.View(context.Background(), func(v store.View) error {
				all, err := v.Log().Segments("bulk", next, 1<<20)
				for _, g := range all {
					n += int64(g.N)
					next = g.End()
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	perSecond(b, n, "msgs")
	finish(b, s)
}

// newKeys: 1000 random keys a transaction, as a dedupe has them.
func newKeys(b *testing.B, s store.Store) {
	rnd := rand.New(rand.NewPCG(5, 6))
	b.ResetTimer()
	for range b.N {
		keys := make([]byte, 16*1000)
		for i := 0; i < len(keys); i += 8 {
			binary.LittleEndian.PutUint64(keys[i:], rnd.Uint64())
		}
		err := s.Submit(store.Bulk, func(tx store.Tx) error {
			for i := 0; i < len(keys); i += 16 {
				k := keys[i : i+16]
				if _, ok, err := tx.State().Get("keys", k); ok || err != nil {
					return err
				}
				if err := tx.Put("keys", store.Entry{Key: k, Due: rnd.Int64()}); err != nil {
					return err
				}
			}
			return nil
		}).Wait(context.Background())
		if err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b, int64(b.N)*1000, "keys")
	finish(b, s)
}
