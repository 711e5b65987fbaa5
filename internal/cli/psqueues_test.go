package cli

import (
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/jobs"
)

func queueStatus(completed, failed int64) operate.QueueStatus {
	q := operate.QueueStatus{QueueLook: jobs.QueueLook{Queue: "labels", OldestSeconds: 61}, OpenDead: 2, WaitP50: .002, WaitP99: 1.5, RunP50: .0005, RunP99: .04}
	q.Ready, q.Leased, q.Delayed, q.Blocked, q.Completed, q.Failed, q.Dead = 1234, 5, 6, 7, completed, failed, 9
	return q
}

func TestQueuesOfPs(t *testing.T) {
	var b strings.Builder
	q := queueStatus(4000, 3)
	q.Paused = true
	showQueueStatus(&b, styles{}, []operate.QueueStatus{q})
	want := `
queue            ready  oldest  leased  delayed  blocked  completed  dead
labels (paused)  1,234   1m01s       5        6        7      4,000     2
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	if showQueueStatus(&b, styles{}, nil); b.Len() > 0 {
		t.Errorf("of no queues it says %q", b.String())
	}
}

// TestQueuesOfTop: rates are those between two looks at one process.
func TestQueuesOfTop(t *testing.T) {
	look := func(pid int, seconds float64, completed, failed int64) *operate.Status {
		return &operate.Status{PID: pid, Seconds: seconds, Queues: []operate.QueueStatus{queueStatus(completed, failed)}}
	}
	for name, c := range map[string]struct {
		before *operate.Status
		done   string
		failed string
	}{
		"first":           {nil, "-", "-"},
		"second":          {look(1, 8, 2000, 1), "1,000/s", "1.0/s"},
		"another process": {look(2, 8, 2000, 1), "-", "-"},
		"a new queue":     {&operate.Status{PID: 1, Seconds: 8}, "-", "-"},
	} {
		lines := topQueues(styles{}, look(1, 10, 4000, 3), c.before)
		if len(lines) != 3 {
			t.Fatalf("%s: %q", name, lines)
		}
		want := []string{"labels", "1,234", "1m01s", "5", "6", "7", c.done, c.failed, "2.0ms", "1.5s", "500µs", "40.0ms", "2"}
		if got := strings.Fields(lines[2]); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if lines := topQueues(styles{}, &operate.Status{}, nil); lines != nil {
		t.Errorf("of no queues it says %q", lines)
	}
}
