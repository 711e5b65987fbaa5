package jobs_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/test/service"
)

// opening gives the store of a test. Stores that it gives twice may be the same one.
type opening func(testing.TB) store.Store

func inMemory(t testing.TB) store.Store {
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func inFile(t testing.TB) store.Store {
	st, err := sqlite.Open(context.Background(), sqlite.Options{Path: t.TempDir() + "/store.db", Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// processes opens a database of the test's own as so many processes do that share it.
func processes(t testing.TB, n int) []store.Store {
	t.Helper()
	uri := service.Postgres(t)
	all := make([]store.Store, n)
	for i := range all {
		st, err := postgres.Open(context.Background(), postgres.Options{Connection: uri, Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		all[i] = st
	}
	return all
}

// inTurn is a store that processes share: each transaction is another one's than the one before.
type inTurn struct {
	store.Store
	all  []store.Store
	turn *atomic.Int64
}

func (s inTurn) next() store.Store { return s.all[int(s.turn.Add(1))%len(s.all)] }

func (s inTurn) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	return s.next().Submit(c, f)
}

func (s inTurn) View(ctx context.Context, f func(store.View) error) error {
	return s.next().View(ctx, f)
}

// everywhere runs a test on each kind of store: on that of PostgreSQL as two processes that take turns.
func everywhere(t *testing.T, test func(t *testing.T, open opening)) {
	t.Run("memory", func(t *testing.T) { test(t, inMemory) })
	t.Run("sqlite", func(t *testing.T) { test(t, inFile) })
	t.Run("postgres", func(t *testing.T) {
		all := processes(t, 2)
		shared := inTurn{Store: all[0], all: all, turn: new(atomic.Int64)}
		test(t, func(testing.TB) store.Store { return shared })
	})
}

// queues counts those of tests, which may share a store.
var queues atomic.Int64

func queueName() string { return "q" + strconv.FormatInt(queues.Add(1), 10) }
