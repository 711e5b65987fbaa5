package harness

import (
	"context"
	"fmt"
	"slices"
	"syscall"
)

// Side is one of the programs, or settings, that are compared.
type Side struct {
	Name string
	// Run does the work once. It prepares and verifies outside of what it measures, and fails if
	// the destination does not hold what it must.
	Run func(ctx context.Context) (Measurement, error)
}

// Runs are the measurements of one side, in the order they were made.
type Runs struct {
	Side string
	Of   []Measurement
}

// Alternate runs every side once in each round, A B C, then B C A, and so on, so that drift of the
// machine (heat, neighbours, write-back) does not favour a place in the row. One round before
// them is not counted if warm is set. say is told of each run. The first error ends it.
func Alternate(ctx context.Context, sides []Side, rounds int, warm bool, say func(string)) ([]Runs, error) {
	out := make([]Runs, len(sides))
	for i, s := range sides {
		out[i].Side = s.Name
	}
	from := 0
	if warm {
		from = -1
	}
	for round := from; round < rounds; round++ {
		for k := range sides {
			i := (k + max(round, 0)) % len(sides)
			syscall.Sync() // so that nobody pays for what the run before left to be written
			m, err := sides[i].Run(ctx)
			if err != nil {
				return out, fmt.Errorf("%s, round %d: %w", sides[i].Name, round+1, err)
			}
			if round < 0 {
				continue
			}
			m.Stdout, m.Stderr = nil, nil
			out[i].Of = append(out[i].Of, m)
			say(fmt.Sprintf("%d/%d %s: %.2f s, CPU %.2f s", round+1, rounds, sides[i].Name, m.Wall.Seconds(), m.CPU.Seconds()))
		}
	}
	return out, nil
}

// Spread is a median with the smallest and the largest value.
type Spread struct{ Median, Min, Max float64 }

// Over returns the spread of a quantity over the runs; zero if there is none.
func (r Runs) Over(quantity func(Measurement) float64) Spread {
	var v []float64
	for _, m := range r.Of {
		v = append(v, quantity(m))
	}
	return SpreadOf(v)
}

// SpreadOf returns the spread of values, which it does not change; zero if there are none.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return Spread{Median: mid, Min: v[0], Max: v[len(v)-1]}
}
