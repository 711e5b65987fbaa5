package entity_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/internal/store/sqlite"
)

// TestCommandsAllocateLittle holds a command to a ceiling: the evaluation, the event, the state, and its part of a transaction.
func TestCommandsAllocateLittle(t *testing.T) {
	w := newWorld(t, accounts, memory.New())
	w.do("deposit", "a", `{"amount":1}`)
	data := []byte(`{"amount":1}`)
	buf := make([]byte, 0, 1024)
	n := testing.AllocsPerRun(200, func() {
		if _, err := w.x.Command(t.Context(), buf, entity.Request{Command: "deposit", Key: "a", Data: data, Expect: -1}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations", n)
	if n > 80 { // 72 were measured, and 76 with the race detector
		t.Errorf("%.0f allocations a command", n)
	}
}

// BenchmarkCommands has many writers ask different entities, one event each.
func BenchmarkCommands(b *testing.B) {
	db, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "store.db"), Reserve: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	w := newWorld(b, accounts, db)
	for _, keys := range []int{1, 64, 10_000} {
		for _, writers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("keys=%d/writers=%d", keys, writers), func(b *testing.B) {
				var next atomic.Int64
				took := make([]time.Duration, b.N)
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						buf := make([]byte, 0, 1024)
						for {
							i := next.Add(1) - 1
							if int(i) >= b.N {
								return
							}
							at := time.Now()
							_, err := w.x.Command(b.Context(), buf, entity.Request{Command: "deposit", Key: fmt.Sprint("k", i%int64(keys)), Data: []byte(`{"amount":1}`), Cause: fmt.Sprint(os.Getpid(), b.N, writers, keys, i), Expect: -1})
							if err != nil {
								b.Error(err)
								return
							}
							took[i] = time.Since(at)
						}
					})
				}
				wg.Wait()
				sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
				b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
			})
		}
	}
}
