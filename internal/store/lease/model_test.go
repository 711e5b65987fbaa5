package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"penstock.dev/penstock/internal/store/memory"
)

// What is done to a part, as a history has it.
type (
	asked struct {
		part int
		what string // take, write, release
		l    Lease  // of a write or a release
		id   string // who takes
	}
	answered struct {
		ok bool
		l  Lease // of a take
	}
)

// part is a part as the model has it: who holds it, and with which epoch.
type part struct {
	owner string
	epoch int64
}

// leases is the model: a write is accepted only from who took the part last, and every taking has an epoch of its own.
var leases = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, o := range history {
			p := o.Input.(asked).part
			by[p] = append(by[p], o)
		}
		var out [][]porcupine.Operation
		for _, h := range by {
			out = append(out, h)
		}
		return out
	},
	Init: func() any { return part{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(part), input.(asked), output.(answered)
		switch in.what {
		case "take":
			return out.l.Epoch > s.epoch, part{in.id, out.l.Epoch}
		case "release":
			if s == (part{in.l.Owner, in.l.Epoch}) {
				return true, part{"", s.epoch}
			}
			return true, s
		}
		return out.ok == (s == part{in.l.Owner, in.l.Epoch}), s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, out) },
}

// recorder is a role that writes down what was asked, and when.
type recorder struct {
	Role
	h *history
	n int
}

type history struct {
	mu    sync.Mutex
	began time.Time
	ops   []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(client int, in asked, out answered, call int64) {
	ret := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: ret})
}

func (r *recorder) Take(ctx context.Context, owner string, parts []int, d time.Duration) ([]Lease, error) {
	call := r.h.now()
	got, err := r.Role.Take(ctx, owner, parts, d)
	for _, l := range got {
		r.h.add(r.n, asked{part: l.Part, what: "take", id: owner}, answered{ok: true, l: l}, call)
	}
	return got, err
}

func (r *recorder) Release(ctx context.Context, ls []Lease) error {
	call := r.h.now()
	err := r.Role.Release(ctx, ls)
	for _, l := range ls {
		r.h.add(r.n, asked{part: l.Part, what: "release", l: l}, answered{ok: true}, call)
	}
	return err
}

// TestAtMostOneHolder has many keepers on one store, in processes that sleep, whose clocks jump, and that are killed and come again; each writes
// all the time with what it believes to hold, and with what it held once. The history of what was taken, released, written and refused
// must be one of a lock with one holder at a time (porcupine, a checker of linearisability).
func TestAtMostOneHolder(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			ops := disorder(t, seed)
			if !porcupine.CheckOperations(leases, ops) {
				t.Errorf("%d operations are not those of leases with one holder", len(ops))
			}
			wrote, refused := 0, 0
			for _, o := range ops {
				if in := o.Input.(asked); in.what == "write" {
					if o.Output.(answered).ok {
						wrote++
					} else {
						refused++
					}
				}
			}
			if wrote == 0 || refused == 0 {
				t.Errorf("%d writes were accepted and %d refused: nothing was tested", wrote, refused)
			}
		})
	}
}

// disorder runs four replicas for a while.
func disorder(t *testing.T, seed uint64) []porcupine.Operation {
	clock, db := newClock(), memory.New()
	state := InState(db, 4, clock)
	h := &history{began: time.Now()}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(n)))
			var old []Lease
			for life := range 3 {
				r := &replica{t: t, id: fmt.Sprintf("r%d.%d", n, life), store: db, drives: map[int]Lease{}, yielding: map[int]func(){}}
				own := &skewed{handClock: clock}
				r.Keeper = New(Options{Role: &recorder{state.For(), h, n}, Replica: Replica{ID: r.id}, Lease: ttl, Clock: own, Holder: r})
				for range 30 {
					switch rnd.IntN(12) {
					case 0: // it sleeps through its lease: nobody looks at its clock
						clock.move(2 * ttl)
					case 1:
						own.jump(time.Duration(rnd.Int64N(int64(4*ttl))) - 2*ttl)
					case 2:
						r.expire()
					case 3, 4:
						clock.move(time.Duration(rnd.Int64N(int64(ttl / 2))))
					default:
						r.tick(context.Background())
						if rnd.IntN(2) == 0 {
							r.drain()
						}
					}
					r.mu.Lock()
					for _, l := range r.drives {
						old = append(old, l)
					}
					r.mu.Unlock()
					for range 2 {
						if len(old) == 0 {
							break
						}
						l := old[len(old)-1-rnd.IntN(min(len(old), 8))]
						call := h.now()
						err := write(db, l)
						if err != nil && !errors.Is(err, ErrLost) {
							t.Error(err)
						}
						h.add(n, asked{part: l.Part, what: "write", l: l}, answered{ok: err == nil}, call)
					}
				}
				// Killed: nothing is released, and what it held goes on writing.
			}
		})
	}
	all.Wait()
	return h.ops
}
