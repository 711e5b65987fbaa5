package crash_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// victim is a project that watches a folder, and is killed.
type victim struct {
	t       *testing.T
	random  *rand.Rand
	files   map[string][]byte // that come into the folder, in the order of their names
	drop    string
	beside  string // where files stand before they are moved to drop
	store   string
	usual   time.Duration // what a run that is not killed takes
	command func(once bool) *exec.Cmd
	hits    hits
}

// hits counts the kills by what they hit.
type hits struct{ early, later, ended int }

func (h hits) String() string {
	return fmt.Sprintf("killed before the store was written to: %d, later: %d; ended before the kill: %d", h.early, h.later, h.ended)
}

func newVictim(t *testing.T, dir string, seed uint64) victim {
	v := victim{
		t: t, random: rand.New(rand.NewPCG(seed, 2)), files: map[string][]byte{},
		drop: filepath.Join(dir, "drop"), beside: filepath.Join(dir, "beside"),
	}
	for _, folder := range []string{v.drop, v.beside} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// killed kills up to so often, and says how often it did. In the first two thirds files still come, in any of the lives; then the
// flows are let come to their end, and are killed on the way. The last life ends by itself. Now and then look is given the store
// between two lives; else the next life is the first to see what the one before has left.
func (v *victim) killed(kills int, look func(reader)) (done int) {
	v.t.Helper()
	pending := slices.Sorted(maps.Keys(v.files))
	coming := max(1, kills*2/3)
	for i := range kills {
		if i >= coming {
			if v.kill(nil, true) {
				break
			}
			done++
			continue
		}
		done++
		n := v.random.IntN(2*len(pending)/(coming-i) + 1)
		if i == coming-1 {
			n = len(pending)
		}
		v.kill(pending[:n], false)
		pending = pending[n:]
		if v.random.IntN(2) == 0 {
			inspect(v.t, v.store, look)
		}
	}
	start(v.t, v.command(true)).wait()
	return done
}

// kill starts the flows, brings some files while they run, and kills them. With once they may come to their end before; then it is true.
func (v *victim) kill(files []string, once bool) (ended bool) {
	v.t.Helper()
	until := time.Duration(v.random.Int64N(int64(v.usual)))
	if v.random.IntN(4) == 0 {
		until = time.Duration(v.random.Int64N(int64(40 * time.Millisecond)))
	}
	gently := v.random.IntN(6) == 0
	var delays []time.Duration
	for range files {
		delays = append(delays, time.Duration(v.random.Int64N(int64(until)+1)))
	}
	slices.Sort(delays)
	p := start(v.t, v.command(once))
	began := time.Now()
	for i, name := range files {
		if !p.lives(delays[i] - time.Since(began)) {
			v.t.Fatalf("the flows ended, though the folder is watched:\n%s", p.said.String())
		}
		v.bring(name)
	}
	if !p.lives(until - time.Since(began)) {
		if !once {
			v.t.Fatalf("the flows ended, though the folder is watched:\n%s", p.said.String())
		}
		v.hits.ended++
		return true
	}
	if gently { // a stop that is killed, too
		p.stop()
		p.lives(time.Duration(v.random.Int64N(int64(v.usual))))
	}
	p.kill()
	v.hit()
	return false
}

// bring moves a file to the folder that is watched.
func (v *victim) bring(name string) {
	v.t.Helper()
	path := filepath.Join(v.beside, name)
	if err := os.WriteFile(path, v.files[name], 0o600); err != nil {
		v.t.Fatal(err)
	}
	if err := os.Rename(path, filepath.Join(v.drop, name)); err != nil {
		v.t.Fatal(err)
	}
}

// hit tells, from what is written, what the kill hit: for the log only.
func (v *victim) hit() {
	if wal, err := os.Stat(v.store + "-wal"); err != nil || wal.Size() == 0 {
		v.hits.early++
	} else {
		v.hits.later++
	}
}
