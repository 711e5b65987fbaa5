package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Family is a metric, with all its series.
type Family struct {
	Name   string
	Type   string // counter, gauge or histogram
	Labels []string
	Help   string
}

// families are all metrics of ours, in the order of the documentation.
var families = []Family{
	{"penstock_build_info", "gauge", []string{"version", "commit", "goversion"}, "The build that runs; always 1."},

	{"penstock_messages_read_total", "counter", []string{"flow"}, "Messages that came from the sources of a flow, or as requests."},
	{"penstock_messages_processed_total", "counter", []string{"flow", "outcome"}, "Messages that ended, by how: done (at the end of the steps, or by stop), filtered, dead (dead-lettered), failed (answered with an error), late (dropped behind their group). Parts of a split count each; what an aggregate takes in ends with its group."},
	{"penstock_messages_failed_total", "counter", []string{"flow", "code"}, "Messages that failed for good (dead-lettered, or answered with an error), by the code of the error."},
	{"penstock_messages_settled_total", "counter", []string{"flow"}, "Messages of which everything is through, and durable where the run keeps state."},
	{"penstock_messages_in_flight", "gauge", []string{"flow"}, "Messages that were read, and are not settled."},
	{"penstock_messages_passed_over_total", "counter", []string{"flow"}, "Messages that were read once more after they had been settled, and were passed over."},
	{"penstock_messages_undone_total", "counter", []string{"flow"}, "Messages of transactions with a broker that were undone: they are read again."},
	{"penstock_messages_redriven_total", "counter", []string{"flow"}, "Dead letters that were given in again."},
	{"penstock_messages_lost_total", "counter", []string{"flow"}, "Copies that a wire tap (wait: false) could not send."},
	{"penstock_message_parts_total", "counter", []string{"flow"}, "Parts that were made of messages by split."},
	{"penstock_message_duration_seconds", "histogram", []string{"flow"}, "From when a message was read until everything made of it had ended and, where the run keeps state, was durable. Messages that are read together end together."},
	{"penstock_messages_sent_total", "counter", []string{"flow", "endpoint"}, "Messages that were written to an endpoint."},
	{"penstock_groups_completed_total", "counter", []string{"flow"}, "Groups that aggregates completed."},
	{"penstock_groups_bounded_total", "counter", []string{"flow"}, "Of those, the ones that were completed since there were too many."},
	{"penstock_flow_state", "gauge", []string{"flow", "state"}, "1 for the state that a flow is in, 0 for the others: running, paused, blocked (it stands at an event of an entity that it can't read), ended."},
	{"penstock_budget_messages", "gauge", []string{"flow"}, "Messages that a flow holds in memory."},
	{"penstock_budget_messages_limit", "gauge", []string{"flow"}, "Messages that it may hold before its sources wait."},
	{"penstock_budget_bytes", "gauge", []string{"flow"}, "Memory that those messages take."},
	{"penstock_budget_limit_bytes", "gauge", []string{"flow"}, "Memory that they may take before its sources wait."},

	{"penstock_step_messages_total", "counter", []string{"flow", "step"}, "Messages that came to a step; one that is tried again came once."},
	{"penstock_step_dropped_total", "counter", []string{"flow", "step"}, "Messages that a step dropped."},
	{"penstock_step_errors_total", "counter", []string{"flow", "step", "code"}, "Tries of a step that failed, by the code of the error, whatever became of the message."},
	{"penstock_retries_total", "counter", []string{"flow", "step"}, "Tries after the first."},

	{"penstock_channel_messages_total", "counter", []string{"channel"}, "Messages that this process sent to a channel."},
	{"penstock_channel_queued_messages", "gauge", []string{"channel"}, "Messages that stand in a channel in memory (durable: false)."},
	{"penstock_channel_lag_messages", "gauge", []string{"channel", "group"}, "Messages of a durable channel that a group of readers has not done."},
	{"penstock_channel_oldest_message_age_seconds", "gauge", []string{"channel", "group"}, "Age of the oldest of those; 0 where there is none."},
	{"penstock_dead_letters", "gauge", []string{"flow"}, "Open dead letters in the store: neither redriven nor dropped."},

	{"penstock_job_queue_jobs", "gauge", []string{"queue", "state"}, "Jobs that are not over, by where they stand: ready, delayed (for a time, or until their next try), blocked (behind the bounds of their key), leased (with a worker); and dead, open dead letters. Of the store: every replica says the same, here and in the totals."},
	{"penstock_job_queue_oldest_ready_age_seconds", "gauge", []string{"queue"}, "For how long the job could have run that is given away next; 0 where none is ready."},
	{"penstock_job_queue_paused", "gauge", []string{"queue"}, "1 where an operator paused the queue, else 0."},
	{"penstock_job_enqueued_total", "counter", []string{"queue"}, "Jobs that were enqueued."},
	{"penstock_job_duplicates_total", "counter", []string{"queue"}, "Jobs that were not, since one that is the same was there."},
	{"penstock_job_completed_total", "counter", []string{"queue"}, "Jobs that were completed."},
	{"penstock_job_failed_total", "counter", []string{"queue"}, "Tries that failed, leases that ran out included."},
	{"penstock_job_retried_total", "counter", []string{"queue"}, "Of those, the ones after which the job is tried again."},
	{"penstock_job_dead_lettered_total", "counter", []string{"queue"}, "Of those, the ones after which the job was a dead letter."},
	{"penstock_job_cancelled_total", "counter", []string{"queue"}, "Jobs that an operator took out."},
	{"penstock_job_leases_expired_total", "counter", []string{"queue"}, "Leases that ran out: their workers were killed, cut off, or too slow with heartbeats."},
	{"penstock_job_refused_total", "counter", []string{"queue"}, "What was asked of a job by who no longer held it."},
	{"penstock_job_wait_duration_seconds", "histogram", []string{"queue"}, "From when a job, or its next try, could run until a worker got it from this process."},
	{"penstock_job_run_duration_seconds", "histogram", []string{"queue", "outcome"}, "From when a worker got a job until it told this process how it ended: completed or failed."},

	{"penstock_view_events_folded_total", "counter", []string{"view"}, "Events that this process folded into the rows of a view, those that are built anew beside included."},
	{"penstock_view_lag_events", "gauge", []string{"view"}, "Events in the source of a view that are not in its rows yet."},
	{"penstock_view_oldest_event_age_seconds", "gauge", []string{"view"}, "Age of the oldest of those; 0 where there is none."},
	{"penstock_view_rows", "gauge", []string{"view"}, "Rows of a view that are read."},
	{"penstock_view_state", "gauge", []string{"view", "state"}, "1 for the state that a view is in, 0 for the others: running, rebuilding (rows are built anew beside those that are read), waiting (events can't be read or rows not be written for now), stopped (at an event that can't be folded)."},
	{"penstock_view_errors_total", "counter", []string{"view", "by"}, "What kept a view from going on, in this process: event (it stopped at one), store (events could not be read or rows not be written; it tries again)."},

	{"penstock_cache_requests_total", "counter", []string{"flow", "step", "result"}, "Calls with a cache, by result: hit, miss, joined (they waited for one that was under way), stale (it failed, and an older answer served)."},
	{"penstock_cache_bytes", "gauge", []string{"flow", "step"}, "Memory that the cache of a call takes, about."},
	{"penstock_connection_tries_total", "counter", []string{"connection"}, "Requests that the guard of a connection let through."},
	{"penstock_connection_failures_total", "counter", []string{"connection"}, "Of those, the ones that failed, as its breaker counts."},
	{"penstock_connection_retries_total", "counter", []string{"connection"}, "Retries that were allowed."},
	{"penstock_connection_retries_denied_total", "counter", []string{"connection"}, "Retries that were not made, since the retry budget was used up."},
	{"penstock_connection_refused_total", "counter", []string{"connection", "by"}, "Requests that were refused unsent, by whom: breaker, concurrency, rate."},
	{"penstock_connection_hedges_total", "counter", []string{"connection"}, "Further requests, since an answer was late."},
	{"penstock_connection_hedges_won_total", "counter", []string{"connection"}, "Of those, the ones that answered first."},
	{"penstock_connection_in_flight", "gauge", []string{"connection"}, "Requests under way, where they are limited."},
	{"penstock_connection_waiting", "gauge", []string{"connection"}, "Requests that wait for a place."},
	{"penstock_breaker_state", "gauge", []string{"connection", "state"}, "1 for the state that a breaker is in, 0 for the others: closed, open, halfOpen."},
	{"penstock_breaker_opened_total", "counter", []string{"connection"}, "Times that a breaker opened."},

	{"penstock_store_commit_duration_seconds", "histogram", nil, "From the beginning of a group commit of the store until it was durable."},
	{"penstock_store_transactions_total", "counter", nil, "Transactions in those commits."},
	{"penstock_store_messages_total", "counter", nil, "Messages that were appended to channels of the store."},
	{"penstock_store_appended_bytes_total", "counter", nil, "Bytes of them."},
	{"penstock_store_size_bytes", "gauge", nil, "Size of the store's file."},
	{"penstock_store_wal_bytes", "gauge", nil, "Size of its write-ahead log."},
	{"penstock_store_free_bytes", "gauge", nil, "Of the file, pages that can be used again."},
	{"penstock_store_disk_free_bytes", "gauge", nil, "Free space of the disk that it is on."},

	{"penstock_spans_exported_total", "counter", nil, "Spans that the collector took."},
	{"penstock_spans_dropped_total", "counter", []string{"reason"}, "Spans that are lost: queue (it was full), export (the collector did not take them)."},
	{"penstock_spans_queued", "gauge", nil, "Spans that wait to be exported."},
	{"penstock_traces_limited_total", "counter", nil, "Messages that were to begin a trace, and did not, since more began already than telemetry.traces.limit lets."},
	{"penstock_collect_errors_total", "counter", nil, "Scrapes at which the store could not be read."},
}

// Families lists all metrics that begin with penstock_, in the order of the documentation. Beside them there are those of the Go runtime
// (go_) and of the process (process_).
func Families() []Family { return slices.Clone(families) }

// described is a family as the client has it.
type described struct {
	desc *prometheus.Desc
	typ  prometheus.ValueType
	n    int // labels
}

// describe makes the descriptions of all families.
func describe() map[string]described {
	out := map[string]described{}
	for _, f := range families {
		t := prometheus.GaugeValue
		if f.Type == "counter" {
			t = prometheus.CounterValue
		}
		out[f.Name] = described{prometheus.NewDesc(f.Name, strings.TrimSuffix(f.Help, "."), f.Labels, nil), t, len(f.Labels)}
	}
	return out
}
