package view_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/test/service"
)

// inlineVictimEnv names the store of the process that is killed.
const inlineVictimEnv = "PENSTOCK_INLINE_VICTIM"

// TestInlineVictim is the process that is killed: it does commands without end, and says of each what it came to.
func TestInlineVictim(t *testing.T) {
	path := os.Getenv(inlineVictimEnv)
	if path == "" {
		t.Skip("it is started by TestInlineRowsAreThereAfterAKill")
	}
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := newBank(t, db, purses+sums)
	if err := b.e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for {
				key := fmt.Sprint("k", g, "-", r.IntN(3))
				if err := b.do([]string{"put", "twice", "empty"}[min(r.IntN(10), 2)], key, r.IntN(9)); err != nil {
					t.Error(err)
					return
				}
				row := b.sum(key)
				mu.Lock()
				fmt.Fprintf(os.Stdout, "done %s %d\n", key, row)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestInlineRowsAreThereAfterAKill kills a process at any moment, again and again: the rows that the store has are what its events come to, by which the row of each command that was
// acknowledged is there.
func TestInlineRowsAreThereAfterAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills processes")
	}
	path := filepath.Join(t.TempDir(), "store.db")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestInlineVictim$", "-test.v=false")
		cmd.Env = append(os.Environ(), inlineVictimEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		left := 20 + rng.IntN(300)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !strings.HasPrefix(lines.Text(), "done ") {
				t.Error(lines.Text())
			}
			if left--; left == 0 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait() // it was killed
		if left > 0 {
			t.Fatal("it ended by itself")
		}
		db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		rowsAreFolded(t, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// rowsAreFolded holds the rows that lie in a store, which nobody has brought on, to its events.
func rowsAreFolded(t *testing.T, st store.Store) {
	t.Helper()
	want := map[string]int{}
	err := entity.List(t.Context(), st, entity.Listing{Entity: "purse"}, func(e *entity.Listed) error {
		var n int
		if _, err := fmt.Sscanf(string(e.Data), `{"amount":%d}`, &n); err != nil {
			return err
		}
		if e.Type == "Emptied" {
			delete(want, e.Key)
		} else {
			want[e.Key] += n
		}
		return nil
	})
	if err != nil || len(want) == 0 {
		t.Fatalf("%d keys, %v", len(want), err)
	}
	found := 0
	err = st.View(t.Context(), func(v store.View) error {
		spaces, err := v.State().Spaces("view/sums@1")
		for _, s := range spaces {
			if strings.HasSuffix(s.Name, "/at") {
				continue
			}
			rows, err := v.State().Scan(s.Name, nil, 10_000)
			if err != nil {
				return err
			}
			for _, e := range rows {
				found++
				if is, there := want[string(e.Key)]; !there || sumIn(t, e.Value) != is {
					t.Errorf("the row of %s is %s, and the events come to %d", e.Key, e.Value, is)
				}
			}
		}
		return err
	})
	if err != nil || found != len(want) {
		t.Fatalf("%d rows, and the events come to %d, %v", found, len(want), err)
	}
}

// TestInlineOnPostgreSQL: two processes share a store; each sees in the rows what the other's commands did, at once. Rows are built anew meanwhile.
func TestInlineOnPostgreSQL(t *testing.T) {
	uri := service.Postgres(t)
	open := func() store.Store {
		st, err := postgres.Open(t.Context(), postgres.Options{Connection: uri, Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		return st
	}
	a, b := newBank(t, open(), purses+sums), newBank(t, open(), purses+sums)
	drain(t, a.e)
	drain(t, b.e)
	want := 0
	for i := range 40 {
		one, other := a, b
		if i%2 == 1 {
			one, other = b, a
		}
		key := fmt.Sprint("k", i%7)
		one.must("put", key, 1)
		one.must("put", "all", 1)
		want++
		if got := other.sum("all"); got != want {
			t.Fatalf("all has %d of %d", got, want)
		}
		if got := other.sum(key); got != i/7+1 {
			t.Fatalf("%s has %d of %d", key, got, i/7+1)
		}
		if i == 20 {
			if err := a.e.Rebuild(t.Context(), "sums"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.e.Built(t.Context(), "sums"); err != nil {
		t.Fatal(err)
	}
	page, err := b.e.Find(t.Context(), "sums", "all", nil, "")
	if err != nil || len(page.Rows) != 8 || page.Rows[0].Key != "all" || page.Rows[7].Key != "k6" {
		t.Fatalf("%v, %v", page.Rows, err)
	}
}
