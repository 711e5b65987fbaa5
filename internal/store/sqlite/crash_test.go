//go:build unix

package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// The environment of the process that is killed.
const (
	childPath = "PENSTOCK_TEST_CHILD" // of its store
	childSeed = "PENSTOCK_TEST_SEED"
	childStop = "PENSTOCK_TEST_STOP" // what it says and then waits to be killed
)

// TestChild is the process that is killed: it tells through a pipe what it does, and what was acknowledged to it.
func TestChild(t *testing.T) {
	path := os.Getenv(childPath)
	if path == "" {
		t.Skip("it is run by other tests")
	}
	out := os.NewFile(3, "ledger")
	seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	stop := os.Getenv(childStop)
	say := func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if _, err := fmt.Fprintln(out, line); err != nil {
			os.Exit(1) // nobody listens any more
		}
		if line == stop {
			select {}
		}
	}
	say("open")
	statements := 0
	d, err := Open(context.Background(), Options{Path: path, Reserve: -1, walSoft: 64 << 10, walHard: 256 << 10, migrating: func(string) error {
		statements++
		say("migrate %d", statements)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	say("opened")
	var commits atomic.Int64
	for i, ch := range []string{"a", "a", "bb", "ccc"} {
		go func() { // publishers; two share a channel
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for {
				class, n := store.Small, 1
				if ch == "ccc" {
					class, n = store.Bulk, 1+random.IntN(200)
				}
				end := int64(0)
				f := publish(ch, n)
				err := d.Submit(class, func(tx store.Tx) error {
					if err := f(tx); err != nil {
						return err
					}
					e, _, err := tx.State().Get(ch, []byte("next"))
					end = e.Due
					return err
				}).Wait(context.Background())
				if err != nil {
					say("error %v", err)
					return
				}
				say("ack %s %d", ch, end)
				commits.Add(1)
			}
		}()
	}
	for round := 0; ; round++ {
		for before := commits.Load(); commits.Load() < before+20; {
			for _, ch := range []string{"a", "bb", "ccc"} {
				if err := submit(d, store.Bulk, func(tx store.Tx) error {
					b, err := tx.Log().Bounds(ch)
					if err == nil {
						_, err = tx.Drop(ch, b.Next-200)
					}
					return err
				}); err != nil {
					say("error %v", err)
				}
			}
		}
		if round%2 == 0 {
			say("compact")
			err = d.Compact(context.Background())
		} else {
			say("backup")
			to := path + ".backup"
			_ = os.Remove(to) // it may not be there
			err = d.Backup(context.Background(), to, BackupOptions{})
		}
		if err != nil {
			say("error %v", err)
		}
	}
}

// child is the process.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	pipe  *os.File
}

func startChild(t *testing.T, path string, seed uint64, stop string) *child {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childPath+"="+path, fmt.Sprint(childSeed, "=", seed), childStop+"="+stop)
	cmd.ExtraFiles = []*os.File{w}
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, lines: bufio.NewScanner(r), pipe: r}
}

// kill ends it, and hears what it said before.
func (c *child) kill(t *testing.T, hear func(string)) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	for c.lines.Scan() {
		hear(c.lines.Text())
	}
	_ = c.cmd.Wait() // it was killed
	if err := c.pipe.Close(); err != nil {
		t.Error(err)
	}
}

// hears notes what is acknowledged.
func (l ledger) hears(t *testing.T, line string) {
	t.Helper()
	if strings.HasPrefix(line, "error") {
		t.Error(line)
	}
	if f := strings.Fields(line); len(f) == 3 && f[0] == "ack" {
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err == nil { // else it was killed while it wrote the line
			l[f[1]] = max(l[f[1]], n)
		}
	}
}

// TestKill kills a process that publishes at random points, also while it opens the store, recovers, checkpoints, compacts and makes a
// backup: everything that was acknowledged is there once, in its order, and agrees with the entries that were written with it.
func TestKill(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, uint64(longer(1))))
	path := newPath(t)
	acked := ledger{}
	check := func() {
		t.Helper()
		d, err := Open(context.Background(), patient(Options{Path: path, Reserve: -1}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := survived(d, acked); err != nil {
			t.Fatal(err)
		}
		r, err := d.Check(context.Background(), nil)
		if err != nil || len(r.Problems) > 0 {
			t.Fatalf("%+v %v", r, err)
		}
		mustClose(t, d)
		if left, _ := filepath.Glob(path + compacting + "*"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		if backup := path + ".backup"; fileSize(backup) > 0 { // it is whole, or not there
			if _, err := Verify(context.Background(), backup, nil); err != nil {
				t.Error(err)
			}
		}
	}
	for kill := range longer(20) {
		at, count := "ack", random.IntN(400)
		switch kill % 5 {
		case 1:
			at, count = []string{"open", "opened"}[random.IntN(2)], 0
		case 3:
			at, count = []string{"compact", "backup"}[random.IntN(2)], 0
		}
		c := startChild(t, path, uint64(kill), "")
		for c.lines.Scan() {
			line := c.lines.Text()
			acked.hears(t, line)
			if strings.HasPrefix(line, at) {
				if count--; count < 0 {
					break
				}
			}
		}
		c.kill(t, func(line string) { acked.hears(t, line) })
		if kill%2 == 1 || t.Failed() { // else the next process recovers, and may be killed while it does
			check()
		}
	}
	check()
	if acked["a"] < 100 {
		t.Errorf("there was not much to lose: %v", acked)
	}
	t.Logf("acknowledged: %v", acked)
}

// TestKillWhileMigrating kills it between the statements that make the tables, and goes on.
func TestKillWhileMigrating(t *testing.T) {
	path := newPath(t)
	for n := 1; n <= len(migrations[0])+1; n++ {
		c := startChild(t, path, 1, fmt.Sprint("migrate ", n))
		for c.lines.Scan() && c.lines.Text() != fmt.Sprint("migrate ", n) {
			if c.lines.Text() == "opened" {
				t.Fatalf("it was not killed at statement %d", n)
			}
		}
		c.kill(t, func(string) {})
	}
	d := mustOpen(t, Options{Path: path})
	mustDo(t, d, publish("a", 1))
	if _, err := survived(d, ledger{"a": 1}); err != nil {
		t.Error(err)
	}
}

// TestSecondProcess is refused while the first lives, and not by its lock when it is dead.
func TestSecondProcess(t *testing.T) {
	path := newPath(t)
	c := startChild(t, path, 1, "opened")
	for c.lines.Scan() && c.lines.Text() != "opened" {
	}
	d, err := Open(context.Background(), Options{Path: path})
	if err == nil {
		mustClose(t, d)
	}
	if penstock.CodeOf(err) != penstock.Config || !strings.Contains(fmt.Sprint(err), fmt.Sprint("of pid ", c.cmd.Process.Pid)) {
		t.Errorf("%v", err)
	}
	c.kill(t, func(string) {})
	mustDo(t, mustOpen(t, Options{Path: path}), publish("a", 1))
}
