package control_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

const pushing = `apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: printer }
spec: { http: { url: "%s" } }
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: labels }
spec:
  retry: { attempts: 9, backoff: { initial: 10s, factor: 1, jitter: 0.5 } }
  push: { http: { connection: printer, post: /labels } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: employ }
spec:
  from: { stdin: { format: { json: {} } } }
  steps: [ { job: { queue: labels, data: "${body}" } } ]
  to: { drop: {} }
`

// TestPushWaitsAsLongAsItIsAsked: an endpoint that asks for time gets it, in seconds and as a date, up to a bound, and never comes sooner than the queue's retry. A
// run with Once leaves the job where it waits, which is looked at then.
func TestPushWaitsAsLongAsItIsAsked(t *testing.T) {
	clk := newClock()
	for _, c := range []struct {
		status      int
		after       string
		least, most time.Duration
	}{
		{429, "60", time.Minute, 90 * time.Second},
		{503, clk.Now().Add(2 * time.Minute).Format(http.TimeFormat), 2 * time.Minute, 3 * time.Minute},
		{429, "86400", 5 * time.Minute, 450 * time.Second},
		{503, "1", 5 * time.Second, 10 * time.Second},
		{503, "soon", 5 * time.Second, 10 * time.Second},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.after), func(t *testing.T) {
			tries := 0
			endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tries++
				if r.Header.Get("penstock-attempt") != strconv.Itoa(tries) || r.Header.Get("idempotency-key") == "" {
					t.Errorf("try %d has the header %v", tries, r.Header)
				}
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(c.status)
			}))
			defer endpoint.Close()
			s := &control.Service{Registry: edition.Standard(), Clock: clk}
			path := filepath.Join(t.TempDir(), "store.db")
			conf := checked(t, s, fmt.Sprintf(pushing, endpoint.URL))
			o := control.RunOptions{Stdin: strings.NewReader("{\"parcel\":1}\n"), Stdout: io.Discard, DeadLetters: t.TempDir(), Store: path, Flows: []string{"employ"}}
			if _, err := s.Run(t.Context(), conf, o); err != nil {
				t.Fatal(err)
			}
			o.Stdin, o.Flows, o.Once = strings.NewReader(""), nil, true
			if _, err := s.Run(t.Context(), conf, o); err != nil {
				t.Fatal(err)
			}
			if tries != 1 {
				t.Fatalf("it was pushed %d times", tries)
			}
			st, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			var waits []*jobs.Job
			if err := st.View(t.Context(), func(v store.View) (err error) {
				waits, err = jobs.New(jobs.Config{Name: "labels"}, st.Parts()).List(v.State(), jobs.Delayed, 9)
				return err
			}); err != nil || len(waits) != 1 {
				t.Fatal(waits, err)
			}
			if d := time.Duration(waits[0].At - clk.Now().UnixNano()); d < c.least || d > c.most {
				t.Errorf("it waits for %s, not %s to %s", d, c.least, c.most)
			}
		})
	}
}
