package view_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/jsonview"
)

// sendAt appends events that were sent a second after the other, the first of them second 1.
func sendAt(t testing.TB, st store.Store, from int, events []movement) {
	t.Helper()
	b := store.Bundle{N: len(events), MinTime: int64(from+1) * int64(time.Second), MaxTime: int64(from+len(events)) * int64(time.Second)}
	for i, e := range events {
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Data = store.AppendFrame(b.Data, record.Draft{Time: int64(from+i+1) * int64(time.Second), Key: e.Account, Format: jsonview.JSON, Body: body}.Append(nil))
	}
	err := st.Submit(store.Bulk, func(tx store.Tx) error {
		_, err := tx.Append("movements", b)
		return err
	}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// rowsAsOf asks for all rows as of then, page by page.
func rowsAsOf(t testing.TB, e *view.Engine, as view.AsOf) (map[string]balance, error) {
	t.Helper()
	out := map[string]balance{}
	after := ""
	for {
		page, err := e.FindAsOf(t.Context(), "balances", "poor", []penstock.Value{penstock.IntValue(1 << 40)}, after, &as)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Rows {
			var b balance
			if err := json.Unmarshal(r.Text, &b); err != nil {
				t.Fatal(err)
			}
			out[r.Key] = b
			one, err := e.GetAsOf(t.Context(), "balances", r.Key, &as)
			if err != nil || string(one) != string(r.Text) {
				t.Fatalf("as of %s the row of %s is %s by its key, and %s among all: %v", &as, r.Key, one, r.Text, err)
			}
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}

// TestRowsAsTheyWere holds rows as of any place to what the events before it come to, and rows as of any time to what those come to that had happened by then.
func TestRowsAsTheyWere(t *testing.T) {
	pl := compiled(t, base+balances)
	rapid.Check(t, func(rt *rapid.T) {
		st := memory.New()
		defer func() { _ = st.Close() }()
		e, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: penstock.SystemClock{}})
		if err != nil {
			rt.Fatal(err)
		}
		defer e.Close()
		events := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) movement {
			return movement{rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "account"), rapid.SampledFrom([]string{"paid", "drawn", "noted", "cleared", "closed", "other"}).Draw(rt, "kind"), int64(rapid.IntRange(-5, 100).Draw(rt, "amount"))}
		}), 1, 40).Draw(rt, "events")
		for at := 0; at < len(events); {
			n := rapid.IntRange(1, len(events)-at).Draw(rt, "segment")
			sendAt(t, st, at, events[at:at+n])
			at += n
		}
		drain(t, e)
		n := rapid.IntRange(0, len(events)).Draw(rt, "place")
		want := folded(events[:n])
		for _, as := range []view.AsOf{{Position: int64(n)}, {Time: time.Unix(int64(n), 5)}, {Time: time.Unix(int64(n), 0)}} {
			got, err := rowsAsOf(t, e, as)
			if err != nil {
				rt.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("as of %s the rows are %v, want %v", &as, got, want)
			}
		}
		if row, err := e.GetAsOf(t.Context(), "balances", "nobody", &view.AsOf{Position: int64(n)}); err != nil || row != nil {
			rt.Fatalf("%s %v", row, err)
		}
	})
}

// TestRowsAsOfWhatIsGone: where the events are no longer kept that rows were made of, nobody is given other rows.
func TestRowsAsOfWhatIsGone(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	defer func() { _ = st.Close() }()
	open := func() *view.Engine {
		e, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: penstock.SystemClock{}})
		if err != nil {
			t.Fatal(err)
		}
		drain(t, e)
		return e
	}
	events := []movement{{"a", "paid", 5}, {"b", "paid", 6}, {"a", "paid", 7}, {"b", "drawn", 1}}
	sendAt(t, st, 0, events[:2])
	sendAt(t, st, 2, events[2:])
	e := open()
	defer func() { e.Close() }()
	refused := func(as view.AsOf, code penstock.Code, want string) {
		t.Helper()
		_, err := rowsAsOf(t, e, as)
		if penstock.CodeOf(err) != code || !strings.Contains(err.Error(), want) {
			t.Errorf("as of %s: %v, want %s: %s", &as, err, code, want)
		}
	}
	refused(view.AsOf{Position: 5}, penstock.NotFound, "the next event is 4")
	if err := st.Submit(store.Small, func(tx store.Tx) error { _, err := tx.Drop("movements", 2); return err }).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, as := range []view.AsOf{{Position: 1}, {Position: 4}, {Time: time.Unix(100, 0)}} {
		refused(as, penstock.Unprocessable, "the events before 2 are no longer kept in movements, and the rows are made of them")
	}
	// Rows that are built anew are made of what is there, and so are those as of then: but not as of what was before.
	if err := e.Rebuild(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	if err := e.Built(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	got, err := rowsAsOf(t, e, view.AsOf{Position: 3})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(folded(events[2:3])) {
		t.Errorf("%v %v", got, err)
	}
	if got, err = rowsAsOf(t, e, view.AsOf{Time: time.Unix(4, 0)}); err != nil || fmt.Sprint(got) != fmt.Sprint(folded(events[2:])) {
		t.Errorf("%v %v", got, err)
	}
	refused(view.AsOf{Position: 1}, penstock.Unprocessable, "the events before 2 are no longer kept")
	refused(view.AsOf{Time: time.Unix(2, 0)}, penstock.Unprocessable, "the events before 1970-01-01T00:00:03Z are no longer kept")
}

// TestRowsAsOfBeforeAnError: a view that has stopped can be asked as of what was before, and not behind.
func TestRowsAsOfBeforeAnError(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	defer func() { _ = st.Close() }()
	e, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: penstock.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	events := []movement{{"a", "paid", 5}, {"b", "paid", 2_000_000}, {"a", "paid", 7}}
	sendAt(t, st, 0, events)
	drain(t, e)
	got, err := rowsAsOf(t, e, view.AsOf{Position: 1})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(folded(events[:1])) {
		t.Errorf("%v %v", got, err)
	}
	if _, err = rowsAsOf(t, e, view.AsOf{Time: time.Unix(2, 0)}); penstock.CodeOf(err) != penstock.Unprocessable || !strings.Contains(err.Error(), "the event at 1 can't be folded") {
		t.Error(err)
	}
	row, err := e.GetAsOf(t.Context(), "balances", "a", &view.AsOf{Position: 3}) // the event is about another row
	if err != nil || string(row) != `{"balance":12,"count":2}` {
		t.Errorf("%s %v", row, err)
	}
}

// TestRowsAsOfAreBounded: too many rows, or events, are refused and not half of them given.
func TestRowsAsOfAreBounded(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	defer func() { _ = st.Close() }()
	e, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: penstock.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var events []movement
	for i := range 30 {
		events = append(events, movement{fmt.Sprint("k", i%10), "paid", 1})
	}
	sendAt(t, st, 0, events)
	drain(t, e)
	for _, c := range []struct{ bytes, events int64 }{{1000, 1 << 40}, {1 << 40, 29}} {
		e.BoundPast(c.bytes, c.events)
		if _, err := rowsAsOf(t, e, view.AsOf{Position: 30}); penstock.CodeOf(err) != penstock.TooLarge {
			t.Errorf("%v: %v", c, err)
		}
		row, err := e.GetAsOf(t.Context(), "balances", "k3", &view.AsOf{Position: 30})
		if err != nil || string(row) != `{"balance":3,"count":3}` {
			t.Errorf("%v: %s %v", c, row, err)
		}
	}
	e.BoundPast(10_000, 30)
	if _, err := rowsAsOf(t, e, view.AsOf{Position: 30}); err != nil {
		t.Error(err)
	}
}
