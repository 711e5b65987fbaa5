package timer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock jumps to the end of whatever is waited for.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	hold bool // timers never end
	asks []time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks = append(c.asks, d)
	ch := make(chan time.Time, 1)
	if !c.hold {
		c.now = c.now.Add(d)
		ch <- c.now
	}
	return ch, func() {}
}

func (c *clock) set(at string) { c.now = instant(at) }

// instant reads "10:00" or "10:00:05" of 2026-01-01, or a whole time.
func instant(s string) time.Time {
	switch strings.Count(s, ":") {
	case 1:
		s = "2026-01-01T" + s + ":00Z"
	case 2:
		if len(s) == 8 {
			s = "2026-01-01T" + s + "Z"
		}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConform(t *testing.T) {
	for name, config := range map[string]Config{
		"every":         {Every: penstock.Duration(time.Second), CatchUp: "all"},
		"every, jitter": {Every: penstock.Duration(time.Minute), Jitter: penstock.Duration(59 * time.Second), CatchUp: "all"},
		"cron":          {Cron: "*/7 * * * *", Zone: "Europe/Berlin", CatchUp: "all"},
	} {
		t.Run(name, func(t *testing.T) {
			conform.Source(t, conform.SourceHarness{
				Spec:     penstock.Spec{Name: "timer", Settle: penstock.Cumulative, Replay: penstock.ReplayPosition},
				Features: conform.SourceFeatures{Ordered: true, Resumes: true, OwnBodies: true},
				Fill: func(testing.TB, []string) func(testing.TB) penstock.Source {
					return func(t testing.TB) penstock.Source {
						c := &clock{now: instant("2026-03-28T12:00:03Z")}
						s, err := New(config, penstock.Env{Name: "f/from", Clock: c, Resumes: true})
						must(t, err)
						return s
					}
				},
			})
		})
	}
}

// read reads until the next message would be waited for, and gives the messages as "scheduled previous count missed", times of day only.
func read(t *testing.T, s penstock.Source, n int) (out []string, last penstock.Position) {
	t.Helper()
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		err := s.Read(context.Background(), &b)
		if errors.Is(err, io.EOF) {
			return append(out, "end"), last
		}
		must(t, err)
		for _, m := range b.Msgs {
			var body struct {
				Scheduled, Previous string
				Count, Missed       int
			}
			must(t, json.Unmarshal([]byte(conform.Text(t, m.Body)), &body))
			out = append(out, strings.NewReplacer("2026-01-01T", "", "Z", "").Replace(fmt.Sprintf("%s %s %d %d", body.Scheduled, body.Previous, body.Count, body.Missed)))
			last = m.Pos
			if m.Time.UnixNano() != m.Pos.Offset || m.Pos.Next != m.Pos.Offset+1 || m.Pos.Stream != "timer" {
				t.Errorf("time %s, position %+v", m.Time, m.Pos)
			}
		}
	}
	return out, last
}

// TestCatchUp: a run that read up to 10:00 went down, and another one begins at 10:12.
func TestCatchUp(t *testing.T) {
	for _, c := range []struct {
		catchUp string
		known   bool // 10:00 was done, the second message ever
		once    bool
		want    []string
	}{
		{"none", true, false, []string{"10:15:00 10:00:00 3 2", "10:20:00 10:15:00 4 0"}},
		{"last", true, false, []string{"10:10:00 10:00:00 3 1", "10:15:00 10:10:00 4 0"}},
		{"all", true, false, []string{"10:05:00 10:00:00 3 0", "10:10:00 10:05:00 4 0", "10:15:00 10:10:00 5 0"}},
		{"none", false, false, []string{"10:15:00 10:10:00 1 0", "10:20:00 10:15:00 2 0"}},
		{"last", false, false, []string{"10:15:00 10:10:00 1 0"}},
		{"all", false, false, []string{"10:15:00 10:10:00 1 0"}},
		{"none", true, true, []string{"10:10:00 10:00:00 3 1", "end"}},
		{"last", true, true, []string{"10:10:00 10:00:00 3 1", "end"}},
		{"all", true, true, []string{"10:05:00 10:00:00 3 0", "10:10:00 10:05:00 4 0", "end"}},
		{"none", false, true, []string{"10:10:00 10:05:00 1 0", "end"}},
		{"last", false, true, []string{"10:10:00 10:05:00 1 0", "end"}},
		{"all", false, true, []string{"10:10:00 10:05:00 1 0", "end"}},
	} {
		for _, config := range []Config{{Every: penstock.Duration(5 * time.Minute)}, {Cron: "*/5 * * * *"}} {
			t.Run(fmt.Sprintf("%s known %v once %v %s%s", c.catchUp, c.known, c.once, config.Every, config.Cron), func(t *testing.T) {
				clk := &clock{now: instant("10:12")}
				config.CatchUp = c.catchUp
				s, err := New(config, penstock.Env{Clock: clk, Once: c.once, Resumes: true})
				must(t, err)
				if c.known {
					at := instant("10:00").UnixNano()
					must(t, s.(penstock.Positioned).Resume(context.Background(), []penstock.Position{{Stream: "timer", Offset: at, Next: at + 1, Tag: 2}}))
				}
				if got, _ := read(t, s, len(c.want)); !slices.Equal(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		}
	}
}

// entries is a penstock.State in memory.
type entries map[string][]byte

// Get implements penstock.State.
func (e entries) Get(_ context.Context, key string) ([]byte, error) { return e[key], nil }

// CompareAndSet implements penstock.State.
func (e entries) CompareAndSet(_ context.Context, key string, old, value []byte, _ time.Duration) (bool, error) {
	if !bytes.Equal(e[key], old) {
		return false, nil
	}
	e[key] = value
	return true, nil
}

// TestCatchUpWithTheFirst: a run went down before the first instant of its schedule, and another one begins at 10:12. Instants count from the first run with this
// schedule on, unless the run begins anew.
func TestCatchUpWithTheFirst(t *testing.T) {
	for _, c := range []struct {
		catchUp    string
		once, anew bool
		want       []string
	}{
		{"none", false, false, []string{"10:15:00 10:10:00 1 0"}},
		{"last", false, false, []string{"10:10:00 10:00:00 1 1", "10:15:00 10:10:00 2 0"}},
		{"all", false, false, []string{"10:05:00 10:00:00 1 0", "10:10:00 10:05:00 2 0", "10:15:00 10:10:00 3 0"}},
		{"last", true, false, []string{"10:10:00 10:00:00 1 1", "end"}},
		{"all", true, false, []string{"10:05:00 10:00:00 1 0", "10:10:00 10:05:00 2 0", "end"}},
		{"all", false, true, []string{"10:15:00 10:10:00 1 0"}},
	} {
		for _, config := range []Config{{Every: penstock.Duration(5 * time.Minute)}, {Cron: "*/5 * * * *"}} {
			t.Run(fmt.Sprintf("%s once %v anew %v %s%s", c.catchUp, c.once, c.anew, config.Every, config.Cron), func(t *testing.T) {
				clk, kept := &clock{now: instant("10:01"), hold: true}, entries{}
				config.CatchUp = c.catchUp
				open := func(config Config, once, anew bool) penstock.Source {
					s, err := New(config, penstock.Env{Clock: clk, State: kept, Once: once, Anew: anew, Resumes: true})
					must(t, err)
					must(t, s.(penstock.Positioned).Resume(context.Background(), nil))
					must(t, s.Open(context.Background()))
					return s
				}
				ends, cancel := context.WithCancel(context.Background())
				cancel()
				if err := open(config, false, false).Read(ends, new(penstock.Batch)); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				clk.hold = false
				clk.set("10:12")
				if got, _ := read(t, open(config, c.once, c.anew), len(c.want)); !slices.Equal(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
				clk.set("10:12")
				other := Config{Every: penstock.Duration(time.Minute), CatchUp: c.catchUp}
				if got, _ := read(t, open(other, false, false), 1); !slices.Equal(got, []string{"10:12:00 10:11:00 1 0"}) {
					t.Errorf("another schedule begins with %q", got)
				}
			})
		}
	}
}

// TestNothingIsDueTwice: a run with --once that follows another within the same interval has nothing to do.
func TestNothingIsDueTwice(t *testing.T) {
	for _, catchUp := range []string{"none", "last", "all"} {
		at := instant("10:10").UnixNano()
		s, err := New(Config{Every: penstock.Duration(5 * time.Minute), CatchUp: catchUp}, penstock.Env{Clock: &clock{now: instant("10:12")}, Once: true})
		must(t, err)
		must(t, s.(penstock.Positioned).Resume(context.Background(), []penstock.Position{{Stream: "timer", Offset: at, Next: at + 1, Tag: 2}}))
		for range 2 {
			if got, _ := read(t, s, 1); !slices.Equal(got, []string{"end"}) {
				t.Errorf("%s: %q", catchUp, got)
			}
		}
	}
}

// TestSlowReader: what could not be read in time is caught up with as after a stop, but for the last one, which is made in any case.
func TestSlowReader(t *testing.T) {
	for catchUp, want := range map[string][]string{
		"none": {"10:00:00 09:55:00 1 0", "10:15:00 10:00:00 2 2", "10:20:00 10:15:00 3 0"},
		"last": {"10:00:00 09:55:00 1 0", "10:15:00 10:00:00 2 2", "10:20:00 10:15:00 3 0"},
		"all":  {"10:00:00 09:55:00 1 0", "10:05:00 10:00:00 2 0", "10:10:00 10:05:00 3 0", "10:15:00 10:10:00 4 0", "10:20:00 10:15:00 5 0"},
	} {
		clk := &clock{now: instant("10:00")}
		s, err := New(Config{Every: penstock.Duration(5 * time.Minute), CatchUp: catchUp}, penstock.Env{Clock: clk})
		must(t, err)
		got, _ := read(t, s, 1)
		clk.set("10:17")
		more, _ := read(t, s, len(want)-1)
		if got = append(got, more...); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", catchUp, got, want)
		}
	}
}

// TestClockGoesBack: what was made is not made again.
func TestClockGoesBack(t *testing.T) {
	for _, catchUp := range []string{"none", "last", "all"} {
		clk := &clock{now: instant("10:00")}
		s, err := New(Config{Every: penstock.Duration(5 * time.Minute), CatchUp: catchUp}, penstock.Env{Clock: clk})
		must(t, err)
		_, pos := read(t, s, 2)
		clk.set("09:00")
		if got, _ := read(t, s, 1); !slices.Equal(got, []string{"10:10:00 10:05:00 3 0"}) {
			t.Errorf("%s: %q", catchUp, got)
		}
		clk.set("09:00")
		s, err = New(Config{Every: penstock.Duration(5 * time.Minute), CatchUp: catchUp}, penstock.Env{Clock: clk})
		must(t, err)
		must(t, s.(penstock.Positioned).Resume(context.Background(), []penstock.Position{pos}))
		if got, _ := read(t, s, 1); !slices.Equal(got, []string{"10:10:00 10:05:00 3 0"}) {
			t.Errorf("%s, after a restart: %q", catchUp, got)
		}
	}
}

// TestJitter: it depends on the flow and the instant only, stays within its bounds, and spreads.
func TestJitter(t *testing.T) {
	delays := func(name string, config Config) (out []time.Duration) {
		clk := &clock{now: instant("10:00:01")}
		s, err := New(config, penstock.Env{Name: name, Clock: clk})
		must(t, err)
		for range 200 {
			_, pos := read(t, s, 1)
			out = append(out, clk.Now().Sub(time.Unix(0, pos.Offset)))
		}
		return out
	}
	for _, config := range []Config{
		{Every: penstock.Duration(time.Minute), Jitter: penstock.Duration(30 * time.Second)},
		{Cron: "* * * * *", Jitter: penstock.Duration(24 * time.Hour)},
	} {
		a, again, b := delays("a/from", config), delays("a/from", config), delays("b/from", config)
		if !slices.Equal(a, again) || slices.Equal(a, b) {
			t.Error("the delays of a flow differ, or those of two are the same")
		}
		limit := min(config.Jitter.Std(), time.Minute)
		if slices.Min(a) < 0 || slices.Max(a) >= limit {
			t.Errorf("from %s to %s, the limit is %s", slices.Min(a), slices.Max(a), limit)
		}
		var sum time.Duration
		for _, d := range a {
			sum += d
		}
		if mean := sum / 200; mean < limit*2/5 || mean > limit*3/5 {
			t.Errorf("the mean is %s", mean)
		}
	}
	clk := &clock{now: instant("10:00:01")}
	s, err := New(Config{Every: penstock.Duration(time.Minute), Jitter: penstock.Duration(30 * time.Second)}, penstock.Env{Clock: clk, Once: true})
	must(t, err)
	if got, _ := read(t, s, 2); !slices.Equal(got, []string{"10:00:00 09:59:00 1 0", "end"}) || len(clk.asks) > 0 {
		t.Errorf("with --once nothing is waited for: %q", got)
	}
}

func TestWaitsForItsInstant(t *testing.T) {
	clk := &clock{now: instant("10:00:01")}
	s, err := New(Config{Cron: "@daily", Zone: "Europe/Berlin"}, penstock.Env{Clock: clk})
	must(t, err)
	if got, _ := read(t, s, 1); !slices.Equal(got, []string{"23:00:00 2025-12-31T23:00:00 1 0"}) {
		t.Errorf("%q", got)
	}
	if want := []time.Duration{13*time.Hour - time.Second}; !slices.Equal(clk.asks, want) {
		t.Errorf("it waited %v, want %v: one timer, on whatever clock", clk.asks, want)
	}
	clk.hold = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Read(ctx, new(penstock.Batch)) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped while it waits: %v", err)
	}
}

func TestValidate(t *testing.T) {
	minute := penstock.Duration(time.Minute)
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{}, "it wants `every: 5m`, or `cron:"},
		{Config{Every: minute, Cron: "* * * * *"}, "both every and cron"},
		{Config{Every: minute, Zone: "Europe/Berlin"}, "zone belongs to cron"},
		{Config{Every: minute, Jitter: minute}, "jitter is 1m"},
		{Config{Cron: "61 * * * *"}, "cron: `61 * * * *`: the field minute: 61"},
		{Config{Cron: "@daily", Zone: "Europe/Berlinn"}, "`Europe/Berlinn` is no time zone"},
		{Config{Cron: "@daily", Zone: "Local"}, "another one on every machine"},
		{Config{Cron: "@daily", Zone: "../../etc/passwd"}, "is no time zone"},
		{Config{Every: minute, Zone: "UTC"}, ""},
		{Config{Cron: "0 6 * * 1-5", Zone: "Europe/Berlin", Jitter: minute}, ""},
	} {
		errs := c.config.Validate()
		if c.want == "" && len(errs) == 0 {
			continue
		}
		if len(errs) != 1 || c.want == "" || !strings.Contains(errs[0].Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.config, errs, c.want)
		}
		if _, err := New(c.config, penstock.Env{}); err == nil && c.config.Jitter == 0 {
			t.Errorf("%+v: New takes it", c.config)
		}
	}
}

func TestWhatItPromises(t *testing.T) {
	for catchUp, want := range map[string]penstock.Replay{"": penstock.ReplayNone, "none": penstock.ReplayNone, "last": penstock.ReplayPosition, "all": penstock.ReplayPosition} {
		c := &Config{CatchUp: catchUp}
		spec := c.SpecFor(penstock.Spec{Name: "timer", Replay: penstock.ReplayPosition})
		if spec.Replay != want || spec.Name != "timer" || (c.NeedsState() != "") != (want == penstock.ReplayPosition) {
			t.Errorf("%s: %+v, %q", catchUp, spec, c.NeedsState())
		}
	}
}

func TestAllocations(t *testing.T) {
	s, err := New(Config{Every: penstock.Duration(time.Second), CatchUp: "all"}, penstock.Env{Clock: &clock{now: instant("10:00")}})
	must(t, err)
	var b penstock.Batch
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		must(t, s.Read(context.Background(), &b))
	}); n > 8 {
		t.Errorf("%v allocations a message", n)
	}
}
