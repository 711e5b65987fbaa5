package run

import (
	"errors"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
)

// FlowStats counts what a flow did. The fields are safe to read while it runs.
type FlowStats struct {
	Name     string
	Read     atomic.Int64 // messages from sources
	Done     atomic.Int64 // reached the end of the steps, or a stop
	Filtered atomic.Int64 // dropped by filter or sample, or split into nothing
	Dead     atomic.Int64 // dead-lettered
	Late     atomic.Int64 // came after their group was complete
	Grouped  atomic.Int64 // absorbed by an aggregate
	Groups   atomic.Int64 // groups that were completed
	Bound    atomic.Int64 // groups completed by the memory bound
	Split    atomic.Int64 // parts made by split
	Retries  atomic.Int64 // tries after the first
	Lost     atomic.Int64 // not sent by `wait: false`
	Settled  atomic.Int64 // source messages settled
	Redriven atomic.Int64 // dead letters that were given in again
	Again    atomic.Int64 // source messages that an earlier run, or another message of their identity, had settled

	mu     sync.Mutex
	nodes  []*NodeStats
	causes map[causeKey]int64
}

// NodeStats counts what one step did.
type NodeStats struct {
	Name, Verb string
	In         atomic.Int64 // messages that came to it
	Dropped    atomic.Int64
	Errors     atomic.Int64
	Retries    atomic.Int64
}

type causeKey struct {
	step, code, message string
}

// Cause is one kind of failure that was dead-lettered.
type Cause struct {
	Step    string        `json:"step"`
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"` // of the first
	Count   int64         `json:"count"`
}

func (s *FlowStats) node(name, verb string) *NodeStats {
	n := &NodeStats{Name: name, Verb: verb}
	s.mu.Lock()
	s.nodes = append(s.nodes, n)
	s.mu.Unlock()
	return n
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
	case fateGrouped:
		s.Grouped.Add(int64(n))
	}
}

// maxCauses bounds the kinds of failure that are told apart.
const maxCauses = 100

func (s *FlowStats) reject(err error, step string) {
	k := causeKey{step: step, code: string(penstock.CodeOf(err)), message: reason(err)}
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
		out = append(out, Cause{Step: k.step, Code: penstock.Code(k.code), Message: k.message, Count: n})
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
	Late       int64            `json:"late"`
	Grouped    int64            `json:"grouped"`
	Groups     int64            `json:"groups"`
	Bound      int64            `json:"groupsCompletedByBound"`
	Split      int64            `json:"split"`
	Retries    int64            `json:"retries"`
	Lost       int64            `json:"lost"`
	Unsettled  int64            `json:"unsettled"`
	Redriven   int64            `json:"redriven"`
	Again      int64            `json:"again"` // read once more, and passed over
	Sent       map[string]int64 `json:"sent"`
	Steps      []StepSummary    `json:"steps,omitempty"`
	Causes     []Cause          `json:"causes,omitempty"`
	DeadLetter string           `json:"deadLetter,omitempty"`
}

// StepSummary is one step's part of a FlowSummary.
type StepSummary struct {
	Name    string `json:"name"`
	Verb    string `json:"verb"`
	In      int64  `json:"in"`
	Dropped int64  `json:"dropped"`
	Errors  int64  `json:"errors"`
	Retries int64  `json:"retries"`
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
