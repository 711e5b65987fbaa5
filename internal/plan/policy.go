package plan

import (
	"fmt"
	"strings"
	"time"
)

// Policy is what protects a connection from those who use it, and them from it. Its state is shared by all endpoints that name the
// same one.
type Policy struct {
	Name        string // whose it is: the connection
	Breaker     *Breaker
	Concurrency *Concurrency
	RateLimit   *RateLimit
	Hedge       *Hedge
	Budget      float64 // share of retries to first tries; 0: not bounded
}

// Breaker says when somebody who fails is left alone.
type Breaker struct {
	Failures float64       // share of failures at which it opens, 0 to 1
	Window   time.Duration // over which they are counted
	Minimum  int           // tries in the window before it may open
	Open     time.Duration // how long nothing is let through
	HalfOpen int           // probes that must go well then
}

// Concurrency is how many requests may be under way at once.
type Concurrency struct {
	Limit int
	Queue int           // that may wait; -1: any number
	Wait  time.Duration // longest wait; 0: as long as the try may take
}

// RateLimit is how many requests a second may go, and how many at once.
type RateLimit struct {
	Rate  float64
	Burst int
}

// Hedge sends a request once more when its answer is late. The first answer counts.
type Hedge struct {
	After time.Duration
	Max   int // further tries
}

// Equal reports whether two policies say the same, whoever they belong to.
func (p *Policy) Equal(o *Policy) bool {
	return same(p.Breaker, o.Breaker) && same(p.Concurrency, o.Concurrency) && same(p.RateLimit, o.RateLimit) && same(p.Hedge, o.Hedge) && p.Budget == o.Budget
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// String names the rules in one line.
func (p *Policy) String() string {
	var out []string
	if b := p.Breaker; b != nil {
		out = append(out, fmt.Sprintf("breaker %g%% of at least %d in %s, open %s, %d probes", b.Failures*100, b.Minimum, b.Window, b.Open, b.HalfOpen))
	}
	if c := p.Concurrency; c != nil {
		s := fmt.Sprintf("concurrency %d", c.Limit)
		if c.Queue >= 0 {
			s += fmt.Sprintf(", queue %d", c.Queue)
		}
		if c.Wait > 0 {
			s += ", wait " + c.Wait.String()
		}
		out = append(out, s)
	}
	if r := p.RateLimit; r != nil {
		out = append(out, fmt.Sprintf("rate %g/s, burst %d", r.Rate, r.Burst))
	}
	if h := p.Hedge; h != nil {
		out = append(out, fmt.Sprintf("hedge after %s, %d more", h.After, h.Max))
	}
	if p.Budget > 0 {
		out = append(out, fmt.Sprintf("retry budget %g%%", p.Budget*100))
	}
	return strings.Join(out, "; ")
}

// Walk visits every node of a program and of those inside it, in the order of the file.
func Walk(nodes []Node, visit func(*Node)) {
	for i := range nodes {
		n := &nodes[i]
		visit(n)
		switch op := n.Op.(type) {
		case *Fork:
			for b := range op.Branches {
				Walk(op.Branches[b].Nodes, visit)
			}
		case *Loop:
			Walk(op.Body.Nodes, visit)
		}
	}
}

// String names a cache in one line.
func (c *Cache) String() string {
	s := fmt.Sprintf("cache %s, %d bytes", c.TTL, c.Size)
	if c.Key != nil {
		s += ", own key"
	}
	if c.Stale > 0 {
		s += ", stale " + c.Stale.String()
	}
	if c.Negative > 0 {
		s += ", negative " + c.Negative.String()
	}
	return s
}

// partial names in one line what a fork makes of failures.
func (f *Fork) partial() string {
	s := "partial"
	if f.Partial.Deadline > 0 {
		s += ", deadline " + f.Partial.Deadline.String()
	}
	if f.Partial.AtLeast > 0 {
		s += fmt.Sprintf(", at least %d", f.Partial.AtLeast)
	}
	var need []string
	for i, n := range f.Partial.Need {
		if n {
			need = append(need, f.Branches[i].Name)
		}
	}
	if need != nil {
		s += ", at least " + strings.Join(need, ", ")
	}
	return s
}

// pick names in one line how a fork chooses.
func (f *Fork) pick() string {
	s := string(f.Pick.Strategy)
	for i, w := range f.Pick.Weights {
		s += fmt.Sprintf(" %s=%d", f.Branches[i].Name, w)
	}
	return s
}
