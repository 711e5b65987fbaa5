//go:build unix

package postgres_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// ledger is what writers were told, outside of the store.
type ledger struct {
	mu   sync.Mutex
	said [][]string // by writer
	n    int
}

func (l *ledger) add(w int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[w] = append(l.said[w], text)
	l.n++
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// more waits until so many more were acknowledged.
func (l *ledger) more(t *testing.T, n int) {
	t.Helper()
	to := l.count() + n
	until(t, fmt.Sprint(n, " more messages are acknowledged"), func() bool { return l.count() >= to })
}

// load has writers append until stop is called, which waits for them. The store may not fail.
func load(t *testing.T, d *postgres.DB, writers int) (l *ledger, stop func()) {
	t.Helper()
	l = &ledger{said: make([][]string, writers)}
	end := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-end:
					return
				default:
				}
				text := fmt.Sprintf("%d %d", w, i)
				if err := do(d, appendText(text)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				l.add(w, text)
			}
		})
	}
	return l, sync.OnceFunc(func() {
		close(end)
		wg.Wait()
	})
}

// holds holds what is there to the ledger: all of it, once, in the order of each writer, and nothing that nobody was told of. For that the store must not have failed.
func (l *ledger) holds(t *testing.T, there []string) {
	t.Helper()
	of := make([][]string, len(l.said))
	for _, text := range there {
		var w, i int
		if _, err := fmt.Sscan(text, &w, &i); err != nil {
			t.Fatal(err)
		}
		of[w] = append(of[w], text)
	}
	for w, said := range l.said {
		if strings.Join(of[w], ",") != strings.Join(said, ",") {
			t.Errorf("writer %d was told of %d messages, and %d are there, or others", w, len(said), len(of[w]))
		}
	}
}

// TestServerStopsWhileItRecovers: the server is stopped as in a crash under load, and again and again while it recovers. A store that is patient enough lives through it: what
// was on its way is learnt, and made again where it is not durable.
func TestServerStopsWhileItRecovers(t *testing.T) {
	server := service.NewPostgres(t, "fsync=off", "full_page_writes=off") // no machine dies
	d := open(t, server.URI("postgres"), func(o *postgres.Options) { o.Lease = time.Minute })
	defer closed(t, d)
	l, stop := load(t, d, 3)
	defer stop()
	for range 2 {
		for range 3 { // segments of the log
			l.more(t, 20)
			server.Exec(t, "SELECT pg_switch_wal()")
		}
		l.more(t, 20)
		server.Stop(t)
		for _, skip := range []int{0, 1, 0} {
			server.CrashInRecovery(t, skip)
		}
		server.Start(t)
		l.more(t, 20)
	}
	stop()
	l.holds(t, log(t, d))
}
