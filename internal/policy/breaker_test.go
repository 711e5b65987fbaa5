package policy_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		err  error
		want policy.Verdict
	}{
		{nil, policy.Healthy},
		{penstock.E(penstock.Unavailable, "", "", "x"), policy.Failing},
		{penstock.E(penstock.Timeout, "", "", "x"), policy.Failing},
		{penstock.E(penstock.Internal, "", "", "x"), policy.Failing},
		{errors.New("a driver that says nothing"), policy.Failing},
		{penstock.E(penstock.Limited, "", "", "x"), policy.Healthy},
		{penstock.E(penstock.Invalid, "", "", "x"), policy.Healthy},
		{penstock.E(penstock.NotFound, "", "", "x"), policy.Healthy},
		{penstock.E(penstock.Cancelled, "", "", "x"), policy.Unknown},
	} {
		if got := policy.VerdictOf(c.err); got != c.want {
			t.Errorf("VerdictOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// Each line is one thing that happens: at second, what, and the state behind it.
func TestBreaker(t *testing.T) {
	rules := plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 4, Open: 5 * time.Second, HalfOpen: 2}
	type event struct {
		at   float64
		do   string // ok, fail, gone: a try that ends so; begin, and end-ok … end a try that was begun before
		want string // state, or how long is to be waited
	}
	for name, events := range map[string][]event{
		"below the minimum nothing counts": {{0, "fail", "closed"}, {1, "fail", "closed"}, {2, "fail", "closed"}, {3, "ok", "open"}},
		"below the share":                  {{0, "fail", "closed"}, {0, "ok", "closed"}, {0, "ok", "closed"}, {0, "ok", "closed"}, {0, "fail", "closed"}, {0, "fail", "open"}},
		"what is over does not count":      {{0, "fail", "closed"}, {1, "fail", "closed"}, {2, "fail", "closed"}, {11.5, "fail", "closed"}, {11.6, "fail", "closed"}, {11.7, "fail", "open"}},
		"cancelled says nothing":           {{0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "closed"}, {0, "gone", "closed"}, {0, "gone", "closed"}, {0, "fail", "open"}},
		"opens, refuses, probes, closes": {{0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "open"},
			{1, "begin", "4s"}, {4, "begin", "1s"}, {5, "begin", "halfOpen"}, {5, "begin", "halfOpen"}, {5, "begin", "5s"},
			{6, "end-ok", "halfOpen"}, {6, "begin", "5s"}, {7, "end-ok", "closed"}, {7, "fail", "closed"}},
		"one probe that fails opens it again": {{0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "open"},
			{5, "begin", "halfOpen"}, {5, "begin", "halfOpen"}, {6, "end-ok", "halfOpen"}, {6, "end-fail", "open"}, {10, "begin", "1s"}, {11, "begin", "halfOpen"}},
		"a probe that was cancelled gives its place back": {{0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "open"},
			{5, "begin", "halfOpen"}, {5, "begin", "halfOpen"}, {5, "end-gone", "halfOpen"}, {5, "begin", "halfOpen"}, {5, "begin", "5s"}},
		"a try from before says nothing of the probes": {{0, "begin", "closed"}, {0, "begin", "closed"}, {0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "closed"}, {0, "fail", "open"},
			{1, "end-fail", "open"}, {5, "ok", "halfOpen"}, {5, "end-fail", "halfOpen"}, {5, "ok", "closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := policy.NewBreaker(rules)
			var begun []policy.Ticket
			for i, e := range events {
				now := time.Duration(e.at * float64(time.Second))
				verdict := map[string]policy.Verdict{"ok": policy.Healthy, "fail": policy.Failing, "gone": policy.Unknown}
				got := ""
				switch e.do {
				case "end-ok", "end-fail", "end-gone":
					b.Done(now, begun[0], verdict[e.do[4:]].Of())
					begun = begun[1:]
				default:
					ticket, k, wait := b.Allow(now, 1)
					switch {
					case k == 0:
						got = wait.String()
					case e.do == "begin":
						begun = append(begun, ticket)
					default:
						b.Done(now, ticket, verdict[e.do].Of())
					}
				}
				if got == "" {
					got = b.Snapshot(now).State.String()
				}
				if got != e.want {
					t.Fatalf("event %d, %s at %gs: %s, want %s", i, e.do, e.at, got, e.want)
				}
			}
		})
	}
}

func TestBreakerRefusesOnlyWhileItIsOpen(t *testing.T) {
	b := policy.NewBreaker(plan.Breaker{Failures: 1, Window: time.Second, Minimum: 1, Open: time.Second, HalfOpen: 1})
	if _, refuses := b.Refuses(0); refuses {
		t.Error("a closed breaker refuses")
	}
	ticket, _, _ := b.Allow(0, 1)
	b.Done(0, ticket, policy.Failing.Of())
	if wait, refuses := b.Refuses(400 * time.Millisecond); !refuses || wait != 600*time.Millisecond {
		t.Errorf("open for another %s, %t", wait, refuses)
	}
	if _, refuses := b.Refuses(time.Second); refuses {
		t.Error("it is time for a probe, and it refuses")
	}
	if s := b.Snapshot(time.Second); s.State != policy.Open || s.Opened != 1 {
		t.Errorf("looking changed it: %+v", s)
	}
}

// model is a breaker as one would write it without a thought for cost.
type model struct {
	rules          plan.Breaker
	state          policy.State
	opened         time.Duration
	tries          []tried
	life           int
	probes, passed int
}

type tried struct {
	part   int64 // tenth of a window
	failed bool
}

func (m *model) change(s policy.State) {
	m.state, m.life, m.probes, m.passed = s, m.life+1, 0, 0
}

func (m *model) allow(now time.Duration, n int) (life, k int) {
	if m.state == policy.Open && now >= m.opened+m.rules.Open {
		m.change(policy.HalfOpen)
	}
	switch m.state {
	case policy.Closed:
		return m.life, n
	case policy.HalfOpen:
		for k < n && m.probes+m.passed < m.rules.HalfOpen {
			m.probes++
			k++
		}
		return m.life, k
	}
	return 0, 0
}

func (m *model) done(now time.Duration, life int, ends policy.Tally) {
	if life != m.life {
		return
	}
	open := func() {
		m.opened = now
		m.change(policy.Open)
	}
	if m.state == policy.HalfOpen {
		m.probes -= ends[0] + ends[1] + ends[2]
		m.passed += ends[policy.Healthy]
		if ends[policy.Failing] > 0 {
			open()
		} else if m.passed == m.rules.HalfOpen {
			m.tries = nil
			m.change(policy.Closed)
		}
		return
	}
	if ends[policy.Healthy]+ends[policy.Failing] == 0 {
		return
	}
	part := int64(now / (m.rules.Window / 10))
	for range ends[policy.Healthy] {
		m.tries = append(m.tries, tried{part, false})
	}
	for range ends[policy.Failing] {
		m.tries = append(m.tries, tried{part, true})
	}
	total, failed := 0, 0
	for _, e := range m.tries {
		if e.part > part-10 {
			total++
			if e.failed {
				failed++
			}
		}
	}
	if total >= m.rules.Minimum && float64(failed)/float64(total) >= m.rules.Failures-1e-9 {
		open()
	}
}

func TestBreakerIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := plan.Breaker{
			Failures: float64(rapid.IntRange(1, 100).Draw(t, "share")) / 100, Window: time.Duration(rapid.IntRange(1, 20).Draw(t, "window")) * time.Second,
			Minimum: rapid.IntRange(1, 8).Draw(t, "minimum"), Open: time.Duration(rapid.IntRange(1, 8).Draw(t, "open")) * time.Second, HalfOpen: rapid.IntRange(1, 4).Draw(t, "probes"),
		}
		b, m := policy.NewBreaker(rules), &model{rules: rules}
		type flight struct {
			ticket policy.Ticket
			life   int
			n      int
		}
		var flights []flight
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
			if len(flights) > 0 && rapid.Bool().Draw(t, "end") {
				i := rapid.IntRange(0, len(flights)-1).Draw(t, "which")
				var ends policy.Tally
				for range flights[i].n {
					ends[rapid.IntRange(0, 2).Draw(t, "verdict")]++
				}
				b.Done(now, flights[i].ticket, ends)
				m.done(now, flights[i].life, ends)
				flights = append(flights[:i], flights[i+1:]...)
			} else {
				n := rapid.IntRange(1, 3).Draw(t, "n")
				ticket, k, wait := b.Allow(now, n)
				life, want := m.allow(now, n)
				if k != want {
					t.Fatalf("at %s in state %s: allowed %d, want %d", now, m.state, k, want)
				}
				if k > 0 {
					flights = append(flights, flight{ticket, life, k})
				} else if wait <= 0 || wait > rules.Open {
					t.Fatalf("wait %s", wait)
				}
			}
			if got := b.Snapshot(now).State; got != m.state {
				t.Fatalf("at %s: %s, want %s", now, got, m.state)
			}
		}
	})
}

func TestBreakerCostsNoMemory(t *testing.T) {
	b := policy.NewBreaker(plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: time.Second, HalfOpen: 1})
	now := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += time.Millisecond
		if _, refuses := b.Refuses(now); refuses {
			t.Fatal("open")
		}
		ticket, _, _ := b.Allow(now, 1)
		b.Done(now, ticket, policy.Healthy.Of())
	}); n > 0 {
		t.Errorf("%g allocations a try", n)
	}
}

func BenchmarkBreaker(b *testing.B) {
	br := policy.NewBreaker(plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: time.Second, HalfOpen: 1})
	now := time.Duration(0)
	for b.Loop() {
		now += time.Microsecond
		br.Refuses(now)
		ticket, _, _ := br.Allow(now, 1)
		br.Done(now, ticket, policy.Healthy.Of())
	}
}

func ExampleState_String() {
	fmt.Println(policy.Closed, policy.Open, policy.HalfOpen)
	// Output: closed open halfOpen
}
