package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
)

func TestBudget(t *testing.T) {
	b := policy.NewBudget(0.2)
	for i := range policy.BudgetMinimum {
		if b.Retry(0, 1) != 1 {
			t.Fatalf("retry %d of the %d that are free was refused", i+1, policy.BudgetMinimum)
		}
	}
	if b.Retry(0, 1) != 0 {
		t.Fatal("one more than the free ones, and nothing was asked")
	}
	b.First(0, 9)
	if b.Retry(0, 5) != 1 {
		t.Fatal("20% of 9 are one more")
	}
	if b.Retry(9*time.Second, 1) != 0 {
		t.Fatal("the window has not passed")
	}
	if b.Retry(policy.BudgetWindow, 100) != policy.BudgetMinimum {
		t.Fatal("the window has passed")
	}
	b.Refund(policy.BudgetWindow, 3)
	if b.Retry(policy.BudgetWindow, 100) != 3 {
		t.Fatal("three were given back")
	}
}

// Whatever happens, a window never holds more retries than its share and the free ones.
func TestBudgetHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := float64(rapid.IntRange(1, 100).Draw(t, "share")) / 100
		b := policy.NewBudget(share)
		type event struct {
			part  int64
			retry bool
		}
		var events []event
		now := time.Duration(0)
		for range rapid.IntRange(1, 300).Draw(t, "events") {
			now += time.Duration(rapid.IntRange(0, 800).Draw(t, "ms")) * time.Millisecond
			part := int64(now / (policy.BudgetWindow / 10))
			count := func() (firsts, retries int) {
				for _, e := range events {
					switch {
					case e.part <= part-10:
					case e.retry:
						retries++
					default:
						firsts++
					}
				}
				return firsts, retries
			}
			if rapid.Bool().Draw(t, "first") {
				b.First(now, 1)
				events = append(events, event{part, false})
				continue
			}
			firsts, retries := count()
			n := rapid.IntRange(1, 5).Draw(t, "n")
			want := 0
			for want < n && float64(retries+want+1) <= share*float64(firsts)+policy.BudgetMinimum+1e-9 {
				want++
				events = append(events, event{part, true})
			}
			if got := b.Retry(now, n); got != want {
				t.Fatalf("%d retries to %d first tries at %g: of %d allowed %d", retries, firsts, share, n, got)
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	l := policy.NewRateLimit(plan.RateLimit{Rate: 10, Burst: 3})
	for i, want := range []time.Duration{0, 0, 0, 100 * time.Millisecond, 200 * time.Millisecond} {
		if wait, ok := l.Take(0, 1, 0); !ok || wait != want {
			t.Errorf("request %d: wait %s, want %s", i+1, wait, want)
		}
	}
	if wait, ok := l.Take(0, 1, 250*time.Millisecond); ok || wait != 300*time.Millisecond {
		t.Errorf("patience: %s %t", wait, ok)
	}
	if wait, ok := l.Take(0, 1, 301*time.Millisecond); !ok || wait != 300*time.Millisecond {
		t.Errorf("what was refused took nothing: %s %t", wait, ok)
	}
	if wait, _ := l.Take(time.Hour, 3, 0); wait != 0 {
		t.Errorf("a burst after a pause waits %s", wait)
	}
	if wait, _ := l.Take(time.Hour, 1, 0); wait != 100*time.Millisecond {
		t.Errorf("no more than a burst is saved up: %s", wait)
	}
}

// In no stretch of time do more requests go than the burst and the rate give.
func TestRateLimitHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := plan.RateLimit{Rate: float64(rapid.IntRange(1, 1000).Draw(t, "rate")), Burst: rapid.IntRange(1, 20).Draw(t, "burst")}
		l := policy.NewRateLimit(rules)
		var went []time.Duration
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now += time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond
			patience := time.Duration(rapid.IntRange(0, 100).Draw(t, "patience")) * time.Millisecond
			n := rapid.IntRange(1, rules.Burst).Draw(t, "n")
			wait, ok := l.Take(now, n, patience)
			if !ok {
				if patience == 0 || wait < patience {
					t.Fatalf("refused, though it waits %s of %s", wait, patience)
				}
				continue
			}
			for range n {
				went = append(went, now+wait)
			}
		}
		for i := range went {
			for j := i; j < len(went); j++ {
				if most := float64(rules.Burst) + rules.Rate*(went[j]-went[i]).Seconds() + 1e-3; float64(j-i+1) > most {
					t.Fatalf("%d requests in %s, at most %g", j-i+1, went[j]-went[i], most)
				}
			}
		}
	})
}

func TestBulkheadIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := plan.Concurrency{Limit: rapid.IntRange(1, 4).Draw(t, "limit"), Queue: rapid.IntRange(-1, 4).Draw(t, "queue")}
		b := policy.NewBulkhead(rules)
		in := 0
		var line []*policy.Place
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			switch do := rapid.IntRange(0, 2).Draw(t, "do"); {
			case do == 0:
				n := rapid.IntRange(1, 3).Draw(t, "n")
				got, p := b.Enter(n)
				room := min(n, rules.Limit-in)
				full := rules.Queue >= 0 && len(line) >= rules.Queue
				if got != room || (p != nil) != (room == 0 && !full) {
					t.Fatalf("%d in, %d wait, %d come: entered %d, place %v", in, len(line), n, got, p)
				}
				in += got
				if p != nil {
					line = append(line, p)
				}
				if more := b.More(n); more != min(n, rules.Limit-in) {
					t.Fatalf("%d more with %d in", more, in)
				} else {
					in += more
				}
			case do == 1 && in > 0:
				p := b.Leave()
				if (p == nil) != (len(line) == 0) || p != nil && p != line[0] {
					t.Fatal("the place did not go to the first in the line")
				}
				if p != nil {
					line = line[1:]
					if b.GiveUp(p) {
						t.Fatal("given up after it was granted")
					}
				} else {
					in--
				}
			case do == 2 && len(line) > 0:
				i := rapid.IntRange(0, len(line)-1).Draw(t, "which")
				if !b.GiveUp(line[i]) {
					t.Fatal("it stood in the line")
				}
				line = append(line[:i:i], line[i+1:]...)
			}
			if gotIn, gotLine := b.Counts(); gotIn != in || gotLine != len(line) {
				t.Fatalf("%d in and %d wait, want %d and %d", gotIn, gotLine, in, len(line))
			}
		}
	})
}

func TestPauseAfter(t *testing.T) {
	r := plan.Retry{Attempts: 5, Initial: time.Second, Factor: 2, Max: 4 * time.Second, Jitter: 0.2}
	none, most := func() float64 { return 0 }, func() float64 { return 0.999 }
	for _, c := range []struct {
		attempt int
		after   time.Duration
		random  func() float64
		want    time.Duration
	}{
		{1, 0, none, time.Second},
		{1, 500 * time.Millisecond, none, time.Second},
		{1, 30 * time.Second, none, 30 * time.Second},
		{1, 30 * time.Second, most, 30*time.Second + 5994*time.Millisecond},
		{3, time.Second, none, 4 * time.Second},
		{1, 24 * time.Hour, none, policy.MaxRetryAfter},
		{1, -time.Hour, none, time.Second},
	} {
		if got := policy.PauseAfter(r, c.attempt, c.after, c.random); got != c.want {
			t.Errorf("attempt %d, asked for %s: %s, want %s", c.attempt, c.after, got, c.want)
		}
	}
}
