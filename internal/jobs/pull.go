package jobs

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// Leased is a job as a worker gets it.
type leased struct {
	ID         string          `json:"id"`
	Epoch      uint64          `json:"epoch"`
	Once       string          `json:"once"`
	Key        string          `json:"key,omitempty"`
	Attempt    int             `json:"attempt"`
	Priority   int             `json:"priority,omitempty"`
	Enqueued   time.Time       `json:"enqueued"`
	LeaseUntil time.Time       `json:"leaseUntil"`
	LeaseMS    int64           `json:"leaseMs"`
	LastError  string          `json:"lastError,omitempty"`
	Data       json.RawMessage `json:"data"`
}

// takeReply says beside the jobs for how long they were waited for: a worker adds that to when it asked, and knows from when on the leases count.
type takeReply struct {
	Jobs     []leased `json:"jobs"`
	WaitedMS int64    `json:"waitedMs"`
}

// puller answers the workers of a queue.
type puller struct {
	s        *Service
	queue    string
	stopping <-chan struct{}
}

// Root begins the paths of queues on the listener.
const Root = "/v1alpha1/queues/"

// Mount serves those queues that workers pull from, whichever they are when a request comes, until the function that it returns is called. When stopping is
// closed, who waits for jobs is sent away.
func (s *Service) Mount(l penstock.Listener, stopping <-chan struct{}) (unmount func(), err error) {
	var all []func()
	unmount = func() {
		for _, u := range all {
			u()
		}
	}
	pulled := func(h func(*puller, http.ResponseWriter, *http.Request)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := &puller{s: s, queue: r.PathValue("queue"), stopping: stopping}
			if _, err := p.admits(r); err != nil {
				p.refuse(w, r, err, nil)
				return
			}
			h(p, w, r)
		})
	}
	for _, r := range []struct {
		method, path string
		h            http.Handler
	}{
		{http.MethodGet, "openapi.json", http.HandlerFunc(describe)},
		{http.MethodGet, "{queue}", pulled((*puller).look)},
		{http.MethodPost, "{queue}/lease", pulled((*puller).lease)},
		{http.MethodPost, "{queue}/heartbeat", pulled(concerning(readHeld[beating]))},
		{http.MethodPost, "{queue}/complete", pulled(concerning(readHeld[completed]))},
		{http.MethodPost, "{queue}/release", pulled(concerning(readHeld[released]))},
		{http.MethodPost, "{queue}/fail", pulled(concerning(readHeld[failed]))},
	} {
		u, err := l.Mount(penstock.HTTPRoute{Owner: "queues", Method: r.method, Path: Root + r.path, Handler: r.h})
		if err != nil {
			unmount()
			return nil, err
		}
		all = append(all, u)
	}
	return unmount, nil
}

// gone refuses what is asked of a queue that is not there, or no longer.
func gone(queue string) error {
	return &penstock.Error{Code: penstock.NotFound, Op: "queue", Path: queue, Err: fmt.Errorf("there is no queue %q", queue), Hint: "`penstock jobs ls` shows those that there are; one that was taken out of the configuration keeps its jobs in the store until it is put back"}
}

// foreign knows requests that a web page of another site has a browser make: without a token they would reach the queue, too.
var foreign = http.NewCrossOriginProtection()

// admits lets those in who show the token of a queue that workers pull from, as the configuration is now; changed is closed when there is another.
func (p *puller) admits(r *http.Request) (changed <-chan struct{}, err error) {
	q, changed := p.s.planned(p.queue)
	switch {
	case foreign.Check(r) != nil:
		return changed, penstock.E(penstock.Forbidden, "queue", p.queue, "web pages of other sites may not ask")
	case q == nil:
		return changed, gone(p.queue)
	case !q.Pull:
		return changed, &penstock.Error{Code: penstock.NotFound, Op: "queue", Path: p.queue, Err: errors.New("nobody pulls from this queue"), Hint: "`pull: {}` in its spec lets workers do so"}
	case q.Token == nil || mutation.On("job-token-not-asked"):
		return changed, nil
	}
	want := q.Token.Reveal()
	if want == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+want)) != 1 {
		return changed, penstock.E(penstock.Unauthenticated, "queue", p.queue, "the token of the queue is needed: `authorization: Bearer …`")
	}
	return changed, nil
}

// refuse answers with problem details (RFC 9457).
func (p *puller) refuse(w http.ResponseWriter, r *http.Request, err error, refused []string) {
	status := penstock.CodeOf(err).HTTPStatus()
	body := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": err.Error(), "instance": r.URL.Path, "code": penstock.CodeOf(err)}
	if refused != nil {
		body["refused"] = refused
	}
	text, _ := json.Marshal(body) // of texts and numbers
	w.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+p.queue+`"`)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

func (p *puller) reply(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte("null")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text)
}

// read reads the request's body; an empty one is that of an empty object. It says where what can't be read is wrong.
func (p *puller) read(w http.ResponseWriter, r *http.Request, into func(body []byte) error) bool {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil:
		err = &penstock.Error{Code: penstock.Invalid, Op: "queue", Path: p.queue, Err: err}
	case len(b) > maxRequest:
		err = penstock.E(penstock.TooLarge, "queue", p.queue, "the request is larger than 8 MiB: say less at a time")
	default:
		if len(b) == 0 {
			b = []byte("{}")
		}
		if err = into(b); err != nil {
			err = &penstock.Error{Code: penstock.Invalid, Op: "queue", Path: p.queue, Err: err}
		}
	}
	if err != nil {
		p.refuse(w, r, err, nil)
	}
	return err == nil
}

// lease gives jobs to a worker, or, after its patience, none.
func (p *puller) lease(w http.ResponseWriter, r *http.Request) {
	var q takeRequest
	if !p.read(w, r, q.read) {
		return
	}
	t := Taker{Worker: q.Worker, Max: min(max(q.Max, 1), maxTake), Lease: milliseconds(q.LeaseMS)}
	if t.Worker == "" {
		t.Worker = r.RemoteAddr
	}
	wait := min(milliseconds(q.WaitMS), maxWait)
	if wait == 0 {
		t.Asks, wait = true, maxWait
	}
	came := p.s.o.Clock.Now()
	d, err := p.s.Desk(p.queue)
	if err != nil {
		p.refuse(w, r, err, nil)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	timer, stop := p.s.o.Clock.NewTimer(wait)
	defer stop()
	go func() {
		for ctx.Err() == nil {
			changed, err := p.admits(r)
			if err != nil && !mutation.On("job-taken-after-reload") {
				cancel(err)
				return
			}
			select {
			case <-changed:
			case <-timer:
				cancel(errPatience)
			case <-p.stopping:
				cancel(ErrClosed)
			case <-ctx.Done():
			}
		}
	}()
	js, err := d.Take(ctx, t)
	if err != nil {
		if errors.Is(err, errPatience) {
			p.reply(w, takeReply{Jobs: []leased{}})
			return
		}
		p.refuse(w, r, err, nil)
		return
	}
	_, err = p.admits(r)
	if r.Context().Err() != nil || err != nil && !mutation.On("job-taken-after-reload") { // nobody is there to take them, or is no longer let in, and so could not say that they are done
		back := make([]*Finish, 0, len(js))
		for _, j := range js {
			back = append(back, &Finish{ID: j.ID, Epoch: j.Epoch, Release: true})
		}
		_ = d.Finish(context.WithoutCancel(r.Context()), back...) // else their leases run out
		if err != nil {
			p.refuse(w, r, err, nil)
		}
		return
	}
	at := p.s.o.Clock.Now()
	out, now := takeReply{Jobs: make([]leased, 0, len(js)), WaitedMS: max(at.Sub(came).Milliseconds(), 0)}, at.UnixNano()
	for _, j := range js {
		data, err := j.Body()
		if err != nil || !json.Valid(data) {
			p.refuse(w, r, &penstock.Error{Code: penstock.Internal, Op: "queue " + p.queue, Path: j.ID, Err: errors.New("the data of the job are no JSON"), Hint: "take it out with `penstock jobs cancel`"}, nil)
			return
		}
		out.Jobs = append(out.Jobs, leased{ID: j.ID, Epoch: j.Epoch, Once: j.Once(p.queue), Key: j.Key, Attempt: j.Attempts, Priority: j.Priority, Enqueued: time.Unix(0, j.Created).UTC(),
			LeaseUntil: time.Unix(0, j.Lease).UTC(), LeaseMS: max((j.Lease-now)/int64(time.Millisecond), 1), LastError: j.Error, Data: data})
	}
	p.reply(w, out)
}

var errPatience = errors.New("nothing came in time")

// concerning does something about jobs that a worker holds.
func concerning(read func(body []byte) ([]*Finish, error)) func(*puller, http.ResponseWriter, *http.Request) {
	return func(p *puller, w http.ResponseWriter, r *http.Request) {
		var all []*Finish
		if !p.read(w, r, func(body []byte) (err error) {
			all, err = read(body)
			return err
		}) {
			return
		}
		d, err := p.s.Desk(p.queue)
		if err == nil {
			err = d.Finish(r.Context(), all...)
		}
		if err != nil {
			p.refuse(w, r, err, nil)
			return
		}
		var refused []string
		for _, f := range all {
			if f.Err != nil {
				refused = append(refused, f.ID)
			}
		}
		if refused != nil {
			p.refuse(w, r, &penstock.Error{Code: penstock.Conflict, Op: "queue", Path: p.queue, Err: ErrStale, Hint: "somebody else may have it; what else was asked is done"}, refused)
			return
		}
		p.reply(w, struct{}{})
	}
}

// look says how many jobs stand where.
func (p *puller) look(w http.ResponseWriter, r *http.Request) {
	l, err := p.s.Look(r.Context(), p.queue)
	if err != nil {
		p.refuse(w, r, err, nil)
		return
	}
	p.reply(w, l)
}
