package control_test

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/control"
)

const employing = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: orders }
spec:
  from: { http: { post: /orders } }
  steps: [ { job: { queue: labels, data: "${body}" }, into: vars.job }, { map: { id: "${vars.job.id}" } } ]
---
apiVersion: penstock.dev/v1alpha1
kind: JobQueue
metadata: { name: labels }
spec: { QUEUE }
`

// TestPulledQueuesAreReloaded: a queue is pulled from, gets another token and another lease, is taken out and put back, all while it has jobs and one of them is held.
// The tokens are those of the run's secrets.
func TestPulledQueuesAreReloaded(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PENSTOCK_SECRET_FIRST", "letmein")
	t.Setenv("PENSTOCK_SECRET_SECOND", "sesame")
	queue := func(spec string) string { return strings.Replace(employing, "QUEUE", spec, 1) }
	c := begin(t, queue(""), func(o *control.RunOptions) {
		o.Address, o.Store = address, filepath.Join(t.TempDir(), "store.db")
	})
	ask := func(token, path, body string, status int, says string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || !strings.Contains(string(text), says) {
			t.Errorf("%s %s: %d %s %v", path, body, res.StatusCode, text, err)
		}
	}
	becomes := func(text string) {
		t.Helper()
		if r := c.becomes(text); !r.OK {
			t.Fatalf("%+v %+v", r, r.Error)
		}
	}
	const at, mine = "/v1alpha1/queues/labels/", `{"jobs":[{"id":"ID","epoch":1}]}`
	becomes(queue("")) // it has begun by now
	for range 3 {
		ask("", "/orders", `{"parcel":1}`, 200, "id")
	}
	ask("", at+"lease", `{}`, 404, "")
	becomes(queue("pull: { lease: 1m, token: { secret: first } }"))
	ask("", at+"lease", `{}`, 401, "the token of the queue is needed")
	ask("letmein", at+"lease", `{}`, 200, `"epoch":1,`)
	becomes(queue("pull: { lease: 2h, token: { secret: second } }"))
	ask("letmein", at+"lease", `{}`, 401, "")
	ask("sesame", at+"lease", `{}`, 200, `"leaseMs":7`)
	if r := c.becomes(queue("pull: { token: { secret: third } }")); r.OK || r.Error == nil || !strings.Contains(r.Error.Message, "third is not there") {
		t.Fatalf("%+v %+v", r, r.Error)
	}
	ask("sesame", at+"complete", mine, 409, `"refused":["ID"]`) // it goes on as it was
	becomes(strings.ReplaceAll(queue("pull: {}"), "labels", "others"))
	ask("sesame", at+"lease", `{}`, 404, `there is no queue \"labels\"`)
	becomes(queue("pull: { token: { secret: second } }"))
	ask("sesame", at+"lease", `{"max":9}`, 200, `"epoch":3,`)
	c.stop()
	if err := <-c.over; err != nil {
		t.Error(err)
	}
}
