package conform

import (
	"fmt"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/membroker"
)

func records(bodies []string) (out []membroker.Record) {
	for i, body := range bodies {
		out = append(out, membroker.Record{Key: fmt.Sprint(i % 7), Body: body})
	}
	return out
}

// The suites for brokers are tried on a broker in memory, here, and on the real ones where their drivers are.

func TestTransactorOfABrokerInMemory(t *testing.T) {
	Transactor(t, TransactorHarness{Refused: membroker.TooLarge, New: func(testing.TB) TransactorMedium {
		b := membroker.New()
		b.Topic("in", 3)
		b.Topic("out", 3)
		return TransactorMedium{
			Put:    func(_ testing.TB, bodies []string) { b.Put("in", records(bodies)...) },
			Source: func(testing.TB) penstock.Source { return b.Source("in", "g") },
			Sink:   func(testing.TB) penstock.Sink { return b.Sink("out") },
			Committed: func(testing.TB) (out []string) {
				for _, r := range b.Committed("out") {
					out = append(out, r.Body)
				}
				return out
			},
			Expel: func(_ testing.TB, s penstock.Source) { b.Expel(s.(*membroker.Source)) },
		}
	}})
}

func TestTopicOfABrokerInMemory(t *testing.T) {
	spec := penstock.Spec{Name: "mem", Settle: penstock.Cumulative, Replay: penstock.ReplayPosition, Keeps: true}
	Broker(t, BrokerHarness{Spec: spec, Features: BrokerFeatures{Shares: true, Repeats: true}, New: func(testing.TB) BrokerMedium {
		b := membroker.New()
		b.Topic("in", 1)
		return BrokerMedium{
			Put:    func(_ testing.TB, bodies []string) { b.Put("in", records(bodies)...) },
			Source: func(testing.TB) penstock.Source { return b.Source("in", "g") },
			Die:    func(_ testing.TB, s penstock.Source) { b.Expel(s.(*membroker.Source)) },
			Cut:    func(testing.TB) { b.Rebalance("in", "g") },
		}
	}})
	Source(t, SourceHarness{Spec: spec, Features: SourceFeatures{Resumes: true}, Fill: func(_ testing.TB, bodies []string) func(testing.TB) penstock.Source {
		b := membroker.New()
		b.Topic("in", 3)
		b.Put("in", records(bodies)...)
		n := 0
		return func(testing.TB) penstock.Source {
			n++
			return b.Source("in", fmt.Sprint("g", n)) // only what the engine keeps counts
		}
	}})
}

func TestQueueOfABrokerInMemory(t *testing.T) {
	spec := penstock.Spec{Name: "mem", Settle: penstock.Each, Replay: penstock.ReplayAgain}
	Broker(t, BrokerHarness{Spec: spec, Features: BrokerFeatures{Shares: true, Returns: true}, New: func(testing.TB) BrokerMedium {
		b := membroker.New()
		var all []*membroker.Consumer
		return BrokerMedium{
			Put: func(_ testing.TB, bodies []string) { b.Push("q", records(bodies)...) },
			Source: func(testing.TB) penstock.Source {
				all = append(all, b.Consumer("q"))
				return all[len(all)-1]
			},
			Die: func(_ testing.TB, s penstock.Source) { s.(*membroker.Consumer).Cut() },
			Cut: func(testing.TB) {
				for _, c := range all {
					c.Cut()
				}
			},
		}
	}})
}

func TestSinkOfABrokerInMemory(t *testing.T) {
	Sink(t, SinkHarness{Features: SinkFeatures{Continues: true, Knows: true}, Refused: membroker.TooLarge, New: func(testing.TB) SinkMedium {
		b := membroker.New()
		b.Knows("out", time.Hour)
		return SinkMedium{
			Sink: func(testing.TB) penstock.Sink {
				s := b.Sink("out")
				s.Env = &penstock.Env{Name: "f/to"}
				return s
			},
			Written: func(testing.TB) (out []string) {
				for _, r := range b.Committed("out") {
					out = append(out, r.Body)
				}
				return out
			},
			Break: func(testing.TB) {
				b.Fault = func(string) error { return penstock.E(penstock.Unavailable, "write", "", "broken") }
			},
		}
	}})
}
