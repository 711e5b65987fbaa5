package metrics

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/observe/otlp"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
)

// Sources is what is read at a scrape. All functions are called from any goroutine.
type Sources struct {
	Version, Commit, Go string
	// Run is what the run has done so far.
	Run func() *run.Summary
	// Behind is how far readers of the store are behind, and what of it is dead; nil, or a nil result: there is no store open.
	Behind func(context.Context) (*Behind, error)
	// Jobs looks at the queues of jobs; nil, or none: there are none, or there is no store open.
	Jobs func(context.Context) ([]JobQueue, error)
	// Views looks at the views; nil, or none: there are none, or there is no store open.
	Views func(context.Context) ([]View, error)
	// Store counts what the store did; nil, or false: there is none open.
	Store func() (store.Stats, bool)
	// Spans counts what became of spans; nil: nobody records any.
	Spans func() Spans
}

// Spans counts what became of spans.
type Spans struct {
	otlp.Stats
	Limited int64 // messages that began no trace since there were too many
}

// Behind is what stands in the store.
type Behind struct {
	Groups []Lag
	Dead   map[string]int64 // open dead letters, by flow
}

// Lag is how far a group of readers is behind.
type Lag struct {
	Channel, Group string
	Messages       int64
	Age            float64 // seconds, of the oldest
}

// collector reads the sources at each scrape.
type collector struct {
	s      Sources
	desc   map[string]described
	failed atomic.Int64
}

var _ prometheus.Collector = (*collector)(nil)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.desc {
		out <- d.desc
	}
}

// page is one scrape.
type page struct {
	c   *collector
	out chan<- prometheus.Metric
}

func (p page) put(name string, v float64, labels ...string) {
	d, ok := p.c.desc[name]
	if !ok || d.n != len(labels) { // a fault of this package: its tests find it
		panic(fmt.Sprintf("metrics: %s with the labels %v is not described", name, labels))
	}
	for i := range labels {
		labels[i] = clean(labels[i])
	}
	p.out <- prometheus.MustNewConstMetric(d.desc, d.typ, v, labels...)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	p := page{c, out}
	p.put("penstock_build_info", 1, c.s.Version, c.s.Commit, c.s.Go)
	sum := c.s.Run()
	for i := range sum.Flows {
		p.flow(&sum.Flows[i])
	}
	for _, ch := range sum.Channels {
		p.put("penstock_channel_messages_total", float64(ch.Handed), ch.Name)
		if !ch.Durable {
			p.put("penstock_channel_queued_messages", float64(ch.Lost), ch.Name)
		}
	}
	for i := range sum.Guards {
		p.guard(&sum.Guards[i])
	}
	dead := map[string]int64{}
	if c.s.Behind != nil {
		ctx, cancel := context.WithTimeout(context.Background(), store.MaxView)
		b, err := c.s.Behind(ctx)
		cancel()
		if err != nil {
			c.failed.Add(1)
		} else if b != nil {
			p.behind(b)
			dead = b.Dead
		}
	}
	if c.s.Jobs != nil {
		if err := p.queues(c.s.Jobs, dead); err != nil {
			c.failed.Add(1)
		}
	}
	if c.s.Views != nil {
		if err := p.views(c.s.Views); err != nil {
			c.failed.Add(1)
		}
	}
	p.put("penstock_collect_errors_total", float64(c.failed.Load()))
	if c.s.Store != nil {
		if s, ok := c.s.Store(); ok {
			p.store(&s)
		}
	}
	if c.s.Spans != nil {
		s := c.s.Spans()
		p.put("penstock_spans_exported_total", float64(s.Exported))
		p.put("penstock_spans_dropped_total", float64(s.Dropped), "queue")
		p.put("penstock_spans_dropped_total", float64(s.Failed), "export")
		p.put("penstock_spans_queued", float64(s.Queued))
		p.put("penstock_traces_limited_total", float64(s.Limited))
	}
}

// states are those of flows.
var states = []string{run.StateRunning, run.StatePaused, run.StateBlocked, run.StateEnded}

func (p page) flow(f *run.FlowSummary) {
	p.put("penstock_messages_read_total", float64(f.Read), f.Name)
	for outcome, n := range map[string]int64{"done": f.Done, "filtered": f.Filtered, "dead": f.Dead, "failed": f.Failed, "late": f.Late} {
		p.put("penstock_messages_processed_total", float64(n), f.Name, outcome)
	}
	codes := map[penstock.Code]int64{}
	for _, cause := range f.Causes {
		codes[known(cause.Code)] += cause.Count
	}
	for _, code := range penstock.Codes() { // all of them from the beginning: the first error must be seen as an increase
		p.put("penstock_messages_failed_total", float64(codes[code]), f.Name, string(code))
	}
	p.put("penstock_messages_settled_total", float64(f.Read-f.Unsettled), f.Name)
	p.put("penstock_messages_in_flight", float64(f.Unsettled), f.Name)
	p.put("penstock_messages_passed_over_total", float64(f.Again), f.Name)
	p.put("penstock_messages_undone_total", float64(f.Undone), f.Name)
	p.put("penstock_messages_redriven_total", float64(f.Redriven), f.Name)
	p.put("penstock_messages_lost_total", float64(f.Lost), f.Name)
	p.put("penstock_message_parts_total", float64(f.Split), f.Name)
	p.put("penstock_groups_completed_total", float64(f.Groups), f.Name)
	p.put("penstock_groups_bounded_total", float64(f.Bound), f.Name)
	if f.Duration != nil {
		p.histogram("penstock_message_duration_seconds", f.Duration.Snapshot(), f.Name)
	}
	for endpoint, n := range f.Sent {
		p.put("penstock_messages_sent_total", float64(n), f.Name, endpoint)
	}
	for _, s := range states {
		p.put("penstock_flow_state", is(f.State == s), f.Name, s)
	}
	p.put("penstock_budget_messages", float64(f.Budget.Messages), f.Name)
	p.put("penstock_budget_messages_limit", float64(f.Budget.MaxMessages), f.Name)
	p.put("penstock_budget_bytes", float64(f.Budget.Bytes), f.Name)
	p.put("penstock_budget_limit_bytes", float64(f.Budget.MaxBytes), f.Name)
	for _, s := range bySteps(f.Steps) {
		p.put("penstock_step_messages_total", float64(s.In), f.Name, s.Name)
		p.put("penstock_step_dropped_total", float64(s.Dropped), f.Name, s.Name)
		p.put("penstock_retries_total", float64(s.Retries), f.Name, s.Name)
		for code, n := range s.Codes {
			p.put("penstock_step_errors_total", float64(n), f.Name, s.Name, string(code))
		}
		if c := s.Cache; c != nil {
			for result, n := range map[string]int64{"hit": c.Hits, "miss": c.Misses, "joined": c.Joined, "stale": c.Stale} {
				p.put("penstock_cache_requests_total", float64(n), f.Name, s.Name, result)
			}
			p.put("penstock_cache_bytes", float64(c.Bytes), f.Name, s.Name)
		}
	}
}

// bySteps adds up what steps of one name did: branches may have such.
func bySteps(steps []run.StepSummary) []run.StepSummary {
	at := map[string]int{}
	var out []run.StepSummary
	for _, s := range steps {
		i, there := at[s.Name]
		if !there {
			at[s.Name] = len(out)
			out = append(out, s)
			continue
		}
		o := &out[i]
		o.In, o.Dropped, o.Retries = o.In+s.In, o.Dropped+s.Dropped, o.Retries+s.Retries
		sum := map[penstock.Code]int64{}
		for _, m := range []map[penstock.Code]int64{o.Codes, s.Codes} {
			for code, n := range m {
				sum[code] += n
			}
		}
		o.Codes, o.Cache = sum, o.Cache.Plus(s.Cache)
	}
	return out
}

// known is the code, or internal where a driver made one up: the set is closed.
func known(c penstock.Code) penstock.Code {
	for _, k := range penstock.Codes() {
		if c == k {
			return c
		}
	}
	return penstock.Internal
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (p page) guard(g *run.GuardSummary) {
	name := g.Connection
	p.put("penstock_connection_tries_total", float64(g.Tries), name)
	p.put("penstock_connection_failures_total", float64(g.Failures), name)
	p.put("penstock_connection_retries_total", float64(g.Retries), name)
	p.put("penstock_connection_retries_denied_total", float64(g.BudgetExhausted), name)
	p.put("penstock_connection_refused_total", float64(g.RefusedByBreaker), name, "breaker")
	p.put("penstock_connection_refused_total", float64(g.RefusedByConcurrency), name, "concurrency")
	p.put("penstock_connection_refused_total", float64(g.RefusedByRate), name, "rate")
	p.put("penstock_connection_hedges_total", float64(g.Hedges), name)
	p.put("penstock_connection_hedges_won_total", float64(g.HedgesWon), name)
	p.put("penstock_connection_in_flight", float64(g.InFlight), name)
	p.put("penstock_connection_waiting", float64(g.Waiting), name)
	if g.State == "" {
		return
	}
	for _, s := range []string{"closed", "open", "halfOpen"} {
		p.put("penstock_breaker_state", is(g.State == s), name, s)
	}
	p.put("penstock_breaker_opened_total", float64(g.Opened), name)
}

func (p page) behind(b *Behind) {
	for _, g := range b.Groups {
		p.put("penstock_channel_lag_messages", float64(g.Messages), g.Channel, g.Group)
		p.put("penstock_channel_oldest_message_age_seconds", g.Age, g.Channel, g.Group)
	}
	for flow, n := range b.Dead {
		p.put("penstock_dead_letters", float64(n), flow)
	}
}

func (p page) store(s *store.Stats) {
	if s.Durations != nil {
		p.histogram("penstock_store_commit_duration_seconds", s.Durations.Snapshot())
	}
	p.put("penstock_store_transactions_total", float64(s.Transactions))
	p.put("penstock_store_messages_total", float64(s.Messages))
	p.put("penstock_store_appended_bytes_total", float64(s.Bytes))
	p.put("penstock_store_size_bytes", float64(s.FileBytes))
	p.put("penstock_store_wal_bytes", float64(s.WALBytes))
	p.put("penstock_store_free_bytes", float64(s.FreeBytes))
	p.put("penstock_store_disk_free_bytes", float64(s.DiskFree))
}

func (p page) histogram(name string, s observe.Snapshot, labels ...string) {
	d := p.c.desc[name]
	for i := range labels {
		labels[i] = clean(labels[i])
	}
	p.out <- &histogram{desc: d.desc, labels: prometheus.MakeLabelPairs(d.desc, labels), s: s}
}
