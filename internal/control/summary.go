package control

import (
	"strings"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
)

// Summary is what a run did, or has done so far.
type Summary struct {
	Flows    []FlowSummary        `json:"flows"`
	Channels []run.ChannelSummary `json:"channels,omitempty"`
	Guards   []run.GuardSummary   `json:"guards,omitempty"` // of connections that have rules
	Seconds  float64              `json:"seconds"`          // since the start
	Stopped  bool                 `json:"stopped"`          // before the sources had ended
}

// FlowSummary is one flow's part of a [Summary].
type FlowSummary struct {
	run.FlowSummary
	// Sent is what reached each endpoint, in the order of the steps; it stands in place of the map of
	// the same name.
	Sent []Sent `json:"sent"`
	// Kept says that the dead letters are in the store, where `penstock dlq` looks into them.
	Kept bool `json:"deadLettersKept,omitempty"`
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

// Read is how many messages all flows read.
func (s *Summary) Read() int64 {
	var n int64
	for i := range s.Flows {
		n += s.Flows[i].Read
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

// view says how the figures of a plan are shown.
type view struct {
	sent map[string][]Sent // by flow: where it sends to, in the order of its steps
	put  *strings.Replacer // puts in the values of parameters
}

// viewOf names the endpoints that a plan sends to in the words of its files, with the values of
// parameters put in.
func (c *Checked) viewOf(p *plan.Plan) view {
	v := view{sent: map[string][]Sent{}}
	var values []string
	for i, param := range c.set.Params {
		if i < len(p.Params) {
			if text, err := p.Params[i].AppendText(nil); err == nil {
				values = append(values, "${params."+param.Name+"}", string(text))
			}
		}
	}
	v.put = strings.NewReplacer(values...)
	for _, f := range p.Flows {
		sends(f, func(ep *plan.Endpoint) {
			v.sent[f.Name] = append(v.sent[f.Name], Sent{Endpoint: ep.Name, Label: v.put.Replace(ep.Label)})
		})
	}
	return v
}

func newSummary(sum *run.Summary, v view) *Summary {
	out := &Summary{Flows: []FlowSummary{}, Channels: sum.Channels, Guards: sum.Guards, Seconds: sum.Elapsed.Seconds(), Stopped: sum.Stopped}
	for _, f := range sum.Flows {
		fs := FlowSummary{FlowSummary: f, Sent: append([]Sent{}, v.sent[f.Name]...)}
		for i := range fs.Sent {
			fs.Sent[i].Count = f.Sent[fs.Sent[i].Endpoint]
		}
		fs.DeadLetter = v.put.Replace(f.DeadLetter)
		if f.Dead > 0 && f.DeadLetter == "" {
			fs.DeadLetter, fs.Kept = f.Name+".dead", true
		}
		if out.Seconds > 0 {
			fs.Rate = float64(f.Read) / out.Seconds
		}
		out.Flows = append(out.Flows, fs)
	}
	return out
}
