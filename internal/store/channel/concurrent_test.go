package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// The operations of a history of one message. Each message is a partition of its own.
type action uint8

const (
	give  action = iota // Next gave it to a reader
	done1               // it was acknowledged: from before Ack until behind Acked
	back                // it was given back with a delay, or by Leave
)

type event struct {
	action action
	pos    int64
	reader int
}

// owned is the model of one message: it is with one reader at a time, and with nobody any more once it is acknowledged.
//
//	state -1: free; -2: done; else: the reader that has it
var owned = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		by := map[int64][]porcupine.Operation{}
		for _, o := range all {
			pos := o.Input.(event).pos
			by[pos] = append(by[pos], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return -1 },
	Step: func(state, input, _ any) (bool, any) {
		s, e := state.(int), input.(event)
		switch e.action {
		case give:
			return s == -1, e.reader
		case back:
			return s == e.reader, -1
		}
		return s == e.reader, -2
	},
}

// TestHistories: readers come and go, acknowledge, give back, while messages are appended and the log is shortened. The history of each
// message is linearizable, every message is acknowledged once, and what one reader is given of a key is in order.
func TestHistories(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { histories(t, seed) })
	}
}

func histories(t *testing.T, seed uint64) {
	const messages, keys, readers = 3000, 17, 4
	s := memory.New()
	defer func() { _ = s.Close() }()
	h, c := open(t, s, penstock.SystemClock{}, Options{Cache: 2000, Page: 500, Held: 4000}, Config{Name: "q", Queue: true})
	defer h.Close()
	g := group(t, c, "queue", Stored())
	var mu sync.Mutex
	var history []porcupine.Operation
	var tick atomic.Int64
	note := func(client int, a action, pos, call int64) {
		o := porcupine.Operation{ClientId: client, Input: event{a, pos, client}, Call: call, Return: tick.Add(1)}
		mu.Lock()
		history = append(history, o)
		mu.Unlock()
	}
	acked := make([]atomic.Int32, messages)
	var clients atomic.Int64
	var busy atomic.Int64
	busy.Add(readers)
	waits := Waits{Idle: func() {
		if busy.Add(-1) < 0 {
			t.Error("more readers wait than there are")
		}
	}, Busy: func() { busy.Add(1) }}

	var wg sync.WaitGroup
	for n := range readers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(n)))
			for {
				client := int(clients.Add(1))
				r := g.Join(waits)
				for rounds := rnd.IntN(30); rounds >= 0; rounds-- {
					call := tick.Add(1)
					ds, err := r.Next(context.Background(), 1+rnd.IntN(20))
					if errors.Is(err, io.EOF) {
						r.Leave()
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mine := slices.Clone(ds)
					for _, d := range mine {
						note(client, give, d.Position, call)
						if body := bodyOf(t, d.Record); body != fmt.Sprint(d.Position) {
							t.Errorf("%d is %q", d.Position, body)
						}
					}
					if rounds == 0 && rnd.IntN(2) == 0 {
						call := tick.Add(1)
						r.Leave()
						for _, d := range mine {
							note(client, back, d.Position, call)
						}
						mine = nil
					}
					settle(t, s, g, mine, rnd, func(a action, pos, call int64) {
						if a == done1 {
							acked[pos].Add(1)
						}
						note(client, a, pos, call)
					}, &tick)
				}
				r.Leave()
			}
		})
	}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 99))
		for n := 0; n < messages; {
			var ms [][]byte
			for range min(1+rnd.IntN(50), messages-n) {
				key := fmt.Sprint(rnd.IntN(keys))
				ms = append(ms, message(key[:min(len(key), rnd.IntN(4))], fmt.Sprint(n)))
				n++
			}
			send(t, s, "q", epoch, ms...)
			if rnd.IntN(10) == 0 {
				if _, err := h.Retain(context.Background(), epoch); err != nil {
					t.Error(err)
				}
			}
			g.Lag()
		}
		g.End()
	})
	wg.Wait()
	if busy.Load() != readers {
		t.Errorf("%d of %d count as busy at the end", busy.Load(), readers)
	}
	for pos := range acked {
		if n := acked[pos].Load(); n != 1 {
			t.Errorf("the message at %d was acknowledged %d times", pos, n)
		}
	}
	if res := porcupine.CheckOperationsTimeout(owned, history, time.Minute); res != porcupine.Ok {
		t.Errorf("the history is %s", res)
	}
}

// settle acknowledges most of what a reader has, and gives the rest back.
func settle(t *testing.T, s store.Store, g *Group, ds []Delivery, rnd *rand.Rand, note func(a action, pos, call int64), tick *atomic.Int64) {
	if len(ds) == 0 {
		return
	}
	call := tick.Add(1)
	var acks []int64
	var nacks []int64
	for _, d := range ds {
		if rnd.IntN(10) == 0 {
			nacks = append(nacks, d.Position)
		} else {
			acks = append(acks, d.Position)
		}
	}
	rs := rangesOf(acks)
	commit(t, s, func(tx store.Tx) error {
		for _, pos := range nacks {
			if err := g.Nack(tx, pos, time.Duration(rnd.IntN(3))*time.Millisecond); err != nil {
				return err
			}
		}
		return g.Ack(tx, rs)
	})
	g.Acked(rs)
	for _, pos := range acks {
		note(done1, pos, call)
	}
	for _, pos := range nacks {
		g.Nacked(pos)
		note(back, pos, call)
	}
}
