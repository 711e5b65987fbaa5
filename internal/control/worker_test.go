package control_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/jobs"
)

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// worker takes jobs of a queue of a run over HTTP.
type worker struct {
	t         *testing.T
	at, queue string // at: http://host:port
	token     string
}

// leased is a job that a worker has.
type leased struct {
	ID      string `json:"id"`
	Epoch   uint64 `json:"epoch"`
	Attempt int    `json:"attempt"`
	Key     string `json:"key"`
	Data    struct {
		Text string `json:"text"`
	} `json:"data"`
}

func (l leased) String() string { return fmt.Sprint(l.Data.Text, " ", l.Attempt) }

func (w worker) ask(path, body string, answer any) (status int) {
	w.t.Helper()
	for { // nobody may listen yet
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.at+path, strings.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+w.token)
		res, err := http.DefaultClient.Do(req)
		if err != nil && w.t.Context().Err() == nil {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err == nil && answer != nil {
			err = json.Unmarshal(text, answer)
		}
		if err != nil {
			w.t.Fatalf("%s: %d %s: %v", path, res.StatusCode, text, err)
		}
		return res.StatusCode
	}
}

// awaits asks until somebody answers at a path.
func (w worker) awaits(path, body string) {
	w.t.Helper()
	for w.ask(path, body, nil) == http.StatusNotFound {
	}
}

// counts says how many jobs of its queue stand where.
func (w worker) counts() (l jobs.Look) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.at+"/v1alpha1/queues/"+w.queue, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&l); err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatal(res.StatusCode, err)
	}
	return l
}

// finds gets what may be had at this moment.
func (w worker) finds(most int) []leased {
	w.t.Helper()
	var got struct {
		Jobs []leased `json:"jobs"`
	}
	if status := w.ask("/v1alpha1/queues/"+w.queue+"/lease", fmt.Sprintf(`{"max":%d}`, most), &got); status != http.StatusOK {
		w.t.Fatal(status)
	}
	return got.Jobs
}

// takes gets so many jobs, however long they are waited for.
func (w worker) takes(n int) (all []leased) {
	w.t.Helper()
	for len(all) < n {
		var got struct {
			Jobs []leased `json:"jobs"`
		}
		if status := w.ask("/v1alpha1/queues/"+w.queue+"/lease", fmt.Sprintf(`{"max":%d,"waitMs":60000}`, n-len(all)), &got); status != http.StatusOK {
			w.t.Fatal(status)
		}
		all = append(all, got.Jobs...)
	}
	return all
}

// completes says that a job is done.
func (w worker) completes(j leased) (status int) {
	w.t.Helper()
	return w.ask("/v1alpha1/queues/"+w.queue+"/complete", fmt.Sprintf(`{"jobs":[{"id":%q,"epoch":%d}]}`, j.ID, j.Epoch), nil)
}

// does takes the jobs that are wanted, in any order, and completes them.
func (w worker) does(want ...string) {
	w.t.Helper()
	var got []string
	for _, j := range w.takes(len(want)) {
		got = append(got, j.String())
		if status := w.completes(j); status != http.StatusOK {
			w.t.Errorf("%s is not completed: %d", j, status)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("the jobs are %q, not %q", got, want)
	}
}
