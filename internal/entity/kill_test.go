package entity_test

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
	"penstock.dev/penstock/internal/store/sqlite"
)

// victimEnv names the store of the process that is killed, and the round.
const victimEnv = "PENSTOCK_ENTITY_VICTIM"

// TestVictim is the process that is killed: it does commands without end, and says of each before that it begins, and afterwards that it is done.
func TestVictim(t *testing.T) {
	path, round, ok := strings.Cut(os.Getenv(victimEnv), "|")
	if !ok {
		t.Skip("it is started by TestWhatIsAcknowledgedIsThereAfterAKill")
	}
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, accounts, db)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				cause, key := fmt.Sprintf("%s-%d-%d", round, g, i), fmt.Sprint("k", (g+i)%5)
				say("begin %s", cause)
				r, err := w.try(entity.Request{Command: "deposit", Key: key, Data: fmt.Appendf(nil, `{"amount":%d}`, i%7), Cause: cause, Expect: -1})
				if err != nil {
					t.Error(err)
					return
				}
				say("done %s %s %d", cause, key, r.Version)
			}
		})
	}
	wg.Wait()
}

// TestWhatIsAcknowledgedIsThereAfterAKill kills a process at any moment, again and again, and holds the store to what an outside ledger knows:
// what was acknowledged is there, once, under its version; nothing is there that was not asked for; versions have no gaps; the state is what the
// events come to; the chain holds.
func TestWhatIsAcknowledgedIsThereAfterAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills processes")
	}
	path := filepath.Join(t.TempDir(), "store.db")
	begun, done := map[string]bool{}, map[string]string{}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v=false")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", victimEnv, path, round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		left := 20 + rng.IntN(400)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			f := strings.Fields(lines.Text())
			switch {
			case len(f) == 2 && f[0] == "begin":
				begun[f[1]] = true
			case len(f) == 4 && f[0] == "done":
				done[f[1]] = f[2] + "/" + f[3]
				if left--; left == 0 {
					_ = cmd.Process.Kill()
				}
			case len(f) > 0:
				t.Fatal(lines.Text())
			}
		}
		_ = cmd.Wait() // it was killed
		if left > 0 {
			t.Fatal("it ended by itself")
		}
		holdsWhatWasAcknowledged(t, path, begun, done)
	}
}

func holdsWhatWasAcknowledged(t *testing.T, path string, begun map[string]bool, done map[string]string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	w := newWorld(t, accounts, db)
	there := map[string]string{}
	sums := map[string][2]int{}
	err = entity.List(t.Context(), db, entity.Listing{Entity: "account"}, func(e *entity.Listed) error {
		if !begun[e.Cause] {
			t.Errorf("nobody asked for %s", e.Cause)
		}
		if there[e.Cause] != "" {
			t.Errorf("%s is there twice", e.Cause)
		}
		there[e.Cause] = fmt.Sprintf("%s/%d", e.Key, e.Version)
		s := sums[e.Key]
		if e.Version != int64(s[0]+1) {
			t.Errorf("version %d of %s stands behind %d", e.Version, e.Key, s[0])
		}
		var n int
		if _, err := fmt.Sscanf(string(e.Data), `{"amount":%d}`, &n); err != nil {
			t.Error(err)
		}
		sums[e.Key] = [2]int{s[0] + 1, s[1] + n}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for cause, at := range done {
		if there[cause] != at {
			t.Errorf("%s was acknowledged as %s, and is %q", cause, at, there[cause])
		}
	}
	for key, s := range sums {
		if got, want := w.state(key, entity.AsOf{}), fmt.Sprintf(`%d {"balance":%d}`, s[0], s[1]); got != want {
			t.Errorf("%s: %s, and the events come to %s", key, got, want)
		}
	}
	if v := w.verified(); len(v.Broken) > 0 || int(v.Events) != len(there) {
		t.Errorf("%+v", v)
	}
}
