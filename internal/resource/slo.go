package resource

import "penstock.dev/penstock"

// SLO is a service level objective of the flows that a [Policy] targets: how many of their messages must go well, and in what time,
// over a window. `penstock observe rules` makes of it the alerts of the Google SRE workbook: on how fast the messages
// that may go wrong are used up, each over a long and a short window.
type SLO struct {
	Place
	// Share of the messages that go well; the others are the error budget.
	Objective penstock.Share `json:"objective" penstock:"required"`
	// Over which time.
	Window penstock.Duration `json:"window" penstock:"default=30d,min=7d"`
	// What counts as gone wrong. Left out, every message that was dead-lettered or answered with an error; in a flow that answers requests only errors of this side (internal, limited, unavailable, timeout), as the others are their callers'.
	Errors *SLOErrors `json:"errors"`
	// How long messages may take. Left out, as long as they like.
	Latency *SLOLatency `json:"latency"`
}

// SLOErrors says which errors an [SLO] counts.
type SLOErrors struct {
	Place
	// The codes of the errors that count.
	Codes []string `json:"codes" penstock:"required,nonempty,enum=invalid|unauthenticated|forbidden|notFound|conflict|tooLarge|unprocessable|internal|limited|unavailable|timeout|cancelled"`
}

// SLOLatency says how long the messages of an [SLO] may take.
type SLOLatency struct {
	Place
	// The time within which a message is to be through: from when it was read until everything made of it has ended.
	Threshold penstock.Duration `json:"threshold" penstock:"required,min=1ms"`
	// Share of the messages that are. Left out, the objective of the whole.
	Objective penstock.Share `json:"objective"`
}

func (s *SLO) check(d *Decoder) {
	of := func(p *Place, share penstock.Share) {
		if p.Has("objective") && (share <= 0 || share >= 1) {
			d.errorf(p.At("objective"), "wrong-value", share.String(), "write it as 99.9%", "an objective is above 0%% and below 100%%: without an error budget nothing can be said of how fast it is used up")
		}
	}
	of(&s.Place, s.Objective)
	if l := s.Latency; l != nil {
		of(&l.Place, l.Objective)
	}
}
