package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// stepClock stands still until somebody waits for it: then a step of the test is done, and it is as late as was waited for. It
// is used by one goroutine.
type stepClock struct {
	now   time.Time
	steps []func() // one for each wait; after the last the wait does not end
	stop  func()   // called then
	idle  func()   // called before each step
}

func newStepClock() *stepClock {
	return &stepClock{now: time.Unix(1700000000, 0), stop: func() {}, idle: func() {}}
}

func (c *stepClock) Now() time.Time { return c.now }

func (c *stepClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	ch := make(chan time.Time, 1)
	c.idle()
	if len(c.steps) == 0 {
		c.stop()
		return ch, func() {}
	}
	step := c.steps[0]
	c.steps = c.steps[1:]
	step()
	c.now = c.now.Add(d)
	ch <- c.now
	return ch, func() {}
}

// watching is a source that watches a folder, and a clock for it.
type watching struct {
	t      testing.TB
	dir    string
	config SourceConfig
	clock  *stepClock
	s      *source
	events []string // what was read, and when, in seconds
	read   []record
	kept   map[string]penstock.Position
}

func watchFolder(t testing.TB, pattern string) *watching {
	dir := t.TempDir()
	return &watching{t: t, dir: dir, clock: newStepClock(), kept: map[string]penstock.Position{}, config: SourceConfig{
		Path: text0(filepath.Join(dir, "in", pattern)), Watch: &Watch{Every: penstock.Duration(time.Second), Stable: penstock.Duration(2 * time.Second)},
	}}
}

func (w *watching) put(name, content string) {
	w.t.Helper()
	put(w.t, filepath.Join(w.dir, name), content)
}

func (w *watching) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// start makes a new source of the run, or of one that follows a crash.
func (w *watching) start(edit func(*source), env func(*penstock.Env)) *source {
	w.t.Helper()
	e := testEnv()
	e.Resumes, e.Clock = true, w.clock
	if env != nil {
		env(&e)
	}
	s, err := newSource(registry(), w.config, e)
	if err != nil {
		w.t.Fatal(err)
	}
	if edit != nil {
		edit(s)
	}
	var from []penstock.Position
	for _, p := range w.kept {
		from = append(from, p)
	}
	if err := errors.Join(s.Resume(context.Background(), from), s.Open(context.Background())); err != nil {
		w.t.Fatal(err)
	}
	w.s = s
	w.clock.idle = s.mover.wg.Wait
	w.t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// run reads until the steps are done, or the source ends. settle says whether what was read is settled at once.
func (w *watching) run(settle bool, steps ...func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.clock.steps, w.clock.stop = steps, cancel
	begin := w.clock.now
	for {
		var b penstock.Batch
		err := w.s.Read(ctx, &b)
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
			w.s.mover.wg.Wait()
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range b.Msgs {
			r := recordOf(&b, i)
			w.read = append(w.read, r)
			w.events = append(w.events, fmt.Sprintf("%v %s", w.clock.now.Sub(begin), r.text))
		}
		if settle {
			w.settle(len(w.read))
		}
	}
}

// settle makes everything up to the n-th record durable, and waits for what the source does then.
func (w *watching) settle(n int) {
	w.t.Helper()
	for _, r := range w.read[:n] {
		if old, ok := w.kept[r.pos.Stream]; !ok || old.Next < r.pos.Next {
			w.kept[r.pos.Stream] = r.pos
		}
	}
	var outcomes []penstock.Outcome
	for _, p := range w.kept {
		outcomes = append(outcomes, penstock.Outcome{Pos: p})
	}
	if err := w.s.Settle(context.Background(), outcomes); err != nil {
		w.t.Fatal(err)
	}
	w.s.mover.wg.Wait()
}

// forget does what the engine does with streams that are over.
func (w *watching) forget() (over []string) {
	over = w.s.Over()
	for _, stream := range over {
		delete(w.kept, stream)
	}
	return over
}

func (w *watching) want(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.events, want) {
		w.t.Errorf("read\n %s\nwant\n %s", strings.Join(w.events, "\n "), strings.Join(want, "\n "))
	}
	w.events = nil
}

// treeOf lists the files below the folder, with their contents.
func treeOf(t testing.TB, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out = append(out, rel+"="+strings.TrimSpace(string(data)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *watching) wantTree(want ...string) {
	w.t.Helper()
	if got := treeOf(w.t, w.dir); !slices.Equal(got, want) {
		w.t.Errorf("files %q, want %q", got, want)
	}
}

func nothing() {}

func TestWatchTakesStableFilesByName(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.start(nil, nil)
	w.run(true,
		func() { w.put("in/b.jsonl", "1\n"); w.put("in/a.jsonl", "2\n"); w.put("in/x.txt", "no") }, // seen at 1s
		func() { w.put("in/c.jsonl", "3\n") },                                                      // seen at 2s
		func() { w.put("in/c.jsonl", "3\n4\n") },                                                   // a and b are stable at 3s; c changed
		nothing, nothing)
	w.want("3s a.jsonl:1 2", "3s b.jsonl:1 1", "5s c.jsonl:1 3", "5s c.jsonl:2 4")
	w.run(true, nothing, nothing)
	w.want()
	w.wantTree("in/a.jsonl=2", "in/b.jsonl=1", "in/c.jsonl=3\n4", "in/x.txt=no")
}

func TestWatchWithoutStabilityTakesAtOnce(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch = &Watch{Every: penstock.Duration(10 * time.Second)}
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(true, func() { w.put("in/b.jsonl", "2\n") })
	w.want("0s a.jsonl:1 1", "10s b.jsonl:1 2")
	// A file is looked at when it may be stable, not only when it is time for the folder.
	w = watchFolder(t, "*.jsonl")
	w.config.Watch.Every = penstock.Duration(10 * time.Second)
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(true, nothing)
	w.want("2s a.jsonl:1 1")
}

func TestWatchedFilesThatChange(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch.Stable = 0
	w.put("in/a.jsonl", "1\n2\n")
	w.start(nil, nil)
	w.run(true,
		func() { w.put("in/a.jsonl", "1\n2\n3\n") },    // it grew
		func() { w.put("in/a.jsonl", "1\n9\n3\n4\n") }, // it was written over
		func() { w.remove("in/a.jsonl") },              // the folder is empty: nobody knows
		func() { w.put("in/b.jsonl", "5\n") },          // it is gone
		func() { w.put("in/a.jsonl", "1\n9\n3\n4\n") }, // another of its name
	)
	w.want("0s a.jsonl:1 1", "0s a.jsonl:2 2", "1s a.jsonl:3 3",
		"2s a.jsonl:1 1", "2s a.jsonl:2 9", "2s a.jsonl:3 3", "2s a.jsonl:4 4",
		"4s b.jsonl:1 5", "5s a.jsonl:1 1", "5s a.jsonl:2 9", "5s a.jsonl:3 3", "5s a.jsonl:4 4")
	streams := map[string]bool{}
	for _, r := range w.read {
		streams[r.pos.Stream] = true
	}
	if len(streams) != 4 {
		t.Errorf("streams %v", streams)
	}
	if over := w.forget(); len(over) != 2 || len(w.kept) != 2 {
		t.Errorf("over %q, kept %v", over, w.kept)
	}
}

// TestReplacedWhileInFlight keeps what is known of a version until the last of it is settled.
func TestReplacedWhileInFlight(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch.Stable = 0
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(false, func() { w.put("in/a.jsonl", "22\n") })
	w.want("0s a.jsonl:1 1", "1s a.jsonl:1 22")
	if over := w.forget(); len(over) > 0 {
		t.Errorf("over in flight: %q", over)
	}
	w.settle(2)
	if over := w.forget(); !slices.Equal(over, []string{w.read[0].pos.Stream}) {
		t.Errorf("over: %q", over)
	}
}

func TestUnreadableFilesDoNotStopOthers(t *testing.T) {
	w := watchFolder(t, "*.jsonl.gz")
	w.config.Watch.Stable = 0
	w.config.After = &After{Move: text0(filepath.Join(w.dir, "done"))}
	compressed := func(name, content string) { compress(t, filepath.Join(w.dir, "in", name), content) }
	if err := os.MkdirAll(filepath.Join(w.dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	compressed("a.jsonl.gz", "1\n2\n3\n")
	whole, err := os.ReadFile(filepath.Join(w.dir, "in/a.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	w.put("in/a.jsonl.gz", string(whole[:len(whole)-6]))
	w.put("in/b.jsonl.gz", "this is not gzip")
	compressed("c.jsonl.gz", "4\n{\n")
	w.start(nil, nil)
	w.run(true, nothing, func() { w.put("in/a.jsonl.gz", string(whole)) }, nothing)
	if !slices.Contains(w.events, "0s c.jsonl.gz:1 4") || !slices.Contains(w.events, "0s c.jsonl.gz:2 !{") {
		t.Errorf("read %q", w.events)
	}
	count := map[string]int{}
	for _, r := range w.read {
		count[r.text]++
	}
	for _, want := range []string{"a.jsonl.gz:1 1", "a.jsonl.gz:2 2", "a.jsonl.gz:3 3", "c.jsonl.gz:1 4"} {
		if count[want] != 1 {
			t.Errorf("%s came %d times", want, count[want])
		}
	}
	if names := listed(t, filepath.Join(w.dir, "in")); !slices.Equal(names, []string{"b.jsonl.gz"}) {
		t.Errorf("left: %q", names)
	}
	if err := w.s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	// With --once the run fails at its end, and only then.
	w.start(nil, func(e *penstock.Env) { e.Once = true })
	w.put("in/d.jsonl.gz", "")
	w.events = nil
	w.run(true, nothing)
	w.want()
	if err := w.s.Close(context.Background()); err == nil || !strings.Contains(err.Error(), "b.jsonl.gz") {
		t.Errorf("at the end: %v", err)
	}
}

func listed(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOnceEndsWhenWhatIsThereWasRead(t *testing.T) {
	once := func(e *penstock.Env) { e.Once = true }
	w := watchFolder(t, "*.jsonl")
	w.start(nil, once)
	w.run(true)
	w.want() // there is nothing

	w = watchFolder(t, "*.jsonl")
	w.put("in/a.jsonl", "1\n")
	w.put("in/b.jsonl", "2\n")
	w.start(nil, once)
	w.run(true, nothing, func() { w.put("in/b.jsonl", "2\n3\n") }, nothing, nothing, func() { t.Error("it waits on") })
	w.want("2s a.jsonl:1 1", "4s b.jsonl:1 2", "4s b.jsonl:2 3")

	// What never stands still is left.
	w = watchFolder(t, "*.jsonl")
	w.put("in/a.jsonl", "1\n")
	grow := func() { w.put("in/b.jsonl", strings.Repeat("1\n", int(w.clock.now.Unix()%100)+1)) }
	w.start(nil, once)
	w.run(true, grow, grow, grow, grow, grow, func() { t.Error("it waits on") })
	w.want("2s a.jsonl:1 1")
	if err := w.s.Read(context.Background(), new(penstock.Batch)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestWatchedFolderNeedNotBeThere waits for a folder, too.
func TestWatchedFolderNeedNotBeThere(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch.Stable = 0
	w.start(nil, nil)
	w.run(true, nothing, func() { w.put("in/a.jsonl", "1\n") })
	w.want("2s a.jsonl:1 1")
	// It disappears (a share that is not mounted) and comes back as it was.
	away, in := filepath.Join(w.dir, "away"), filepath.Join(w.dir, "in")
	rename := func(from, to string) func() {
		return func() {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.run(true, rename(in, away), nothing, rename(away, in), nothing)
	w.want()
	if over := w.forget(); len(over) > 0 {
		t.Errorf("over: %q", over)
	}
	// Also at a start.
	rename(in, away)()
	w.start(nil, nil)
	w.run(true, nothing, rename(away, in), nothing)
	w.want()
	if over := w.forget(); len(over) > 0 {
		t.Errorf("over: %q", over)
	}
}

func TestNothingIsReadAgainAfterARestart(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch.Stable = 0
	for i := range 5 {
		w.put(fmt.Sprintf("in/%d.jsonl", i), strings.Repeat("1\n", i+1))
	}
	w.start(nil, nil)
	w.run(true)
	if len(w.read) != 15 {
		t.Fatalf("%d records", len(w.read))
	}
	w.events = nil
	w.start(nil, nil)
	w.put("in/5.jsonl", "7\n")
	w.put("in/1.jsonl", "1\n1\n8\n")
	w.run(true, nothing)
	w.want("0s 1.jsonl:3 8", "0s 5.jsonl:1 7")
}
