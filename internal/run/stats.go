package run

import (
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
)

// FlowStats counts what a flow did. The fields are safe to read while it runs.
type FlowStats struct {
	Name     string
	Read     atomic.Int64 // messages from sources
	Done     atomic.Int64 // reached the end of the steps, or a stop
	Filtered atomic.Int64 // dropped by filter or sample, or split into nothing
	Dead     atomic.Int64 // dead-lettered
	Failed   atomic.Int64 // requests that were answered with an error
	Late     atomic.Int64 // came after their group was complete
	Grouped  atomic.Int64 // absorbed by an aggregate
	Groups   atomic.Int64 // groups that were completed
	Bound    atomic.Int64 // groups completed by the memory bound
	Split    atomic.Int64 // parts made by split
	Retries  atomic.Int64 // tries after the first
	Lost     atomic.Int64 // not sent by `wait: false`
	Settled  atomic.Int64 // source messages settled
	Undone   atomic.Int64 // source messages whose transaction was undone: they are read again
	Redriven atomic.Int64 // dead letters that were given in again
	Again    atomic.Int64 // source messages that an earlier run, or another message of their identity, had settled

	// Duration is how long messages took from when they were read until everything made of them had ended, and in a run that keeps
	// state was durable; those that are read together end together.
	Duration *observe.Histogram

	mu     sync.Mutex
	nodes  []*NodeStats
	causes map[causeKey]int64
	to     map[string]*atomic.Int64 // messages sent, by endpoint
}

// NodeStats counts what one step did.
type NodeStats struct {
	Name, Verb string
	In         atomic.Int64 // messages that came to it
	Dropped    atomic.Int64
	Errors     atomic.Int64
	Retries    atomic.Int64

	codes [len(codes)]atomic.Int64 // of Errors, by code
	cache *answers                 // of a call that remembers
}

var codes = [...]penstock.Code{
	penstock.Invalid, penstock.Unauthenticated, penstock.Forbidden, penstock.NotFound, penstock.Conflict, penstock.TooLarge, penstock.Unprocessable,
	penstock.Internal, penstock.Limited, penstock.Unavailable, penstock.Timeout, penstock.Cancelled, penstock.Config,
}

// failed counts a failure.
func (n *NodeStats) failed(err error) {
	n.Errors.Add(1)
	i := slices.Index(codes[:], penstock.CodeOf(err))
	if i < 0 { // a driver's own: the set is closed
		i = slices.Index(codes[:], penstock.Internal)
	}
	n.codes[i].Add(1)
}

// ErrorsByCode is how many of Errors there are of each code; codes without any are left out.
func (n *NodeStats) ErrorsByCode() map[penstock.Code]int64 {
	out := map[penstock.Code]int64{}
	for i := range n.codes {
		if c := n.codes[i].Load(); c > 0 {
			out[codes[i]] = c
		}
	}
	return out
}

type causeKey struct {
	step, code, message string
	refused             bool
}

// Cause is one kind of failure that was dead-lettered, or that requests were answered with.
type Cause struct {
	Step    string        `json:"step"`
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"` // of the first
	Count   int64         `json:"count"`
	Refused bool          `json:"refused,omitempty"` // requests were answered with it
}

// nodeStats are the counts of a step: those of the same step of the flow before, or new ones.
func (f *flow) nodeStats(name, verb string) *NodeStats {
	n := &NodeStats{Name: name, Verb: verb}
	if f.later {
		for _, o := range f.stats.Nodes() {
			if o.Name == name && o.Verb == verb {
				n = o
			}
		}
	}
	f.statNodes = append(f.statNodes, n)
	return n
}

// sent counts what is sent to an endpoint.
func (s *FlowStats) sent(endpoint string) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		s.to = map[string]*atomic.Int64{}
	}
	if s.to[endpoint] == nil {
		s.to[endpoint] = new(atomic.Int64)
	}
	return s.to[endpoint]
}

// become makes these the steps that are counted.
func (s *FlowStats) become(nodes []*NodeStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = nodes
}

// Nodes lists the counts of the steps, in the plan's order.
func (s *FlowStats) Nodes() []*NodeStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*NodeStats(nil), s.nodes...)
}

func (s *FlowStats) count(ft fate, n int) {
	switch ft {
	case fateDone, fateStopped:
		s.Done.Add(int64(n))
	case fateFiltered:
		s.Filtered.Add(int64(n))
	case fateDead:
		s.Dead.Add(int64(n))
	case fateFailed:
		s.Failed.Add(int64(n))
	case fateGrouped:
		s.Grouped.Add(int64(n))
	}
}

// maxCauses bounds the kinds of failure that are told apart.
const maxCauses = 100

// reject counts why a message was dead-lettered.
func (s *FlowStats) reject(err error, step string) { s.cause(err, step, false) }

// refuse counts why a request was answered with an error.
func (s *FlowStats) refuse(err error, step string) { s.cause(err, step, true) }

func (s *FlowStats) cause(err error, step string, refused bool) {
	k := causeKey{step: step, code: string(penstock.CodeOf(err)), message: reason(err), refused: refused}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.causes == nil {
		s.causes = map[causeKey]int64{}
	}
	if _, known := s.causes[k]; !known && len(s.causes) >= maxCauses {
		k.message = "(other)"
	}
	s.causes[k]++
}

// Causes lists why messages were dead-lettered, the most frequent first.
func (s *FlowStats) Causes() []Cause {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Cause, 0, len(s.causes))
	for k, n := range s.causes {
		out = append(out, Cause{Step: k.step, Code: penstock.Code(k.code), Message: k.message, Count: n, Refused: k.refused})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Count != out[j].Count {
			return out[i].Count > out[j].Count
		}
		return out[i].Message < out[j].Message
	})
	return out
}

// Summary is what a run did, for the table at its end and for machines.
type Summary struct {
	Flows    []FlowSummary    `json:"flows"`
	Channels []ChannelSummary `json:"channels,omitempty"`
	Guards   []GuardSummary   `json:"guards,omitempty"` // by connection
	Elapsed  time.Duration    `json:"elapsedNanoseconds"`
	Stopped  bool             `json:"stopped"` // before the sources ended
}

// FlowSummary is one flow's part of a Summary.
type FlowSummary struct {
	Name       string           `json:"name"`
	Read       int64            `json:"read"`
	Done       int64            `json:"done"`
	Filtered   int64            `json:"filtered"`
	Dead       int64            `json:"dead"`
	Failed     int64            `json:"failed"` // requests that were answered with an error
	Called     bool             `json:"called"` // its messages are requests
	Late       int64            `json:"late"`
	Grouped    int64            `json:"grouped"`
	Groups     int64            `json:"groups"`
	Bound      int64            `json:"groupsCompletedByBound"`
	Split      int64            `json:"split"`
	Retries    int64            `json:"retries"`
	Lost       int64            `json:"lost"`
	Unsettled  int64            `json:"unsettled"`
	Redriven   int64            `json:"redriven"`
	Again      int64            `json:"again"`  // read once more, and passed over
	Undone     int64            `json:"undone"` // of transactions that were undone: they are read again
	Sent       map[string]int64 `json:"sent"`
	Steps      []StepSummary    `json:"steps,omitempty"`
	Causes     []Cause          `json:"causes,omitempty"`
	DeadLetter string           `json:"deadLetter,omitempty"`
	// Blocked are the events at which the flow stands since it can't read them, one for a part of the store at most.
	Blocked []Blocked `json:"blocked,omitempty"`
	// State is what the flow does: StateRunning, StatePaused, StateBlocked or StateEnded.
	State string `json:"-"`
	// Duration counts how long messages took; see FlowStats. It goes on counting.
	Duration *observe.Histogram `json:"-"`
	// Budget is what the flow holds in memory, and may hold.
	Budget BudgetSummary `json:"-"`
}

// BudgetSummary is what a flow holds in memory, and may hold at most.
type BudgetSummary struct {
	Messages, MaxMessages int
	Bytes, MaxBytes       int64
}

// CacheSummary is what the cache of a call has seen.
type CacheSummary struct {
	Hits   int64 `json:"hits"`   // answers from memory
	Misses int64 `json:"misses"` // calls that were made
	Joined int64 `json:"joined"` // that waited for a call which was under way
	Stale  int64 `json:"stale"`  // calls that failed and left an older answer to serve
	Bytes  int64 `json:"bytes"`  // in memory, about
}

// Plus adds what another cache has seen; nil is none.
func (c *CacheSummary) Plus(o *CacheSummary) *CacheSummary {
	if c == nil || o == nil {
		if c == nil {
			return o
		}
		return c
	}
	return &CacheSummary{Hits: c.Hits + o.Hits, Misses: c.Misses + o.Misses, Joined: c.Joined + o.Joined, Stale: c.Stale + o.Stale, Bytes: c.Bytes + o.Bytes}
}

// StepSummary is one step's part of a FlowSummary.
type StepSummary struct {
	Name    string `json:"name"`
	Verb    string `json:"verb"`
	In      int64  `json:"in"`
	Dropped int64  `json:"dropped"`
	Errors  int64  `json:"errors"`
	Retries int64  `json:"retries"`
	// Codes are the errors by code.
	Codes map[penstock.Code]int64 `json:"-"`
	Cache *CacheSummary           `json:"cache,omitempty"` // of a call with a cache
}

// ChannelSummary is one channel's part of a Summary.
type ChannelSummary struct {
	Name   string `json:"name"`
	Handed int64  `json:"handed"`
	Lost   int64  `json:"lost"`
	// Durable says that it is in the store: nothing in it is lost.
	Durable bool `json:"durable"`
}

// reason is what a failure says of its kind: the message without place, so that a
// thousand messages with the same fault count as one cause.
func reason(err error) string {
	var e *penstock.Error
	for next := err; errors.As(next, &e) && e.Err != nil; {
		next = e.Err
		err = e.Err
	}
	return err.Error()
}
