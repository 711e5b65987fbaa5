package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// refusal is an answer that is none of 2xx.
type refusal struct {
	status  int
	detail  string
	refused []string
	after   time.Duration
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.detail) }

// passes says that the same request may do later.
func (r *refusal) passes() bool {
	return r.status >= 500 || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout
}

// ask makes one request.
func (w *Worker) ask(ctx context.Context, what string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+"/"+what, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if w.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+w.o.Token)
	}
	res, err := w.o.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 == 2 {
		return json.Unmarshal(b, into)
	}
	r := &refusal{status: res.StatusCode, detail: http.StatusText(res.StatusCode)}
	var p struct {
		Detail  string   `json:"detail"`
		Refused []string `json:"refused"`
	}
	if json.Unmarshal(b, &p) == nil {
		r.refused = p.Refused
		if p.Detail != "" {
			r.detail = p.Detail
		}
	}
	r.after = retryAfter(res.Header.Get("Retry-After"), time.Now())
	return r
}

// longestPause is how long a server, or what stands before it, may ask to be left alone; more counts as that.
const longestPause = time.Minute

// retryAfter reads the header Retry-After: seconds, or a date (RFC 9110, section 10.2.3). 0: it says nothing, or no time that is to come.
func retryAfter(v string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, longestPause)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), longestPause)
	}
	return 0
}

// pause waits before another try: longer each time, up to 5 s, and as long as the server asks, up to [longestPause].
func pause(ctx context.Context, failures int, err error) {
	d := min(100*time.Millisecond<<min(failures, 6), 5*time.Second)
	d -= time.Duration(rand.Float64() * float64(d) / 4)
	var r *refusal
	if errors.As(err, &r) {
		d = max(d, r.after)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// held is a job in a request.
type held struct {
	ID      string          `json:"id"`
	Epoch   uint64          `json:"epoch"`
	LeaseMS int64           `json:"leaseMs,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
	Final   bool            `json:"final,omitempty"`
	AfterMS *int64          `json:"afterMs,omitempty"`
}

// say tells the server what became of jobs: what has come meanwhile together.
func (w *Worker) say(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.poke:
		}
		for w.sayOnce(ctx) {
		}
	}
}

// mostSaid is how many jobs one request speaks of.
const mostSaid = 256

// sayOnce tells of what there is, and says whether there was anything.
func (w *Worker) sayOnce(ctx context.Context) bool {
	w.mu.Lock()
	n := min(len(w.finish), mostSaid)
	batch := slices.Clone(w.finish[:n])
	w.mu.Unlock()
	if n == 0 || ctx.Err() != nil {
		return false
	}
	for _, kind := range []string{"complete", "fail", "release"} {
		var all []held
		var js []*Job
		for _, e := range batch {
			if e.kind != kind {
				continue
			}
			h := held{ID: e.job.ID, Epoch: e.job.Epoch}
			switch kind {
			case "complete":
				h.Result = e.job.result
			case "fail":
				h.Error, h.Final = e.err.Error(), e.final
				if e.after != nil {
					ms := e.after.Milliseconds()
					h.AfterMS = &ms
				}
			}
			all, js = append(all, h), append(js, e.job)
		}
		if len(all) > 0 {
			w.tell(ctx, kind, all, js)
		}
	}
	w.mu.Lock()
	w.finish = w.finish[n:]
	for _, e := range batch {
		delete(w.held, e.job)
	}
	w.mu.Unlock()
	w.free()
	return true
}

// tell makes one request until it is answered, or all leases that it is about are over.
func (w *Worker) tell(ctx context.Context, kind string, all []held, js []*Job) {
	for failures := 1; ; failures++ {
		err := w.ask(ctx, kind, map[string]any{"jobs": all}, &struct{}{})
		var r *refusal
		switch {
		case err == nil:
			return
		case errors.As(err, &r) && !r.passes():
			w.o.Logger.Warn("the server refuses what became of jobs; they are done by others", "what", kind, "jobs", r.refused, "error", err)
			return
		}
		last := time.Time{}
		w.mu.Lock()
		for _, j := range js {
			if h := w.held[j]; h != nil && !h.lost && h.until.After(last) {
				last = h.until
			}
		}
		w.mu.Unlock()
		if ctx.Err() != nil || time.Now().After(last) {
			w.o.Logger.Warn("the server could not be told what became of jobs; they are done again", "what", kind, "jobs", len(all), "error", err)
			return
		}
		pause(ctx, failures, err)
	}
}

// said waits until the server was told everything.
func (w *Worker) said(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		left := len(w.finish)
		w.mu.Unlock()
		if left == 0 {
			return
		}
		t := time.NewTimer(5 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// beats extends the leases of the jobs that this worker holds, a third of a lease apart, and gives up those that are lost.
func (w *Worker) beats(ctx context.Context) {
	for {
		w.mu.Lock()
		every := w.beating
		w.mu.Unlock()
		if every == 0 {
			every = 100 * time.Millisecond
		}
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		w.beat(ctx, every)
	}
}

func (w *Worker) beat(ctx context.Context, every time.Duration) {
	w.mu.Lock()
	var all []held
	about := map[string]*Job{}
	for j, h := range w.held {
		if h.lost {
			continue
		}
		all = append(all, held{ID: j.ID, Epoch: j.Epoch, LeaseMS: w.o.Lease.Milliseconds()})
		about[j.ID] = j
	}
	w.mu.Unlock()
	for some := range slices.Chunk(all, mostSaid) {
		w.beatOf(ctx, every, some, about)
	}
}

// beatOf extends some leases. about has what they are of, by id.
func (w *Worker) beatOf(ctx context.Context, every time.Duration, all []held, about map[string]*Job) {
	asked := time.Now()
	bound, cancel := context.WithTimeout(ctx, max(every, time.Second))
	err := w.ask(bound, "heartbeat", map[string]any{"jobs": all}, &struct{}{})
	cancel()
	var r *refusal
	lost := map[string]bool{}
	if errors.As(err, &r) && r.status == http.StatusConflict {
		for _, id := range r.refused {
			lost[id] = true
		}
		err = nil
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range all {
		id := all[i].ID
		j := about[id]
		h := w.held[j]
		if h == nil {
			continue
		}
		if err == nil && !lost[id] {
			h.until = asked.Add(time.Duration(j.LeaseMS) * time.Millisecond)
		}
		if lost[id] || now.After(h.until) {
			h.lose()
		}
	}
}
