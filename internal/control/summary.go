package control

import (
	"slices"
	"strings"

	"penstock.dev/penstock/internal/run"
)

// Summary is what a run did, or has done so far.
type Summary struct {
	Flows    []FlowSummary        `json:"flows"`
	Channels []run.ChannelSummary `json:"channels,omitempty"`
	Seconds  float64              `json:"seconds"` // since the start
	Stopped  bool                 `json:"stopped"` // before the sources had ended
}

// FlowSummary is one flow's part of a [Summary].
type FlowSummary struct {
	run.FlowSummary
	// Sent is what reached each endpoint, by name; it stands in place of the map of the same name.
	Sent []Sent `json:"sent"`
	// Rate is messages read per second, over the whole run.
	Rate float64 `json:"rate"`
}

// Sent is how much a flow sent to one endpoint.
type Sent struct {
	Endpoint string `json:"endpoint"` // flow/step
	Label    string `json:"label"`    // in the words of the file: "file out/orders.jsonl"
	Count    int64  `json:"count"`
}

// Total is what the flow sent to all its endpoints.
func (f *FlowSummary) Total() int64 {
	var n int64
	for _, s := range f.Sent {
		n += s.Count
	}
	return n
}

// Dead is how many messages of all flows were dead-lettered.
func (s *Summary) Dead() int64 {
	var n int64
	for i := range s.Flows {
		n += s.Flows[i].Dead
	}
	return n
}

func newSummary(sum *run.Summary, labels map[string]string) *Summary {
	out := &Summary{Flows: []FlowSummary{}, Channels: sum.Channels, Seconds: sum.Elapsed.Seconds(), Stopped: sum.Stopped}
	for _, f := range sum.Flows {
		fs := FlowSummary{FlowSummary: f, Sent: []Sent{}}
		for name, n := range f.Sent {
			label, ok := labels[name]
			if !ok {
				continue // the dead letter, which is counted as such
			}
			fs.Sent = append(fs.Sent, Sent{Endpoint: name, Label: label, Count: n})
		}
		slices.SortFunc(fs.Sent, func(a, b Sent) int { return strings.Compare(a.Endpoint, b.Endpoint) })
		if out.Seconds > 0 {
			fs.Rate = float64(f.Read) / out.Seconds
		}
		out.Flows = append(out.Flows, fs)
	}
	return out
}
