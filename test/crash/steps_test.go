package crash_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// steps has the durable steps and a queue whose readers compete. Each line is sent about five times in four.
const steps = `
kind: Integration
metadata: { name: steps }
spec:
  params: { drop: { type: string } }
  store: {}
---
kind: Flow
metadata: { name: take }
spec:
  from: { file: { path: "${params.drop}/*.jsonl", watch: { stable: 0s, every: 10ms } } }
  delivery: effectively-once
  steps:
    - dedupe: { key: body.n }
      name: once
  to: { channel: work }
---
kind: Channel
metadata: { name: work }
spec: { mode: queue, key: body.key }
---
kind: Flow
metadata: { name: one }
spec:
  from: { channel: work }
  order: per-key
  steps:
    - { to: { channel: good }, name: tell }
    - { fail: { code: unprocessable, message: bad }, when: body.bad }
  to: { channel: done }
---
kind: Flow
metadata: { name: two }
spec:
  from: { channel: work }
  order: per-key
  steps:
    - { to: { channel: good }, name: tell }
    - { fail: { code: unprocessable, message: bad }, when: body.bad }
  to: { channel: done }
---
kind: Channel
metadata: { name: good }
spec: {}
---
kind: Channel
metadata: { name: done }
spec: {}
---
kind: Flow
metadata: { name: tidy }
spec:
  from: { channel: done }
  steps:
    - resequence: { by: body.key, number: body.seq, timeout: 24h }
      name: inOrder
  to: { channel: ordered }
---
kind: Channel
metadata: { name: ordered }
spec: {}
---
kind: Flow
metadata: { name: threes }
spec:
  from: { channel: ordered }
  steps:
    - aggregate: { by: body.key, complete: { size: 3, atEnd: true } }
      name: group
  to: { channel: groups }
---
kind: Channel
metadata: { name: groups }
spec: {}
---
kind: Flow
metadata: { name: slow }
spec:
  from: { channel: done }
  steps:
    - claimCheck: { body: { number: "${body.n}" } }
      name: checkIn
    - delay: { for: 5ms }
      name: pause
    - claimCheck: { redeem: meta.claim }
      name: redeem
  to: { channel: delayed }
---
kind: Channel
metadata: { name: delayed }
spec: {}
`

// line is a message of this test.
type line struct {
	N   int    `json:"n"`
	Key string `json:"key"`
	Seq int    `json:"seq"` // among those of its key that are good, from 1
	Bad bool   `json:"bad"`
}

// TestStepsAreKilled kills flows with durable steps, and two that share a queue: each message goes through each of them once, in the
// order that the step promises.
func TestStepsAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 10), number(t, "PENSTOCK_CRASH_SEED", 1)
	program(t)
	for ; kills > 0; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { kills -= killSteps(t, uint64(seed), min(kills, killsAScenario)) })
		if t.Failed() {
			return
		}
	}
}

func killSteps(t *testing.T, seed uint64, kills int) (done int) {
	dir := t.TempDir()
	config := filepath.Join(dir, "steps.yaml")
	text := ""
	for d := range strings.SplitSeq(steps, "---\n") {
		text += "---\napiVersion: penstock.dev/v1alpha1\n" + d
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	v := newVictim(t, dir, seed)
	v.store = filepath.Join(dir, "store.db")
	v.usual = 250 * time.Millisecond
	v.command = func(once bool) *exec.Cmd {
		args := []string{"run", config, "--param", "drop=" + v.drop, "--store", v.store}
		if once {
			args = append(args, "--once")
		}
		cmd := exec.Command(program(t), args...)
		cmd.Dir = dir
		return cmd
	}
	all := write(&v)
	done = v.killed(kills, func(r reader) { passed(r, all, false) })
	inspect(t, v.store, func(r reader) { passed(r, all, true) })
	t.Logf("%d lines; %v", len(all), v.hits)
	return done
}

// write makes the files: lines of some keys, their numbers a little out of order, some of them again, later.
func write(v *victim) (all []line) {
	seqs := map[string]int{}
	for n := range 1500 {
		l := line{N: n, Key: fmt.Sprintf("k%d", v.random.IntN(20)), Bad: v.random.IntN(40) == 0}
		if !l.Bad {
			seqs[l.Key]++
			l.Seq = seqs[l.Key]
		}
		all = append(all, l)
	}
	for i := range all { // not far from where they were
		j := min(i+v.random.IntN(30), len(all)-1)
		all[i], all[j] = all[j], all[i]
	}
	const files = 12
	for i, l := range all {
		text, _ := json.Marshal(l) // text and numbers
		add := func(file int) {
			name := fmt.Sprintf("%02d.jsonl", min(file, files-1))
			v.files[name] = append(append(v.files[name], text...), '\n')
		}
		add(i * files / len(all))
		for v.random.IntN(5) == 0 {
			add(i*files/len(all) + v.random.IntN(3))
		}
	}
	return firstOf(v.files, all)
}

// firstOf lists the lines in the order in which the files have them first.
func firstOf(files map[string][]byte, all []line) []line {
	seen := map[int]bool{}
	var first []line
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for text := range bytes.Lines(files[name]) {
			var l line
			if err := json.Unmarshal(text, &l); err == nil && !seen[l.N] {
				seen[l.N] = true
				first = append(first, l)
			}
		}
	}
	if len(first) != len(all) {
		panic("a line is in none of the files")
	}
	return first
}

// passed holds the channels to what was in the files. At the end all of it is there, before that some.
func passed(r reader, all []line, end bool) {
	t := r.t
	t.Helper()
	byKey := map[string][]line{} // the good ones
	bad := 0
	for _, l := range all {
		if l.Bad {
			bad++
		} else {
			byKey[l.Key] = append(byKey[l.Key], l)
		}
	}
	done := linesOf(t, r, "done")
	inTurn(t, "done", done, byKey, end)
	if good := linesOf(t, r, "good"); !slices.Equal(good, done) { // who dies takes back what it wrote
		t.Errorf("%d messages were written on the way to done, which has %d, or in another order", len(good), len(done))
	}
	dead := append(linesOf(t, r, "one.dead"), linesOf(t, r, "two.dead")...)
	seen := map[int]bool{}
	for _, l := range dead {
		if !l.Bad || seen[l.N] {
			t.Errorf("dead, or dead twice: %+v", l)
		}
		seen[l.N] = true
	}
	if end && len(dead) != bad {
		t.Errorf("%d dead letters, want %d", len(dead), bad)
	}
	delayed := linesOf(t, r, "delayed")
	if len(delayed) > len(done) || end && len(delayed) != len(done) || !slices.Equal(delayed, done[:len(delayed)]) {
		t.Errorf("%d messages are delayed of %d, or in another order", len(delayed), len(done))
	}
	sorted := map[string][]line{}
	for key, ls := range byKey {
		sorted[key] = slices.SortedFunc(slices.Values(ls), func(a, b line) int { return a.Seq - b.Seq })
	}
	inTurn(t, "ordered", linesOf(t, r, "ordered"), sorted, end)
	var grouped []line
	for i, b := range r.bodies("groups") {
		var g []line
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatalf("groups@%d: %v", i, err)
		}
		if len(g) != 3 && !end {
			t.Errorf("groups@%d has %d messages before the end", i, len(g))
		}
		grouped = append(grouped, g...)
	}
	inTurn(t, "groups", grouped, sorted, end)
}

// inTurn holds the messages of each key to their order.
func inTurn(t *testing.T, channel string, got []line, want map[string][]line, end bool) {
	t.Helper()
	next := map[string]int{}
	for i, l := range got {
		n := next[l.Key]
		if n >= len(want[l.Key]) || want[l.Key][n] != l {
			t.Errorf("%s: message %d is %+v, which is not the next of its key (%d)", channel, i, l, n)
			return
		}
		next[l.Key]++
	}
	if !end {
		return
	}
	for key, ls := range want {
		if next[key] != len(ls) {
			t.Errorf("%s: %d messages of key %s, want %d", channel, next[key], key, len(ls))
		}
	}
}

func linesOf(t *testing.T, r reader, channel string) (all []line) {
	t.Helper()
	for i, b := range r.bodies(channel) {
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			t.Fatalf("%s@%d: %v in %s", channel, i, err, b)
		}
		all = append(all, l)
	}
	return all
}
