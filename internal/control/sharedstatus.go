package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store/lease"
	"penstock.dev/penstock/jsonview"
)

// snapshot counts what all runs of this process have done so far, also those that have ended.
func (s *shared) snapshot() *run.Summary {
	out := &run.Summary{Elapsed: s.x.s.clock().Now().Sub(s.began)}
	all := s.stints()
	s.mu.Lock()
	add(out, s.past)
	pl := s.plan
	s.mu.Unlock()
	for _, t := range all {
		add(out, t.r.Snapshot())
	}
	order := map[string]int{}
	for i, f := range pl.Flows {
		order[f.Name] = i + 1
	}
	slices.SortStableFunc(out.Flows, func(a, b run.FlowSummary) int { return order[a.Name] - order[b.Name] })
	return out
}

// finished keeps what a run has counted.
func (s *shared) finished(t *stint) {
	if t.sum == nil || !t.begun.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range t.sum.Flows {
		t.sum.Flows[i].State = run.StateEnded
		t.sum.Flows[i].Unsettled, t.sum.Flows[i].Blocked = 0, nil // who takes the part says it
		t.sum.Flows[i].Budget = run.BudgetSummary{}
	}
	t.sum.Guards = nil
	add(s.past, t.sum)
}

// add adds what one run has done to what others have.
func add(to *run.Summary, sum *run.Summary) {
	for _, f := range sum.Flows {
		i := slices.IndexFunc(to.Flows, func(o run.FlowSummary) bool { return o.Name == f.Name })
		if i < 0 {
			f.Sent, f.Steps, f.Causes = maps.Clone(f.Sent), slices.Clone(f.Steps), slices.Clone(f.Causes)
			to.Flows = append(to.Flows, f)
			continue
		}
		addFlow(&to.Flows[i], f)
	}
	for _, c := range sum.Channels {
		i := slices.IndexFunc(to.Channels, func(o run.ChannelSummary) bool { return o.Name == c.Name })
		if i < 0 {
			to.Channels = append(to.Channels, c)
			continue
		}
		to.Channels[i].Handed += c.Handed
		to.Channels[i].Lost += c.Lost
	}
	to.Guards = append(to.Guards, sum.Guards...)
}

func addFlow(to *run.FlowSummary, f run.FlowSummary) {
	for _, n := range []struct {
		to   *int64
		more int64
	}{
		{&to.Read, f.Read}, {&to.Done, f.Done}, {&to.Filtered, f.Filtered}, {&to.Dead, f.Dead}, {&to.Failed, f.Failed}, {&to.Late, f.Late},
		{&to.Grouped, f.Grouped}, {&to.Groups, f.Groups}, {&to.Bound, f.Bound}, {&to.Split, f.Split}, {&to.Retries, f.Retries}, {&to.Lost, f.Lost},
		{&to.Unsettled, f.Unsettled}, {&to.Redriven, f.Redriven}, {&to.Again, f.Again}, {&to.Undone, f.Undone},
	} {
		*n.to += n.more
	}
	if f.State != run.StateEnded || to.State == "" {
		to.State, to.Budget = f.State, f.Budget
	}
	to.Blocked = append(slices.Clone(to.Blocked), f.Blocked...)
	if len(to.Blocked) > 0 && to.State == run.StateRunning {
		to.State = run.StateBlocked
	}
	if f.Duration != nil && (f.State != run.StateEnded || to.Duration == nil) {
		to.Duration = f.Duration
	}
	if f.DeadLetter != "" {
		to.DeadLetter = f.DeadLetter
	}
	if to.Sent == nil {
		to.Sent = map[string]int64{}
	}
	for name, n := range f.Sent {
		to.Sent[name] += n
	}
	for _, st := range f.Steps {
		i := slices.IndexFunc(to.Steps, func(o run.StepSummary) bool { return o.Name == st.Name && o.Verb == st.Verb })
		if i < 0 {
			to.Steps = append(to.Steps, st)
			continue
		}
		o := &to.Steps[i]
		codes := maps.Clone(o.Codes)
		if codes == nil {
			codes = map[penstock.Code]int64{}
		}
		for c, n := range st.Codes {
			codes[c] += n
		}
		o.In, o.Dropped, o.Errors, o.Retries, o.Codes = o.In+st.In, o.Dropped+st.Dropped, o.Errors+st.Errors, o.Retries+st.Retries, codes
	}
	for _, c := range f.Causes {
		i := slices.IndexFunc(to.Causes, func(o run.Cause) bool {
			return o.Step == c.Step && o.Code == c.Code && o.Message == c.Message && o.Refused == c.Refused
		})
		if i < 0 {
			to.Causes = append(to.Causes, c)
			continue
		}
		to.Causes[i].Count += c.Count
	}
}

// told is what a replica tells the others of its flows.
type told struct {
	Flows []operate.ReplicaFlow `json:"flows"`
}

// info is what this process tells with each beat.
func (s *shared) info() []byte {
	var out told
	fronts := map[string]bool{}
	for _, t := range s.frontStints() {
		for _, f := range t.u.flows {
			fronts[f] = true
		}
	}
	for _, t := range s.stints() {
		for _, f := range t.r.Snapshot().Flows {
			if t.side == run.Back {
				continue // its front says it
			}
			out.Flows = append(out.Flows, operate.ReplicaFlow{Flow: f.Name, State: f.State, Read: f.Read, Unsettled: f.Unsettled, Everywhere: fronts[f.Name], Blocked: f.Blocked})
		}
	}
	slices.SortFunc(out.Flows, func(a, b operate.ReplicaFlow) int {
		if a.Flow < b.Flow {
			return -1
		}
		return 1
	})
	b, err := json.Marshal(out)
	if err != nil {
		return nil // numbers and names
	}
	return b
}

// replicas lists all processes on the store, as it was last known.
func (s *shared) replicas() []operate.ReplicaStatus {
	s.mu.Lock()
	k, self := s.keeper, s.self.ID
	s.mu.Unlock()
	if k == nil {
		return nil
	}
	return replicasOf(k.Table(), self, s.x.s.clock().Now())
}

// replicasOf says who owns what.
func replicasOf(t lease.Table, self string, now time.Time) []operate.ReplicaStatus {
	out := []operate.ReplicaStatus{}
	for _, r := range t.Replicas {
		st := operate.ReplicaStatus{Replica: r.ID, Self: r.ID == self, Host: r.Host, PID: r.PID, Address: r.Address, Version: r.Version, Seconds: now.Sub(r.Started).Seconds(), Stopping: r.Stopping, Parts: []int{}, Flows: []operate.ReplicaFlow{}}
		for _, p := range t.Parts {
			if p.Owner == r.ID && !p.Free() {
				st.Parts = append(st.Parts, p.Part)
			}
		}
		var says told
		if len(r.Info) > 0 && json.Unmarshal(r.Info, &says) == nil && says.Flows != nil {
			st.Flows = says.Flows
		}
		out = append(out, st)
	}
	return out
}

// retryElsewhere is how long who is refused, because another replica drives the flow, is asked to wait.
const retryElsewhere = 1

// away answers who calls a unit that this process does not drive, from now on: 503, with who does. A run of the unit that begins takes
// its routes over.
func (s *shared) away(u *unit) {
	if u.everywhere || s.web == nil || s.opts.Once {
		return
	}
	for _, ep := range u.routed {
		for _, r := range ep.Config.(penstock.Routed).Routes() {
			r.Owner, r.Brief = ep.Name, false
			r.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				s.mu.Lock()
				at := s.where(u)
				s.mu.Unlock()
				b := append([]byte(`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":`), jsonview.AppendString(nil, "the flow runs "+at)...)
				b = jsonview.AppendString(append(b, `,"instance":`...), req.URL.Path)
				w.Header().Set("Content-Type", "application/problem+json")
				w.Header().Set("Retry-After", strconv.Itoa(retryElsewhere))
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write(append(b, '}', '\n')) // who has gone does not hear it
			})
			unmount, err := s.web.server.Mount(r)
			if penstock.CodeOf(err) == penstock.Cancelled {
				continue // the process ends, and nobody can call it any more
			}
			if err != nil {
				s.log.Error("who calls a flow that runs elsewhere is not told so", "flow", ep.Name, "error", err)
				continue
			}
			s.mu.Lock()
			s.mounted[ep.Name+" "+r.Method+" "+r.Path] = unmount
			s.mu.Unlock()
		}
	}
}

// forget takes the routes of units away that are gone.
func (s *shared) forget(u *unit) {
	for _, ep := range u.routed {
		for _, r := range ep.Config.(penstock.Routed).Routes() {
			name := ep.Name + " " + r.Method + " " + r.Path
			s.mu.Lock()
			unmount := s.mounted[name]
			delete(s.mounted, name)
			s.mu.Unlock()
			if unmount != nil {
				unmount()
			}
		}
	}
}

// errNotReady is what the probe says of a replica.
var errNotReady = errors.New("the store is lost, and is opened again")

// ready says whether this process takes part: its store answers.
func (s *shared) ready() error {
	s.mu.Lock()
	k := s.keeper
	s.mu.Unlock()
	if k == nil {
		return errors.New("the store is not open yet")
	}
	if !k.Reaches() {
		return fmt.Errorf("leases can't be renewed: %w", errNotReady)
	}
	return nil
}
