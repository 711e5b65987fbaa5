package run

import (
	"maps"
	"slices"
)

// GuardSummary is what the guard of one connection has seen since it was made, and how it stands.
type GuardSummary struct {
	Connection string `json:"connection"`
	State      string `json:"state,omitempty"`  // of the breaker: closed, open or halfOpen; "" without one
	Opened     int64  `json:"opened,omitempty"` // times that the breaker opened
	InFlight   int    `json:"inFlight"`         // tries under way, where they are limited
	Waiting    int    `json:"waiting"`          // tries that wait for a place
	Tries      int64  `json:"tries"`            // that were let through
	Failures   int64  `json:"failures"`         // of those, as the breaker counts them
	Retries    int64  `json:"retries"`          // that the budget allowed, or nothing forbade
	// BudgetExhausted counts retries that were not made since the budget was used up.
	BudgetExhausted      int64 `json:"budgetExhausted"`
	RefusedByBreaker     int64 `json:"refusedByBreaker"`
	RefusedByConcurrency int64 `json:"refusedByConcurrency"`
	RefusedByRate        int64 `json:"refusedByRate"`
	Hedges               int64 `json:"hedges"`    // further tries since an answer was late
	HedgesWon            int64 `json:"hedgesWon"` // of those, that answered first
}

// guardSummaries is the state of the guards, one for each connection, by name. While flows run it is that of the connections that they use.
func (r *Runner) guardSummaries() []GuardSummary {
	r.guardsM.Lock()
	defer r.guardsM.Unlock()
	over := !slices.ContainsFunc(r.guards, func(g *guard) bool { return g.users > 0 })
	last := map[string]*guard{}
	for _, g := range r.guards { // the newest is behind
		if over || g.users > 0 {
			last[g.rules.Name] = g
		}
	}
	var out []GuardSummary
	for _, name := range slices.Sorted(maps.Keys(last)) {
		out = append(out, last[name].summary())
	}
	return out
}

func (g *guard) summary() GuardSummary {
	s := GuardSummary{
		Connection: g.rules.Name, Tries: g.stats.tries.Load(), Failures: g.stats.failures.Load(), Retries: g.stats.retries.Load(), BudgetExhausted: g.stats.exhausted.Load(),
		RefusedByBreaker: g.stats.byBreaker.Load(), RefusedByConcurrency: g.stats.byPlaces.Load(), RefusedByRate: g.stats.byRate.Load(),
		Hedges: g.stats.hedges.Load(), HedgesWon: g.stats.hedgesWon.Load(),
	}
	if g.breaker != nil {
		b := g.breaker.Snapshot(g.now())
		s.State, s.Opened = b.State.String(), b.Opened
	}
	if g.places != nil {
		s.InFlight, s.Waiting = g.places.Counts()
	}
	return s
}
