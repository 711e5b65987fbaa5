package file

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// timerClock is a clock that is moved by hand, with timers.
type timerClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func newTimerClock() *timerClock {
	return &timerClock{now: time.Unix(1700000000, 0), timers: map[chan time.Time]time.Time{}}
}

func (c *timerClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *timerClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.now
		return ch, func() {}
	}
	c.timers[ch] = c.now.Add(d)
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, ch)
	}
}

func (c *timerClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.timers {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.timers, ch)
		}
	}
}

// waiting is how many timers are set.
func (c *timerClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// until waits for another goroutine to do something.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); runtime.Gosched() {
		if time.Since(start) > 20*time.Second {
			t.Fatal("waited in vain until ", what)
		}
	}
}

// counts gives the records of each file, by name.
func counts(t *testing.T, d *cutDisk, codec penstock.Codec) map[string]int {
	t.Helper()
	out := map[string]int{}
	for name := range d.names {
		out[name] = len(parseNumbers(t, codec, name, d.content(t, name)))
	}
	return out
}

func TestSinkRotates(t *testing.T) {
	ctx := context.Background()
	one := len(numberedBatch(0, 1).Msgs[0].Body.Bytes()) + 1
	cases := []struct {
		name   string
		rotate Rotate
		want   map[string]int
	}{
		{"records", Rotate{Records: 4}, map[string]int{"o-000001.jsonl": 4, "o-000002.jsonl": 4, "o-000003.jsonl": 2}},
		{"all of them", Rotate{Records: 5}, map[string]int{"o-000001.jsonl": 5, "o-000002.jsonl": 5}},
		{"every record", Rotate{Size: 1}, map[string]int{"o-000001.jsonl": 1, "o-000002.jsonl": 1, "o-000003.jsonl": 1, "o-000004.jsonl": 1, "o-000005.jsonl": 1,
			"o-000006.jsonl": 1, "o-000007.jsonl": 1, "o-000008.jsonl": 1, "o-000009.jsonl": 1, "o-000010.jsonl": 1}},
		{"size", Rotate{Size: penstock.Size(2*one + 1)}, map[string]int{"o-000001.jsonl": 2, "o-000002.jsonl": 2, "o-000003.jsonl": 2, "o-000004.jsonl": 2, "o-000005.jsonl": 2}},
		{"what comes first", Rotate{Records: 7, Size: penstock.Size(3 * one)}, map[string]int{"o-000001.jsonl": 3, "o-000002.jsonl": 3, "o-000003.jsonl": 3, "o-000004.jsonl": 1}},
	}
	for _, c := range cases {
		for _, mode := range []string{"replace", "append"} {
			t.Run(c.name+" "+mode, func(t *testing.T) {
				d := newCutDisk()
				s := newFaultSink(t, d, "o.jsonl", func(k *SinkConfig, _ *penstock.Env) { k.Rotate, k.Mode = c.rotate, mode })
				if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 10)), s.Close(ctx)); err != nil {
					t.Fatal(err)
				}
				if got := counts(t, d, s.codec); !maps.Equal(got, c.want) {
					t.Errorf("got %v", got)
				}
			})
		}
	}
}

// TestSinkRotatesOn: another run goes on with the numbers, and with mode append with the last file that is not full.
func TestSinkRotatesOn(t *testing.T) {
	ctx := context.Background()
	for mode, want := range map[string]map[string]int{
		"replace": {"o-000001.jsonl": 4, "o-000002.jsonl": 2, "o-000003.jsonl": 4, "o-000004.jsonl": 2},
		"append":  {"o-000001.jsonl": 4, "o-000002.jsonl": 4, "o-000003.jsonl": 4},
	} {
		d := newCutDisk()
		d.names["o-x.jsonl"], d.names["o-7.csv"] = new(inode), new(inode) // not of the sequence
		for range 2 {
			s := newFaultSink(t, d, "o.jsonl", func(k *SinkConfig, _ *penstock.Env) { k.Rotate.Records, k.Mode = 4, mode })
			if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 6)), s.Close(ctx)); err != nil {
				t.Fatal(err)
			}
			delete(d.names, "o-x.jsonl")
			delete(d.names, "o-7.csv")
		}
		if got := counts(t, d, newFaultSink(t, d, "o.jsonl", nil).codec); !maps.Equal(got, want) {
			t.Errorf("%s: got %v", mode, got)
		}
	}
}

// TestSinkRotatesByTime: a file is completed when its time has come, whether messages come or not; and while there is
// nothing to complete no timer is set.
func TestSinkRotatesByTime(t *testing.T) {
	ctx := context.Background()
	d, clock := newCutDisk(), newTimerClock()
	s := newFaultSink(t, d, "o.jsonl", func(k *SinkConfig, env *penstock.Env) {
		k.Rotate.Interval, env.Clock = penstock.Duration(time.Minute), clock
	})
	has := func(name string) func() bool {
		return func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return d.names[name] != nil
		}
	}
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour)
	if n := clock.waiting(); n != 0 {
		t.Errorf("%d timers are set before there is a record", n)
	}
	if err := s.Write(ctx, numberedBatch(0, 3)); err != nil {
		t.Fatal(err)
	}
	until(t, "the timer is set", func() bool { return clock.waiting() == 1 })
	clock.advance(59 * time.Second)
	if err := s.Write(ctx, numberedBatch(3, 4)); err != nil {
		t.Fatal(err)
	}
	if has("o-000001.jsonl")() {
		t.Error("completed a second too early")
	}
	clock.advance(time.Second)
	until(t, "the file is completed without a message", has("o-000001.jsonl"))
	clock.advance(time.Hour)
	if err := errors.Join(s.Write(ctx, numberedBatch(4, 6)), s.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	if got, want := counts(t, d, s.codec), map[string]int{"o-000001.jsonl": 4, "o-000002.jsonl": 2}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if n := clock.waiting(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

// TestSinkTimeFails: what fails on the clock, and not in a call, is told by the next call, at the latest by Close.
func TestSinkTimeFails(t *testing.T) {
	ctx := context.Background()
	d, clock := newCutDisk(), newTimerClock()
	s := newFaultSink(t, d, "o.jsonl", func(k *SinkConfig, env *penstock.Env) {
		k.Rotate.Interval, env.Clock = penstock.Duration(time.Minute), clock
	})
	if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 3))); err != nil {
		t.Fatal(err)
	}
	until(t, "the timer is set", func() bool { return clock.waiting() == 1 })
	s.mu.Lock()
	d.left = 0
	s.mu.Unlock()
	clock.advance(time.Minute)
	until(t, "it fails", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.broken != nil })
	if err := s.Close(ctx); !errors.Is(err, errPower) {
		t.Errorf("Close: %v", err)
	}
}

// TestSinkManyPaths writes to more files than may be open.
func TestSinkManyPaths(t *testing.T) {
	ctx := context.Background()
	for _, mode := range []string{"replace", "append"} {
		for _, suffix := range []string{".jsonl", ".csv", ".jsonl.gz", ".jsonl.zst"} {
			d := newCutDisk()
			s := newFaultSink(t, d, "", func(c *SinkConfig, _ *penstock.Env) {
				c.Mode, c.MaxOpen = mode, 3
				c.Path = penstock.Template{Source: "out/${key}" + suffix, Program: byKey{suffix}}
			})
			if err := s.Open(ctx); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < 300; n += 30 {
				b := numberedBatch(n, n+30)
				for i, m := range b.Msgs {
					m.Key = fmt.Sprint((n + i) % 10)
				}
				if err := errors.Join(s.Write(ctx, b), s.Flush(ctx)); err != nil {
					t.Fatal(err)
				}
				if len(s.open) > 3 {
					t.Fatalf("%d files are open", len(s.open))
				}
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if len(d.names) != 10 {
				t.Fatalf("%s: %v", mode, slices.Sorted(maps.Keys(d.names)))
			}
			for key := range 10 {
				name := fmt.Sprintf("out/%d%s", key, suffix)
				for i, n := range parseNumbers(t, s.codec, name, d.content(t, name)) {
					if n != 10*i+key {
						t.Fatalf("%s has number %d in place %d", name, n, i)
					}
				}
			}
		}
	}
}

// byKey is a compiled "out/${key}<suffix>".
type byKey struct{ suffix string }

func (p byKey) Eval(f *penstock.Frame) penstock.Value {
	return penstock.StringValue("out/" + f.Msg.Key + p.suffix)
}

// TestSinkPathOfMessage: what a message says can't lead out of the folder, and spoils nobody else's.
func TestSinkPathOfMessage(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		source, key string
		ok          bool
	}{
		{"out/${key}", "a", true},
		{"out/${key}", "a/b", true},
		{"out/${key}", "../a", false},
		{"out/${key}", "x/../../a", false},
		{"${key}", "../a", false},
		{"../out/${key}", "a", true},
		{"../out/${key}", "../a", false},
		{"${params.out}/${key}", "a", true},
		{"out/${key}", "", false},
		{"out/${key}", "a\x00b", false},
		{"out/${key}", strings.Repeat("x", 300), false},
	} {
		dir := t.TempDir()
		t.Chdir(dir)
		s := newFaultSink(t, osFS{}, "", func(k *SinkConfig, _ *penstock.Env) {
			k.Path = penstock.Template{Source: c.source, Program: pathOf{strings.ReplaceAll(c.source, "${params.out}", "../"+filepath.Base(dir)+"-out")}}
		})
		if err := os.MkdirAll(filepath.Join(dir, "..", "out"), 0o750); err != nil {
			t.Fatal(err)
		}
		b := numberedBatch(0, 2)
		b.Msgs[0].Key, b.Msgs[1].Key = c.key, "fine"
		err := errors.Join(s.Open(ctx), s.Write(ctx, b))
		var each *penstock.BatchError
		if c.ok && err != nil || !c.ok && (!errors.As(err, &each) || len(each.Errs) != 1 || penstock.CodeOf(each.Errs[0]) != penstock.Unprocessable) {
			t.Errorf("%s with %.20q: %v", c.source, c.key, err)
		}
		if err := s.Close(ctx); err != nil {
			t.Errorf("%s with %.20q: %v", c.source, c.key, err)
		}
	}
}

// pathOf puts the key into a template.
type pathOf struct{ source string }

func (p pathOf) Eval(f *penstock.Frame) penstock.Value {
	return penstock.StringValue(strings.ReplaceAll(p.source, "${key}", f.Msg.Key))
}

// TestSinkPermissions: what is made may be read by others, as the umask allows, and written by the owner only.
func TestSinkPermissions(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "o.jsonl")
	s := newFaultSink(t, osFS{}, path, nil)
	if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 1)), s.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	for name, most := range map[string]os.FileMode{path: 0o644, filepath.Dir(path): 0o755, filepath.Join(dir, "a"): 0o755} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if perm := info.Mode().Perm(); perm&^most != 0 || perm&0o600 != 0o600 {
			t.Errorf("%s has the permissions %o", name, perm)
		}
	}
}

func TestSinkFormats(t *testing.T) {
	for name, want := range map[string]string{
		"o.jsonl": `{"n":1}` + "\n", "o.csv": "n\n1\n", "o.dat": `{"n":1}` + "\n", "o": `{"n":1}` + "\n", "o.csv.gz": "n\n1\n", "o.json.zst": `{"n":1}` + "\n",
	} {
		d := newCutDisk()
		s := newFaultSink(t, d, name, nil)
		b := new(penstock.Batch)
		b.Append().Body.Reset(jsonview.JSON, []byte(`{"n":1}`))
		if err := errors.Join(s.Open(context.Background()), s.Write(context.Background(), b), s.Close(context.Background())); err != nil {
			t.Fatal(err)
		}
		if got := string(d.content(t, name)); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestSinkEmpty: a run without a message leaves an empty file, in the place of that of the run before.
func TestSinkEmpty(t *testing.T) {
	for _, name := range []string{"o.jsonl", "o.jsonl.gz", "o.jsonl.zst"} {
		d := newCutDisk()
		d.names[name] = &inode{data: []byte("before")}
		s := newFaultSink(t, d, name, nil)
		if err := errors.Join(s.Open(context.Background()), s.Flush(context.Background()), s.Close(context.Background())); err != nil {
			t.Fatal(err)
		}
		if got := d.content(t, name); len(got) != 0 || len(d.names) != 1 {
			t.Errorf("%s: %q, %d files", name, got, len(d.names))
		}
		if compressionOf("", name) != plain && len(d.names[name].data) == 0 {
			t.Errorf("%s is no compressed file", name)
		}
	}
}
