package observe_test

import (
	"fmt"
	"strings"
	"testing"
)

// labour is a queue of jobs, of which one in two is done and the others are refused, and one whose jobs have time.
const labour = `
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: tasks }
spec: { retry: { attempts: 2, backoff: { initial: 1ms } } }
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: someday }
spec: { pull: {}, unique: { by: body.text } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: employ }
spec:
  from: { http: { post: /jobs } }
  steps:
    - job: { queue: tasks, data: { text: "${body.text}" } }
    - job: { queue: someday, data: { text: same }, delay: 24h }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: toil }
spec:
  from: { queue: tasks }
  steps:
    - fail: { code: unprocessable, message: "${body.text}" }
      when: body.text.startsWith("bad")
    - fail: { code: unavailable, message: "${body.text}" }
      when: body.text.startsWith("away")
  to: { drop: {} }
`

// feedJobs enqueues n jobs of each sort.
func feedJobs(r *running, n int) {
	r.t.Helper()
	for i := range n {
		for _, sort := range []string{"good", "bad", "away"} {
			if code, got := r.post("/jobs", fmt.Sprintf(`{"text":"%s%d"}`, sort, i)); code != 200 {
				r.t.Fatalf("%d %s", code, got)
			}
		}
	}
	r.until("/metrics", fmt.Sprintf(`penstock_job_completed_total{queue="tasks"} %d`, n))
	r.until("/metrics", fmt.Sprintf(`penstock_job_dead_lettered_total{queue="tasks"} %d`, 2*n))
}

// What the queues of jobs show is what became of their jobs.
func TestMetricsOfJobs(t *testing.T) {
	r := start(t, mixed, map[string]string{}, nil)
	feedJobs(r, 3)
	_, text := r.get("/metrics")
	for _, line := range []string{
		`penstock_job_queue_jobs{queue="tasks",state="ready"} 0`,
		`penstock_job_queue_jobs{queue="tasks",state="leased"} 0`,
		`penstock_job_queue_jobs{queue="tasks",state="delayed"} 0`,
		`penstock_job_queue_jobs{queue="tasks",state="blocked"} 0`,
		`penstock_job_queue_jobs{queue="tasks",state="dead"} 6`,
		`penstock_job_queue_jobs{queue="someday",state="delayed"} 1`,
		`penstock_job_queue_oldest_ready_age_seconds{queue="tasks"} 0`,
		`penstock_job_queue_paused{queue="tasks"} 0`,
		`penstock_job_enqueued_total{queue="tasks"} 9`,
		`penstock_job_enqueued_total{queue="someday"} 1`,
		`penstock_job_duplicates_total{queue="someday"} 8`,
		`penstock_job_failed_total{queue="tasks"} 9`, // those that are away have two tries
		`penstock_job_retried_total{queue="tasks"} 3`,
		`penstock_job_cancelled_total{queue="tasks"} 0`,
		`penstock_job_leases_expired_total{queue="tasks"} 0`,
		`penstock_job_refused_total{queue="tasks"} 0`,
		`penstock_job_wait_duration_seconds_count{queue="tasks"} 12`,
		`penstock_job_run_duration_seconds_count{outcome="completed",queue="tasks"} 3`,
		`penstock_job_run_duration_seconds_count{outcome="failed",queue="tasks"} 9`,
		`penstock_job_run_duration_seconds_count{outcome="failed",queue="someday"} 0`,
		`penstock_collect_errors_total 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
