package crash_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestSharedUnaskedIsKilled has two processes, each with a store of its own, read by one consumer of NATS, though nobody has said that it is shared, and kills them in turn.
// What one had and had not done when it was killed lies before the position that the other has kept, and is worked on nevertheless: together they have everything.
//
// An ordinary run kills 4 times; PENSTOCK_CRASHES=50 so many times.
func TestSharedUnaskedIsKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
	connection, from, broker := natsArrivals(t)
	var dirs [2]string
	for i := range dirs {
		dirs[i] = t.TempDir()
		if err := os.WriteFile(filepath.Join(dirs[i], "flow.yaml"), fmt.Appendf(nil, arrivalFlow, connection, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(i int, more ...string) *exec.Cmd {
		cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
		cmd.Dir = dirs[i]
		return cmd
	}
	random := rand.New(rand.NewPCG(uint64(seed), 7))
	lives := [2]*process{start(t, command(0)), start(t, command(1))}
	sent := 0
	for i := range kills {
		const n = 60
		published := make(chan error, 1)
		go func() { published <- broker.publish(sent, n) }()
		who := i % 2
		if !lives[who].lives(300*time.Millisecond + time.Duration(random.Int64N(int64(900*time.Millisecond)))) {
			t.Fatalf("the flow ended:\n%s", lives[who].said.String())
		}
		lives[who].kill()
		lives[who] = start(t, command(who))
		if err := <-published; err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	for _, p := range lives {
		p.kill()
	}
	start(t, command(0, "--once")).wait()
	var all []string
	for _, dir := range dirs {
		inspect(t, filepath.Join(dir, "store.db"), func(v reader) {
			for _, b := range v.bodies("halves") {
				all = append(all, string(b))
			}
		})
	}
	checkHalves(t, kills, sent, all, false)
}
