package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// breaking is a store of which the n-th transaction from now fails.
type breaking struct {
	*memory.Store
	left int
}

var errBroken = errors.New("broken off")

func (b *breaking) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	b.left--
	if b.left < 0 {
		return b.Store.Submit(c, func(store.Tx) error { return errBroken })
	}
	return b.Store.Submit(c, f)
}

// left gives a step something: state, and messages behind it of which some are done.
func (w *world) left(step, keyed string, entries, segments int) {
	w.t.Helper()
	if err := w.store.Submit(store.Small, func(tx store.Tx) error {
		for i := range entries {
			if err := tx.Put(step, store.Entry{Key: fmt.Appendf(nil, "k%05d", i), Value: []byte(step), Due: int64(i)}); err != nil {
				return err
			}
		}
		return tx.Put("steps", store.Entry{Key: []byte(step), Value: []byte(keyed)})
	}).Wait(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	for i := range segments {
		w.append(step, start, letter("k", fmt.Sprint(2*i), "", ""), letter("k", fmt.Sprint(2*i+1), "", ""))
	}
	if segments > 1 {
		w.acknowledge(step, step, 3)
	}
}

// keeps lists all that the store holds but the audit.
func (w *world) keeps() (out []string) {
	w.t.Helper()
	if err := w.store.View(context.Background(), func(v store.View) error {
		spaces, err := v.State().Spaces("")
		for _, s := range spaces {
			all, err := v.State().Scan(s.Name, nil, 10000)
			if err != nil {
				return err
			}
			for _, e := range all {
				text := fmt.Sprintf("%s: %s %s %d", s.Name, e.Key, e.Value, e.Due)
				if strings.HasPrefix(s.Name, "group/") {
					text = s.Name + ": " + string(e.Key)
				}
				out = append(out, text)
			}
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestDropStep(t *testing.T) {
	for at := 0; ; at++ { // breaks off at each transaction, and goes on
		w := newWorld(t)
		w.left("orders/invoice", "aggregate by key", 1203, 3)
		w.left("orders/once", "dedupe by key", 1, 0)
		b := &breaking{Store: w.store, left: at}
		w.conf.Open, w.conf.Opened = func() (store.Store, error) { return b, nil }, nil
		_, err := w.again().Remains.DropStep(t.Context(), operate.StepDrop{Step: "orders/invoice", Who: "ann"})
		if err == nil {
			if at < 5 {
				t.Errorf("it was all done in %d transactions", at)
			}
			break
		}
		if !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		if at > 0 && !slices.ContainsFunc(w.keeps(), func(s string) bool {
			return strings.HasPrefix(s, "steps: orders/invoice half dropped: aggregate by key")
		}) {
			t.Errorf("broken off at %d, a run would start with the rest: %v", at, w.keeps())
		}
		b.left = 1 << 30
		if _, err := w.again().Remains.DropStep(t.Context(), operate.StepDrop{Step: "orders/invoice", Who: "ann"}); err != nil {
			t.Fatal(err)
		}
		if got, want := w.keeps(), []string{"orders/once: k00000 orders/once 0", "steps: orders/once dedupe by key 0"}; !slices.Equal(got, want) {
			t.Errorf("broken off at %d, and repeated: left are %q", at, got)
		}
		if got := w.bodies("orders/invoice"); len(got) > 0 {
			t.Errorf("left are %v", got)
		}
		if got := w.bodies("#audit"); len(got) != 1 || !strings.Contains(got[0], `"verb":"store drop","who":"ann"`) || !strings.Contains(got[0], `"what":"orders/invoice"`) {
			t.Errorf("audited %q", got)
		}
	}
}

func TestRenameStep(t *testing.T) {
	for at := 0; ; at++ {
		w := newWorld(t)
		w.left("orders/invoice", "aggregate by key", 1203, 3)
		w.left("orders/new", "delay", 0, 1) // was there before, and has nothing any more
		w.acknowledge("orders/new", "orders/new", 2)
		b := &breaking{Store: w.store, left: at}
		w.conf.Open, w.conf.Opened = func() (store.Store, error) { return b, nil }, nil
		r := operate.StepRename{Step: "orders/invoice", To: "orders/new", Who: "ann"}
		_, err := w.again().Remains.RenameStep(t.Context(), r)
		done := err == nil
		if !done {
			if !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
			b.left = 1 << 30
			if at > 0 {
				if _, err := w.again().Remains.RenameStep(t.Context(), operate.StepRename{Step: "orders/new", To: "orders/other"}); penstock.CodeOf(err) != penstock.Conflict {
					t.Errorf("half of a step goes on: %v", err)
				}
			}
			if _, err := w.again().Remains.RenameStep(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		var want []string
		want = append(want, "group/orders/new: orders/new")
		for i := range 1203 {
			want = append(want, fmt.Sprintf("orders/new: k%05d orders/invoice %d", i, i))
		}
		want = append(want, "steps: orders/new aggregate by key 0")
		if got := w.keeps(); !slices.Equal(got, want) {
			t.Errorf("broken off at %d: left are %d entries, %q …", at, len(got), got[:3])
		}
		if got := w.bodies("orders/invoice"); len(got) > 0 {
			t.Errorf("left are %v", got)
		}
		if got := w.bodies("orders/new"); !slices.Equal(got, []string{"0", "1", "3", "4", "5"}) {
			t.Errorf("broken off at %d: %v", at, got)
		}
		info, err := w.again().Store.Info(t.Context())
		if err != nil || len(info.Steps) != 1 || info.Steps[0].Waiting != 3 || info.Steps[0].Entries != 1203 {
			t.Errorf("%+v, %v", info.Steps, err)
		}
		if done {
			break
		}
	}
}

func TestRemainsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.left("orders/invoice", "aggregate by key", 2, 2)
	w.left("orders/once", "dedupe by key", 1, 0)
	w.append("orders", start, letter("", "1", "", ""))
	w.acknowledge("orders", "billing/from", 0)
	w.die(1)
	w.acknowledge("orders.dead", "dlq", 0)
	w.conf.Groups = map[string][]string{"orders": {"billing/from"}}
	w.conf.Steps = []string{"orders/once"}
	w.conf.Process = &process{}
	before := w.keeps()
	ops := w.again()
	for _, tc := range []struct {
		do   func(r operate.Remains) error
		want string
	}{
		{func(r operate.Remains) error {
			_, err := r.DropStep(t.Context(), operate.StepDrop{Step: "orders/invoic"})
			return err
		}, "did you mean orders/invoice"},
		{func(r operate.Remains) error {
			_, err := r.DropStep(t.Context(), operate.StepDrop{Step: "group/orders"})
			return err
		}, "knows no durable step"},
		{func(r operate.Remains) error {
			_, err := r.DropStep(t.Context(), operate.StepDrop{Step: "orders/once"})
			return err
		}, "the process that runs has the step orders/once"},
		{func(r operate.Remains) error {
			_, err := r.RenameStep(t.Context(), operate.StepRename{Step: "orders/invoice", To: "orders/once"})
			return err
		}, "the process that runs has the step orders/once"},
		{func(r operate.Remains) error {
			_, err := r.RenameStep(t.Context(), operate.StepRename{Step: "orders/invoice", To: "orders"})
			return err
		}, "no new name"},
		{func(r operate.Remains) error {
			_, err := r.RenameStep(t.Context(), operate.StepRename{Step: "orders/none", To: "orders/a"})
			return err
		}, "knows no durable step"},
		{func(r operate.Remains) error {
			_, err := r.Forget(t.Context(), operate.GroupForget{Channel: "orders", Group: "billing/from"})
			return err
		}, "a flow reads orders as billing/from"},
		{func(r operate.Remains) error {
			_, err := r.Forget(t.Context(), operate.GroupForget{Channel: "orders", Group: "biling/from"})
			return err
		}, "did you mean billing/from"},
		{func(r operate.Remains) error {
			_, err := r.Forget(t.Context(), operate.GroupForget{Channel: "orders.dead", Group: "dlq"})
			return err
		}, "dlq drop"},
		{func(r operate.Remains) error {
			_, err := r.Forget(t.Context(), operate.GroupForget{Channel: "orders/invoice", Group: "orders/invoice"})
			return err
		}, "store drop orders/invoice"},
	} {
		if err := tc.do(ops.Remains); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
	w.conf.Process = nil
	_, err := w.again().Remains.RenameStep(t.Context(), operate.StepRename{Step: "orders/invoice", To: "orders/once"})
	if err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("%v", err)
	}
	if got := w.keeps(); !slices.Equal(got, before) {
		t.Errorf("something was changed:\n%q\n%q", before, got)
	}
}

func TestForget(t *testing.T) {
	w := newWorld(t)
	w.append("orders", start, letter("", "1", "", ""), letter("", "2", "", ""), letter("", "3", "", ""))
	w.acknowledge("orders", "billing/from", 3)
	w.acknowledge("orders", "gone/from", 1)
	w.conf.Groups = map[string][]string{"orders": {"billing/from"}}
	i, err := w.again().Store.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []operate.GroupInfo{{Group: "billing/from", Done: 3}, {Group: "gone/from", Done: 1, Lag: 2, Holds: true, Unread: true}}
	if !slices.Equal(i.Channels[0].Groups, want) {
		t.Errorf("%+v", i.Channels[0].Groups)
	}
	g, err := w.again().Remains.Forget(t.Context(), operate.GroupForget{Channel: "orders", Group: "gone/from", Who: "ann"})
	if err != nil || g.Lag != 2 {
		t.Errorf("%+v, %v", g, err)
	}
	if got := w.keeps(); !slices.Equal(got, []string{"group/orders: billing/from"}) {
		t.Errorf("%q", got)
	}
	var a operate.Audited
	if err := json.Unmarshal([]byte(w.bodies("#audit")[0]), &a); err != nil || a.Verb != operate.Forgotten || a.Who != "ann" || a.What != "orders gone/from" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestAuditIsBounded drops dead letters with a long reason until the audit is cut.
func TestAuditIsBounded(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 1<<20)
	var most int64
	for range 20 {
		w.die(1)
		if _, err := w.ops.Dead.Act(t.Context(), operate.Action{Verb: operate.Drop, Selection: operate.Selection{Flow: "orders"}, Who: long}, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.store.View(t.Context(), func(v store.View) error {
			b, err := v.Log().Bounds("#audit")
			most = max(most, b.Bytes)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.bodies("#audit")); most > 18<<20 || got >= 20 || got < 10 {
		t.Errorf("%d entries are left; there were up to %d bytes", got, most)
	}
}
