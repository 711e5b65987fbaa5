package resource

import "penstock.dev/penstock"

// Policy attaches rules to what others have declared: how long a try may take, how often it is repeated, when a system that
// fails is left alone, and how much is asked of it at a time.
//
// For each field by itself, what stands in the step beats what stands in the Connection, that beats a Policy that names its
// target, and that beats a Policy that finds it by labels. Two policies that say the same field of one target in the same way are an error.
type Policy struct {
	Place
	// What the rules are for.
	Targets []PolicyTarget `json:"targets" penstock:"required,nonempty"`
	// How many messages of a flow must go well, and in what time.
	SLO *SLO `json:"slo"`
	Resilience
}

// PolicyTarget says what a [Policy] is for: a resource by its name, or all of a kind that carry some labels.
type PolicyTarget struct {
	Place
	// Kind of the resource. A Connection takes every rule but slo; a Flow takes timeout, for each call and `to` whose step and connection say none, retry, where its onError says none, and slo.
	Kind Kind `json:"kind" penstock:"required,enum=Connection|Flow"`
	// Name of the resource.
	Name string `json:"name" penstock:"dns"`
	// Labels that the resource carries; all of them must match.
	Labels map[string]string `json:"labels" penstock:"nonempty"`
}

// Resilience is what a [Connection] and a [Policy] say of requests that fail or take long.
type Resilience struct {
	// How long one try of a request may take, waiting for a place or a turn included, where the step says nothing else. Left out, the connector's own limit holds.
	Timeout penstock.Duration `json:"timeout" penstock:"min=1ms"`
	// Tries of a request that failed, where the step declares none. It counts as the step's own: retries never multiply. It acts only where asking twice does no harm: a request whose method or key makes it idempotent, or one of which nothing has left.
	Retry *Retry `json:"retry"`
	// When a system that fails is left alone for a while.
	Breaker *Breaker `json:"breaker"`
	// How many requests may be under way at once, over all flows.
	Concurrency *Concurrency `json:"concurrency"`
	// How many requests may be made in a time, over all flows. Who comes too early waits for its turn, within its timeout.
	RateLimit *RateLimit `json:"rateLimit"`
	// Asks once more when an answer is late, and takes the first answer. It acts on calls that are idempotent.
	Hedge *Hedge `json:"hedge"`
}

// Breaker leaves a system alone that fails. Closed, it counts; open, every try fails at once with unavailable, unsent; then a few
// probes decide whether it closes. Unavailable, timeout and internal count as failures; every other answer counts as one, and
// what was cancelled counts as nothing.
type Breaker struct {
	Place
	// Share of failures at which it opens.
	Failures penstock.Share `json:"failures" penstock:"default=50%,min=1%"`
	// How long a try counts.
	Window penstock.Duration `json:"window" penstock:"default=10s,min=1s"`
	// Tries that the window must hold before it may open.
	Minimum int `json:"minimum" penstock:"default=20,min=1,max=1000000"`
	// How long it stays open before the probes.
	Open penstock.Duration `json:"open" penstock:"default=5s,min=1ms"`
	// Probes that are let through at once then. When all went well it closes, when one failed it opens again.
	HalfOpen int `json:"halfOpen" penstock:"default=1,min=1,max=1000"`
}

// Concurrency bounds the requests that are under way at once.
type Concurrency struct {
	Place
	// Requests under way. What a sink writes in one piece (a batch) counts as one; of a sink that makes a request of each message (http), each counts.
	Limit int `json:"limit" penstock:"required,min=1,max=1000000"`
	// How many may wait for a place; one more fails at once with unavailable, unsent. Left out, any number.
	Queue *int `json:"queue" penstock:"min=0,max=1000000"`
	// Longest wait for a place; what waits longer fails with unavailable, unsent. Left out, as long as the try may take.
	Wait penstock.Duration `json:"wait" penstock:"min=1ms"`
}

// RateLimit bounds the requests that are made in a time.
type RateLimit struct {
	Place
	// Requests in a time, such as 100/s. Each message that is sent counts as one. What could not go within its timeout fails with limited, unsent.
	Rate penstock.Rate `json:"rate" penstock:"required"`
	// How many may go at once after a pause.
	Burst int `json:"burst" penstock:"default=1,min=1,max=1000000"`
}

// Hedge asks once more when an answer is late.
type Hedge struct {
	Place
	// How long the first answer is waited for; then, each time after as long again, one more is asked for.
	After penstock.Duration `json:"after" penstock:"required,min=1ms"`
	// How many more.
	Max int `json:"max" penstock:"default=1,min=1,max=10"`
}

func (t *PolicyTarget) check(d *Decoder) {
	if t.Node != nil && t.Node.Kind == NodeMap {
		d.exactlyOne(&t.Place, "a target", "name", "labels")
	}
}

func (p *Policy) check(d *Decoder) {
	if p.Node == nil || p.Node.Kind != NodeMap {
		return
	}
	rules := 0
	for _, f := range ruleNames {
		if p.Has(f) {
			rules++
		}
	}
	if rules == 0 {
		d.errorf(p.Pos, "missing-field", "", "add `timeout: …`, `retry: …` or another", "the policy has no rule")
	}
	for i := range p.Targets {
		t := &p.Targets[i]
		if t.Kind == KindConnection && p.SLO != nil {
			d.errorf(p.AtKey("slo"), "wrong-field", "slo", "target the flows that use it", "`slo` is about the messages of a flow, and this policy targets a Connection (line %d)", t.Pos.Line)
		}
		if t.Kind != KindFlow {
			continue
		}
		for _, f := range []string{"breaker", "concurrency", "rateLimit", "hedge"} {
			if p.Has(f) {
				hint := "target its connections; a policy of its own says what is for the flow"
				if f == "concurrency" {
					hint = "say `concurrency` in the flow itself, or target its connections"
				}
				d.errorf(p.AtKey(f), "wrong-field", f, hint, "`%s` is about a system that is asked, and this policy targets a Flow (line %d)", f, t.Pos.Line)
			}
		}
		if p.Retry != nil {
			p.Retry.noBudget(d, "a Flow")
		}
	}
}

// ruleNames are the fields of a [Policy] that say something of its targets.
var ruleNames = []string{"timeout", "retry", "breaker", "concurrency", "rateLimit", "hedge", "slo"}

// noBudget refuses a retry budget where there is no connection to span.
func (r *Retry) noBudget(d *Decoder, where string) {
	if r.Has("budget") {
		d.errorf(r.AtKey("budget"), "wrong-field", "budget", "say it in the Connection, or in a Policy that targets it", "a retry budget spans all that is asked of a connection: it means nothing for %s", where)
	}
}
