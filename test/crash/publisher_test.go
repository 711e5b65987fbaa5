package crash_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// publisherEnv tells this binary that it is to publish: the path of the store. Descriptor 3 is the outside ledger.
const publisherEnv = "PENSTOCK_CRASH_PUBLISHER"

const (
	publishers = 6
	onTheirWay = 8 // transactions of each publisher that were submitted and are not durable yet
	sentSpace  = "sent"
)

// publish appends numbered messages to a store, several at a time, until it is killed. Each transaction of publisher p writes the next number to
// channel all, every third one to channel third, too, and remembers it. Before it submits a number it writes `s p n` to the ledger, and
// after it is durable `a p n`.
func publish(path string, ledger io.Writer) error {
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for p := range publishers {
		go func() { failed <- publishOne(db, p, ledger) }()
	}
	return <-failed
}

func publishOne(db store.Store, p int, ledger io.Writer) error {
	type sent struct {
		n int64
		c *store.Commit
	}
	commits := make(chan sent, onTheirWay)
	failed := make(chan error, 1)
	go func() {
		for s := range commits {
			err := s.c.Wait(context.Background())
			if err == nil {
				_, err = fmt.Fprintf(ledger, "a %d %d\n", p, s.n)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	var n int64
	err := db.View(context.Background(), func(v store.View) error {
		e, ok, err := v.State().Get(sentSpace, []byte(strconv.Itoa(p)))
		if ok {
			n = int64(binary.BigEndian.Uint64(e.Value)) + 1
		}
		return err
	})
	if err != nil {
		return err
	}
	class := store.Class(p % 2)
	for n := n; ; n++ { // each its own
		if _, err := fmt.Fprintf(ledger, "s %d %d\n", p, n); err != nil {
			return err
		}
		c := db.Submit(class, func(tx store.Tx) error { return publishTx(tx, p, n) })
		select {
		case commits <- sent{n, c}:
		case err := <-failed:
			return err
		}
	}
}

func publishTx(tx store.Tx, p int, n int64) error {
	b := store.Bundle{N: 1, Data: store.AppendFrame(nil, fmt.Appendf(nil, "%d %d", p, n)), MinTime: n, MaxTime: n}
	if _, err := tx.Append("all", b); err != nil {
		return err
	}
	if n%3 == 0 {
		if _, err := tx.Append("third", b); err != nil {
			return err
		}
	}
	return tx.Put(sentSpace, store.Entry{Key: []byte(strconv.Itoa(p)), Value: binary.BigEndian.AppendUint64(nil, uint64(n))})
}

// account is the outside ledger: what each publisher was about to write, and what it was told is durable. -1: nothing.
type account struct{ submitted, acknowledged [publishers]int64 }

// TestAcknowledgedIsKept kills a program that publishes to the store. Whatever it was told to be durable is there after each kill, once and in
// order; what is there was sent; and what is written in one transaction is there together.
func TestAcknowledgedIsKept(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 16), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	var path string
	var led account
	for i := range kills {
		if i%8 == 0 { // a store anew: it may be killed while it is made
			path = filepath.Join(t.TempDir(), "store.db")
			for p := range publishers {
				led.submitted[p], led.acknowledged[p] = -1, -1
			}
		}
		after, until := 1+random.IntN(3000), limit // acknowledgements
		if random.IntN(3) == 0 {
			until = time.Duration(random.IntN(int(60 * time.Millisecond)))
		}
		life(t, path, &led, after, until)
		if random.IntN(3) > 0 || i == kills-1 { // else the next life is the first to see what the last one left
			inspect(t, path, func(r reader) { hold(r, &led) })
		}
	}
	var total int64
	for p := range publishers {
		total += led.acknowledged[p] + 1
	}
	t.Logf("seed %d: the last store was told of %d messages that they are durable", seed, total)
}

// life starts the publisher, and kills it after so many acknowledgements, or that long.
func life(t *testing.T, path string, led *account, after int, until time.Duration) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), publisherEnv+"="+path)
	cmd.ExtraFiles = []*os.File{w}
	p := start(t, cmd)
	_ = w.Close()
	var killing sync.Once
	kill := func() { killing.Do(func() { _ = cmd.Process.Kill() }) }
	timer := time.AfterFunc(until, kill)
	defer timer.Stop()
	lines := bufio.NewReader(r)
	for n := 0; ; {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // what stands before a torn line was said
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind string
		var who int
		var number int64
		if _, err := fmt.Sscan(line, &kind, &who, &number); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch kind {
		case "s":
			led.submitted[who] = max(led.submitted[who], number)
		case "a":
			if last := led.acknowledged[who]; number != last+1 && number > led.submitted[who] {
				t.Fatalf("publisher %d was told of %d after %d, and has sent up to %d", who, number, last, led.submitted[who])
			}
			led.acknowledged[who] = max(led.acknowledged[who], number)
			if n++; n == after {
				kill() // what it says before it dies is still read
			}
		}
	}
	p.kill()
}

// hold holds the store to the ledger.
func hold(r reader, led *account) {
	t := r.t
	t.Helper()
	count := func(channel string, step int64) (last [publishers]int64) {
		for p := range publishers {
			last[p] = -step
		}
		for _, m := range r.messages(channel) {
			who, number, ok := strings.Cut(string(m), " ")
			p, err := strconv.Atoi(who)
			n, err2 := strconv.ParseInt(number, 10, 64)
			if !ok || err != nil || err2 != nil || p < 0 || p >= publishers {
				t.Fatalf("channel %s holds %q", channel, m)
			}
			if n != last[p]+step {
				t.Fatalf("channel %s: of publisher %d there is %d after %d", channel, p, n, last[p])
			}
			last[p] = n
		}
		return last
	}
	all, third := count("all", 1), count("third", 3)
	for p := range publishers {
		remembered := int64(-1)
		if v := r.entry(sentSpace, strconv.Itoa(p)); v != nil {
			remembered = int64(binary.BigEndian.Uint64(v))
		}
		switch {
		case all[p] < led.acknowledged[p]:
			t.Errorf("publisher %d was told that %d is durable; the store has up to %d", p, led.acknowledged[p], all[p])
		case all[p] > led.submitted[p]:
			t.Errorf("the store has %d of publisher %d, which has sent up to %d", all[p], p, led.submitted[p])
		case remembered != all[p]:
			t.Errorf("publisher %d: %d is in the channel, %d is remembered, and both are of one transaction", p, all[p], remembered)
		case all[p] >= 0 && third[p] != all[p]/3*3:
			t.Errorf("publisher %d: channel third has up to %d, channel all %d", p, third[p], all[p])
		}
	}
}
