package keyset

import (
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

var benchKeys = flag.Int("keyset.keys", 10_000_000, "keys of the set that BenchmarkSQLite begins with")

// later keeps what a transaction is to do.
type later []operation

type operation struct {
	e      store.Entry
	delete bool
}

func (l *later) Put(key, value []byte, due int64) {
	*l = append(*l, operation{e: store.Entry{Key: append([]byte{}, key...), Value: append([]byte{}, value...), Due: due}})
}
func (l *later) Delete(key []byte) {
	*l = append(*l, operation{e: store.Entry{Key: append([]byte{}, key...)}, delete: true})
}

func (l later) run(tx store.Tx) error {
	for _, c := range l {
		var err error
		if c.delete {
			err = tx.Delete("x", c.e.Key)
		} else {
			err = tx.Put("x", c.e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writer makes transactions of batches, one of them on its way at a time, as a flow's committer does.
type writer struct {
	b       *testing.B
	db      *sqlite.DB
	s       *Set
	keys    []Key
	added   []bool
	on      *store.Commit
	slowest time.Duration
}

func (w *writer) add(n int, key func() int) {
	began := time.Now()
	w.keys = w.keys[:0]
	for range n {
		w.keys = append(w.keys, Key{Sum(number(key())), 1})
	}
	var l later
	var err error
	if w.added, err = w.s.Add(context.Background(), &l, time.UnixMilli(1), w.keys, w.added[:0]); err != nil {
		w.b.Fatal(err)
	}
	if _, err := w.s.Maintain(context.Background(), &l); err != nil {
		w.b.Fatal(err)
	}
	w.wait()
	w.on = w.db.Submit(store.Bulk, l.run)
	w.slowest = max(w.slowest, time.Since(began))
}

func (w *writer) wait() {
	if w.on != nil {
		if err := w.on.Wait(context.Background()); err != nil {
			w.b.Fatal(err)
		}
	}
}

// BenchmarkSQLite adds keys, new ones and duplicates, to a set of 10 million in the embedded store:
// go test -run - -bench SQLite -benchtime 2s ./internal/store/keyset
func BenchmarkSQLite(b *testing.B) {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	s, err := Open(ctx, db, "x", Options{})
	if err != nil {
		b.Fatal(err)
	}
	w := &writer{b: b, db: db, s: s}
	n := 0
	fresh := func() int { n++; return n }
	began := time.Now()
	for n < *benchKeys {
		w.add(2000, fresh)
	}
	w.wait()
	b.Logf("%d keys in %s, slowest transaction %s, %+v", n, time.Since(began), w.slowest, s.Stats())
	began = time.Now()
	if w.s, err = Open(ctx, db, "x", Options{}); err != nil {
		b.Fatal(err)
	}
	b.Logf("opened in %s", time.Since(began))
	r := rand.New(rand.NewPCG(1, 2))
	for name, key := range map[string]func() int{"new": fresh, "duplicates": func() int { return 1 + r.IntN(*benchKeys) }} {
		for _, size := range []int{100, 2000} {
			b.Run(name+map[int]string{100: "100", 2000: "2000"}[size], func(b *testing.B) {
				w.b, w.slowest = b, 0
				for b.Loop() {
					w.add(size, key)
				}
				w.wait()
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "keys/s")
				b.ReportMetric(float64(w.slowest.Milliseconds()), "ms-slowest")
			})
		}
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.Logf("heap %d MiB, %+v", m.HeapAlloc>>20, w.s.Stats())
}
