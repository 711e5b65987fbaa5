package cli

import (
	"strings"

	"penstock.dev/penstock/internal/control/operate"
)

// showQueueStatus writes a table of the queues of jobs.
func showQueueStatus(b *strings.Builder, c styles, queues []operate.QueueStatus) {
	if len(queues) == 0 {
		return
	}
	rows := [][]string{{"queue", "ready", "oldest", "leased", "delayed", "blocked", "completed", "dead"}}
	for i := range queues {
		q := &queues[i]
		rows = append(rows, []string{queueName(q), count(q.Ready), ago(q.OldestSeconds), count(q.Leased), count(q.Delayed), count(q.Blocked), count(q.Completed), count(q.OpenDead)})
	}
	b.WriteByte('\n')
	for _, line := range queueTable(c, rows, queues) {
		b.WriteString(line + "\n")
	}
}

// queueTable is a table of queues, with what is bad in colour.
func queueTable(c styles, rows [][]string, queues []operate.QueueStatus) []string {
	right := make([]bool, len(rows[0]))
	for i := range right {
		right[i] = i > 0
	}
	out := table(rows, right)
	for i := range out {
		switch {
		case i == 0:
			out[i] = c.bold(out[i])
		case queues[i-1].OpenDead > 0 || queues[i-1].Paused:
			out[i] = c.yellow(out[i])
		}
	}
	return out
}

func queueName(q *operate.QueueStatus) string {
	if q.Paused {
		return q.Queue + " (paused)"
	}
	return q.Queue
}

// topQueues is the table of queues below that of flows: how many jobs stand where, how many were completed and failed each second since the look before (nil: there was
// none), and how long they wait and take.
func topQueues(c styles, st, before *operate.Status) []string {
	if len(st.Queues) == 0 {
		return nil
	}
	rows := [][]string{{"queue", "ready", "oldest", "leased", "delayed", "blocked", "done", "failed", "wait p50", "p99", "run p50", "p99", "dead"}}
	for i := range st.Queues {
		q := &st.Queues[i]
		done, failed := "-", "-"
		if o := queueBefore(before, q.Queue); o != nil && before.PID == st.PID && st.Seconds > before.Seconds {
			t := st.Seconds - before.Seconds
			done, failed = rate(float64(q.Completed-o.Completed)/t), rate(float64(q.Failed-o.Failed)/t)
		}
		rows = append(rows, []string{queueName(q), count(q.Ready), ago(q.OldestSeconds), count(q.Leased), count(q.Delayed), count(q.Blocked), done, failed,
			latency(q.WaitP50), latency(q.WaitP99), latency(q.RunP50), latency(q.RunP99), count(q.OpenDead)})
	}
	return append([]string{""}, queueTable(c, rows, st.Queues)...)
}

func queueBefore(st *operate.Status, queue string) *operate.QueueStatus {
	if st == nil {
		return nil
	}
	for i := range st.Queues {
		if st.Queues[i].Queue == queue {
			return &st.Queues[i]
		}
	}
	return nil
}
