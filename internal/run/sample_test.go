package run

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

func TestSamples(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			w := newWorks(t)
			src := newTap()
			w.sources["a/from"] = src
			odd := plan.Node{Name: "odd", Verb: "filter", Op: &plan.Apply{Step: parsed(keepEven)}}
			bad := plan.Node{Name: "bad", Verb: "map", Op: &plan.Apply{Step: parsed(func(_ *penstock.Batch, m *penstock.Message) error {
				if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n == 4 {
					return penstock.E(penstock.Unprocessable, "bad", "body.n", "four is too many")
				}
				return nil
			})}}
			r, over := running(t, &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: order, Key: field("k"), Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(odd, bad, into("a"))})}}, w.options())
			ways := map[string]string{}
			stop := r.Sample(SampleOptions{PerSecond: 3, See: func(s Shown) {
				at := s.Step
				if at == "" {
					at = s.What
				}
				if s.First {
					at = "first " + at
				}
				if s.Cause != nil {
					at += fmt.Sprintf(" at %s (%s) of %s", s.At, penstock.CodeOf(s.Cause), s.Came)
				}
				ways[s.ID] += at + "; "
			}})
			src.pour(0, 5)
			eventually(t, "all five", func() bool { s := r.Snapshot().Flows[0]; return s.Done+s.Filtered+s.Dead == 5 })
			stop()
			src.pour(5, 6)
			close(src.in)
			if err := <-over; err != nil {
				t.Fatal(err)
			}
			for id, want := range map[string]string{
				"spring@0": "first came; odd; bad; to; done; ", "spring@1": "first came; odd; filtered; ", "spring@2": "first came; odd; bad; to; done; ", "spring@3": "",
				"spring@4": `dead at bad (unprocessable) of {"n":4,"k":"k4"}; `, "spring@5": "",
			} {
				if id = strings.Replace(id, "spring", "tap", 1); ways[id] != want {
					t.Errorf("%s: %q, want %q", id, ways[id], want)
				}
			}
		})
	}
}

// TestSamplesHaveAnswers follows messages whose calls fail at first, and are remembered.
func TestSamplesHaveAnswers(t *testing.T) {
	for _, order := range orders {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", order, cached), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := &upstream{answer: func(_ context.Context, try int64) error {
						if try == 1 {
							return errDown
						}
						return nil
					}}
					b := asking(order, 3, plan.Policy{}, u, func(op *plan.Call, n *plan.Node) {
						op.Endpoint.Policy = nil
						if cached {
							op.Cache = &plan.Cache{TTL: time.Hour, Size: 1 << 20, Key: field("k")}
						}
					})
					b.source.batch, b.flow.Concurrency = 1, 1
					b.flow.OnError.Retry = plan.Retry{Attempts: 3}
					var mu sync.Mutex
					var saw []string
					b.made = func(r *Runner) {
						r.Sample(SampleOptions{PerSecond: 10, See: func(s Shown) {
							mu.Lock()
							defer mu.Unlock()
							switch {
							case s.What == "came":
								saw = append(saw, fmt.Sprintf("%s came by %d", s.Body, s.Source))
							case s.What == "answered" && s.Cause != nil:
								saw = append(saw, fmt.Sprintf("%s %s: %s", s.Step, s.Asked, s.Error))
							case s.What == "answered":
								saw = append(saw, fmt.Sprintf("%s %s: %s", s.Step, s.Asked, s.Body))
							}
						}})
					}
					b.run(t)
					// Calls are asked ahead, so that any message may be the one whose first try fails.
					ok, down, came := 0, 0, 0
					for _, s := range saw {
						switch {
						case strings.HasSuffix(s, `: {"ok":true}`):
							ok++
						case strings.HasSuffix(s, ": ask: down"):
							down++
						case strings.HasSuffix(s, " came by 1"):
							came++
						}
					}
					if ok != 3 || came != 3 || down != 1 && !cached || len(saw) != ok+down+came {
						t.Errorf("%q", saw)
					}
				})
			})
		}
	}
}
