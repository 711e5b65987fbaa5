package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
)

// modelled is a job as the model knows it.
type modelled struct {
	priority, attempts int
	key                string
	at                 int64 // may run from then on
	epoch              uint64
	lease              int64 // 0: not held
}

// TestModel does what chance says, and holds the queue to a model: no job is lost or there twice, one is held by one at a time, whoever held it
// before is refused, none begins early, none of a lower priority goes first, and no bound is passed.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := jobs.Config{Lease: 10 * time.Second, Retry: plan.Retry{Attempts: 3, Initial: 2 * time.Second, Factor: 1}, Keyed: rapid.Bool().Draw(t, "keyed")}
		if c.Keyed {
			c.KeyConcurrency = rapid.IntRange(0, 2).Draw(t, "perKey")
		}
		c.Concurrency = rapid.IntRange(0, 4).Draw(t, "total")
		b := newBench(newTB(t), inMemory, c)
		defer func() { _ = b.st.Close() }()
		live := map[string]*modelled{}
		old := []jobs.Finish{} // of leases that are over
		dead, done := 0, 0
		expire := func() {
			for id, m := range live {
				if m.lease != 0 && m.lease <= b.now {
					m.lease, m.at = 0, 0
					if m.attempts >= 3 {
						delete(live, id)
						dead++
					}
				}
			}
		}
		held := func(key string, any bool) (n int) {
			for _, m := range live {
				if m.lease != 0 && (any || m.key == key) {
					n++
				}
			}
			return n
		}
		next := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				d := jobs.Draft{ID: fmt.Sprint("j", next), Priority: rapid.IntRange(-1, 1).Draw(t, "priority"), Key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")}
				if rapid.IntRange(0, 3).Draw(t, "delay") == 0 {
					d.At = b.now + int64(rapid.IntRange(1, 20).Draw(t, "by"))*second
				}
				next++
				b.enqueue(d)
				live[d.ID] = &modelled{priority: d.Priority, key: d.Key, at: d.At}
			case 2:
				b.now += int64(rapid.IntRange(0, 12).Draw(t, "seconds")) * second
			case 3:
				n := rapid.IntRange(1, 3).Draw(t, "claims")
				got := b.claim(n)
				expire()
				for _, j := range got {
					m := live[j.ID]
					switch {
					case m == nil:
						t.Fatalf("claimed %s, which is over", j.ID)
					case m.lease != 0:
						t.Fatalf("claimed %s, which is held", j.ID)
					case m.at > b.now:
						t.Fatalf("claimed %s early", j.ID)
					case j.Epoch <= m.epoch:
						t.Fatalf("epoch %d after %d", j.Epoch, m.epoch)
					}
					m.epoch, m.lease = j.Epoch, b.now+10*second
					m.attempts++
					if c.KeyConcurrency > 0 && held(m.key, false) > c.KeyConcurrency || c.Concurrency > 0 && held("", true) > c.Concurrency {
						t.Fatalf("too many are held")
					}
				}
				if len(got) > 0 && c.KeyConcurrency == 0 { // else one that is blocked may be of a higher priority
					last := live[got[len(got)-1].ID].priority
					for id, m := range live {
						if m.lease == 0 && m.at <= b.now && m.priority > last {
							t.Fatalf("%s was passed by", id)
						}
					}
				}
				if len(got) < n && (c.Concurrency == 0 || held("", true) < c.Concurrency) {
					for id, m := range live {
						if m.lease == 0 && m.at <= b.now && (c.KeyConcurrency == 0 || held(m.key, false) < c.KeyConcurrency) {
							t.Fatalf("%s may run, and was not given to who waits", id)
						}
					}
				}
			case 4:
				expire()
				for id, m := range live {
					if m.lease == 0 {
						continue
					}
					f := jobs.Finish{ID: id, Epoch: m.epoch}
					switch rapid.IntRange(0, 3).Draw(t, "finish") {
					case 0:
						delete(live, id)
						done++
					case 1:
						f.Failed = true
						m.lease, m.at = 0, b.now+2*second
						if m.attempts >= 3 {
							delete(live, id)
							dead++
						}
					case 2:
						f.Extend = true
						m.lease = b.now + 10*second
					case 3:
						f.Release = true
						m.lease, m.at = 0, 0
						m.attempts--
					}
					b.work(&jobs.Work{}) // what is over by now is so for the queue, too
					if err := b.finish(f); err != nil {
						t.Fatalf("%+v: %v", f, err)
					}
					if !f.Extend {
						old = append(old, jobs.Finish{ID: id, Epoch: f.Epoch})
					}
					break
				}
			case 5:
				if len(old) > 0 {
					f := old[rapid.IntRange(0, len(old)-1).Draw(t, "old")]
					if err := b.finish(f); err == nil {
						t.Fatalf("%s is completed under epoch %d, which is over", f.ID, f.Epoch)
					}
				}
			}
		}
		got := b.counts()
		expire()
		if n := got.Ready + got.Delayed + got.Blocked + got.Leased; int(n) != len(live) || int(got.Dead) != dead || int(got.Completed) != done {
			t.Fatalf("%+v, and the model has %d, %d dead, %d done", got, len(live), dead, done)
		}
	})
}
