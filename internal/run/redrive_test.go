package run

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// letter is a stored message with a meta.dead.
func letter(t *testing.T, body string, dead penstock.Value) record.View {
	t.Helper()
	b := &penstock.Batch{}
	m := b.Append()
	m.Body.Reset(jsonview.JSON, []byte(body))
	m.Meta.Set("dead", dead)
	v, err := record.Parse(record.Append(nil, record.Header{Origin: "x"}, m, nil))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func entries(kv ...any) penstock.Value {
	m := &penstock.Map{}
	for i := 0; i < len(kv); i += 2 {
		v := penstock.StringValue(fmt.Sprint(kv[i+1]))
		if n, ok := kv[i+1].(int); ok {
			v = penstock.IntValue(int64(n))
		}
		m.Entries = append(m.Entries, penstock.Entry{Key: penstock.StringValue(kv[i].(string)), Value: v})
	}
	return penstock.MapValue(m)
}

// TestARedriverAsksWithWhatItKnows looks at what the engine is asked for, and at what the condition sees.
func TestARedriverAsksWithWhatItKnows(t *testing.T) {
	var seen []string
	where := prog(func(f *penstock.Frame) penstock.Value { // vars.code of who asks; error of the dead letter
		e := f.Msg.Vars[2]
		text, err := e.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		body := f.Msg.Body.AppendJSON(nil, 0)
		seen = append(seen, fmt.Sprintf("%s %s %s", f.Msg.Vars[0].Str(), body, text))
		if string(body) == "3" {
			return penstock.ErrorValue(errors.New("no such key"))
		}
		return penstock.BoolValue(string(body) != "2")
	})
	var asked Redriving
	var matched []bool
	r := &Runner{clock: penstock.SystemClock{}, opts: Options{Redrive: func(_ context.Context, what Redriving) (int64, int64, error) {
		asked = what
		for i, dead := range []penstock.Value{entries("code", "a"), entries("code", "b", "redriven", 4), entries("code", "c")} {
			ok, err := what.Match(letter(t, fmt.Sprint(i+1), dead))
			if err != nil {
				t.Fatal(err)
			}
			matched = append(matched, ok)
		}
		return 2, 7, nil
	}}}
	f := &flow{r: r, runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}}
	d := &redriver{f, "heal/again", &plan.Redrive{Flow: "orders", Where: where, Error: 2, Limit: 5, Rate: 10}}
	b := &penstock.Batch{Runtime: f.runtime}
	m, into := b.Append(), b.NewMessage()
	m.Vars = []penstock.Value{penstock.StringValue("mine")}
	if err := d.Call(context.Background(), b.Frame(m), into); err != nil {
		t.Fatal(err)
	}
	if got := string(into.Body.Bytes()); got != `{"redriven":2,"left":7}` {
		t.Error(got)
	}
	if asked.Flow != "orders" || asked.Limit != 5 || asked.Rate != 10 || asked.Who != "heal/again" {
		t.Errorf("%+v", asked)
	}
	if fmt.Sprint(matched) != "[true false false]" {
		t.Errorf("matched %v", matched)
	}
	want := `[mine 1 {"code":"a","redriven":0} mine 2 {"code":"b","redriven":4} mine 3 {"code":"c","redriven":0}]`
	if fmt.Sprint(seen) != want {
		t.Errorf("saw %v", seen)
	}
	if len(m.Vars) != 1 {
		t.Error("the message that asks was changed")
	}

	broken := errors.New("the store is gone")
	r.opts.Redrive = func(context.Context, Redriving) (int64, int64, error) { return 0, 0, broken }
	if err := d.Call(context.Background(), b.Frame(m), into); !errors.Is(err, broken) {
		t.Error(err)
	}
	r.opts.Redrive = nil
	if err := d.Call(context.Background(), b.Frame(m), into); penstock.CodeOf(err) != penstock.Config {
		t.Error(err)
	}
}

// TestErrorsOfDeadLetters holds `error` of conditions to meta.dead, however it was carried.
func TestErrorsOfDeadLetters(t *testing.T) {
	node := func(text string) penstock.Value {
		d := &jsonview.Doc{}
		d.Reset(jsonview.JSON, []byte(text))
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		return penstock.NodeValue(d, 0)
	}
	for want, dead := range map[string]penstock.Value{
		`{"code":"a","number":1,"redriven":0}`: node(`{"code":"a","number":1}`),
		`{"code":"a","redriven":2}`:            node(`{"code":"a","redriven":2}`),
		`{"redriven":0}`:                       node(`{}`),
		`"odd"`:                                penstock.StringValue("odd"),
		`[1]`:                                  node(`[1]`),
		`{"step":"x","redriven":0}`:            entries("step", "x"),
	} {
		m := &penstock.Message{}
		m.Meta.Set("dead", dead)
		got, err := ErrorOf(m).AppendJSON(nil)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		if _, err := dead.AppendJSON(nil); err != nil {
			t.Error(err)
		}
	}
	if got := deathOf(&penstock.Message{}); got.times != 0 {
		t.Errorf("%+v", got)
	}
	for _, dead := range []penstock.Value{node(`{"entry":"from","redriven":3}`), entries("entry", "from", "redriven", 3)} {
		m := &penstock.Message{}
		m.Meta.Set("dead", dead)
		if got := deathOf(m); got.times != 3 || got.entry != "from" {
			t.Errorf("%+v", got)
		}
	}
}

// TestWhoFeedsWhom decides for whom a flow waits whose sources have ended: not for one that waits for it.
func TestWhoFeedsWhom(t *testing.T) {
	flow := func(name, from, to, dead string, redriven ...string) *plan.Flow {
		f := &plan.Flow{Name: name, Sources: []*plan.Endpoint{{Channel: from}}, Nodes: []plan.Node{{Op: &plan.Send{Endpoint: &plan.Endpoint{Channel: to}}}}}
		if dead != "" {
			f.OnError.DeadLetter = &plan.Endpoint{Channel: dead}
		}
		for _, r := range redriven {
			f.Nodes = append(f.Nodes, plan.Node{Op: &plan.Fork{Branches: []plan.Sub{{Nodes: []plan.Node{{Op: &plan.Call{Endpoint: &plan.Endpoint{Redrive: &plan.Redrive{Flow: r}}}}}}}}})
		}
		return f
	}
	all := []*plan.Flow{
		flow("orders", "", "ready", ""), flow("heal", "", "", "", "orders"), flow("ship", "ready", "shipped", ""),
		flow("late", "shipped", "", "", "orders"), flow("dead", "orders.dead", "", "", "orders"), flow("own", "", "", "grave"), flow("digger", "grave", "", "", "own"),
		flow("a", "", "", "", "b"), flow("b", "", "", "", "a"),
	}
	find := func(name string) *plan.Flow {
		for _, f := range all {
			if f.Name == name {
				return f
			}
		}
		return nil
	}
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"orders", "heal", false}, {"orders", "late", true}, {"orders", "dead", true}, {"own", "digger", true}, {"own", "heal", false}, {"a", "b", true}, {"b", "a", true}, {"heal", "ship", true}, {"ship", "orders", true},
		{"ship", "heal", false}, {"orders", "orders", false},
	} {
		if got := feeds(all, find(c.from), c.to); got != c.want {
			t.Errorf("%s feeds %s: %t", c.from, c.to, got)
		}
	}
}
