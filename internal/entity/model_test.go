package entity_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store/memory"
)

// naive is what accounts do, in a few lines.
type naive struct {
	balance map[string][]int // after each version
	done    map[string]string
}

func (n *naive) now(key string) (version, balance int) {
	all := n.balance[key]
	if len(all) == 0 {
		return 0, 0
	}
	return len(all), all[len(all)-1]
}

func (n *naive) do(command, key string, amount int, cause string) (string, bool) {
	if r, ok := n.done[cause]; ok && cause != "" {
		return r, true
	}
	v, b := n.now(key)
	switch command {
	case "deposit":
		n.balance[key] = append(n.balance[key], b+amount)
	case "withdraw":
		if amount > b {
			return "", false
		}
		n.balance[key] = append(n.balance[key], b-amount)
		if amount > 100 {
			n.balance[key] = append(n.balance[key], b-amount-1)
		}
	}
	after, balance := n.now(key)
	reply := fmt.Sprintf("%d %d {\"balance\":%d}", after, after-v, balance)
	if cause != "" {
		n.done[cause] = reply
	}
	return reply, true
}

// TestEntitiesDoWhatTheModelDoes holds commands, repeated and from several processes, states as of any version, and the chain to a naive interpreter.
func TestEntitiesDoWhatTheModelDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := memory.NewParts(rapid.IntRange(1, 3).Draw(rt, "parts"))
		w := newWorld(t, accounts, st)
		worlds := []*world{w, w.again(accounts)}
		n := &naive{balance: map[string][]int{}, done: map[string]string{}}
		for range rapid.IntRange(1, 40).Draw(rt, "commands") {
			x := rapid.SampledFrom(worlds).Draw(rt, "process")
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
			command := rapid.SampledFrom([]string{"deposit", "withdraw"}).Draw(rt, "command")
			amount := rapid.IntRange(0, 200).Draw(rt, "amount")
			cause := rapid.SampledFrom([]string{"", "", key + "1", key + "2", key + "3"}).Draw(rt, "cause")
			r, err := x.try(entity.Request{Command: command, Key: key, Data: fmt.Appendf(nil, `{"amount":%d}`, amount), Cause: cause, Expect: -1})
			want, ok := n.do(command, key, amount, cause)
			if (err == nil) != ok || err != nil && penstock.CodeOf(err) != penstock.Conflict {
				rt.Fatalf("%s %d of %s: %v, want %q", command, amount, key, err, want)
			}
			if err == nil {
				if got := fmt.Sprintf("%d %d %s", r.Version, len(r.Events), r.State); got != want {
					rt.Fatalf("%s %d of %s: %s, want %s", command, amount, key, got, want)
				}
			}
		}
		total := 0
		for key, all := range n.balance {
			total += len(all)
			for i, b := range all {
				if got, want := worlds[i%2].state(key, entity.AsOf{Version: int64(i + 1)}), fmt.Sprintf(`%d {"balance":%d}`, i+1, b); got != want {
					rt.Fatalf("%s as of %d: %s, want %s", key, i+1, got, want)
				}
			}
		}
		if v := w.verified(); len(v.Broken) > 0 || v.Events != int64(total) {
			rt.Fatalf("%d events, %+v", total, v)
		}
	})
}
