package orderdata

import (
	"math/bits"
	"math/rand/v2"
)

// rng draws from PCG-DXSM. Only the source of math/rand/v2 is used, because its output is fixed
// for ever; how rand.Rand turns it into a range is not.
type rng struct{ src *rand.PCG }

func newRNG(seed uint64) rng { return rng{rand.NewPCG(seed, 0x70656e73746f636b)} }

// n returns a number in [0, below). The bias of the multiplication is below 2^-50 here.
func (r rng) n(below int) int {
	hi, _ := bits.Mul64(r.src.Uint64(), uint64(below))
	return int(hi) //nolint:gosec // hi < below
}

// between returns a number in [low, high].
func (r rng) between(low, high int) int { return low + r.n(high-low+1) }

// permille is true share times in a thousand.
func (r rng) permille(share int) bool { return r.n(1000) < share }

// weighted is one choice of a table, with its share.
type weighted[T any] struct {
	value  T
	weight int
}

// pick draws from a table by weight.
func pick[T any](r rng, table []weighted[T]) T {
	sum := 0
	for _, e := range table {
		sum += e.weight
	}
	at := r.n(sum)
	for _, e := range table {
		if at -= e.weight; at < 0 {
			return e.value
		}
	}
	return table[len(table)-1].value
}
