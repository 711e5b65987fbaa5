package entity_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// withMoney is the accounts with another schema of what is deposited.
func withMoney(money string) string {
	var out []string
	for _, l := range strings.Split(accounts, "\n") {
		if strings.HasPrefix(l, "    deposit:") || strings.HasPrefix(l, "    Deposited:") {
			l = strings.Replace(l, "schema: money", "schema: paid", 1)
		}
		if !strings.HasPrefix(l, "    look:") { // it makes such an event itself
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n") + "---\napiVersion: penstock.dev/v1alpha1\nkind: Schema\nmetadata: { name: paid }\nspec: { jsonSchema: " + money + " }\n"
}

const (
	moneyNoted   = "{ type: object, additionalProperties: false, required: [ amount ], properties: { amount: { type: integer }, note: { type: string } } }"
	moneyCurrent = "{ type: object, additionalProperties: false, required: [ amount, currency ], properties: { amount: { type: integer }, currency: { type: string } } }"
	moneyBounded = "{ type: object, additionalProperties: false, required: [ amount ], properties: { amount: { type: integer, minimum: 1 } } }"
)

// incompatible says what of a configuration doesn't go with what is in the store.
func (w *world) incompatible(text string) string {
	w.t.Helper()
	written, err := entity.Forms(w.t.Context(), w.st, "account")
	if err != nil {
		w.t.Fatal(err)
	}
	found, err := entity.Incompatible(compiled(w.t, text).Entities, written)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		out = append(out, f.Error())
	}
	return strings.Join(out, "\n")
}

func (w *world) written() int {
	w.t.Helper()
	written, err := entity.Forms(w.t.Context(), w.st, "account")
	if err != nil {
		w.t.Fatal(err)
	}
	return len(written)
}

// TestAnEventsSchemaIsHeldToWhatIsInTheStore changes the schema of an event and leaves its version.
func TestAnEventsSchemaIsHeldToWhatIsInTheStore(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		w := newWorld(t, accounts, st)
		if got := w.incompatible(withMoney(moneyCurrent)); got != "" {
			t.Errorf("nothing was written: %s", got)
		}
		w.do("deposit", "a", `{"amount":5}`)
		w.do("deposit", "b", `{"amount":5}`)
		if n := w.written(); n != 1 {
			t.Errorf("%d schemas are kept", n)
		}
		for name, c := range map[string]struct{ text, want string }{
			"the same":           {accounts, ""},
			"a field more":       {withMoney(moneyNoted), ""},
			"a required one":     {withMoney(moneyCurrent), "events Deposited of entity account are in the store as version 1 with another schema: body.currency is required now, and was not there"},
			"a bound":            {withMoney(moneyBounded), "events Deposited of entity account are in the store as version 1 with another schema: body.amount is at least 1 now, and could be less"},
			"with a new version": {changed(t, "Deposited", upcasting), ""},
		} {
			if got := w.incompatible(c.text); got != c.want {
				t.Errorf("%s: %s\nwant %s", name, got, c.want)
			}
		}
	})
}

// TestAnIncompatibleEventIsNotAppended has a process write that did not look at the start, or was there before: its events are refused in the transaction.
func TestAnIncompatibleEventIsNotAppended(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		w := newWorld(t, accounts, st)
		next := w.again(withMoney(moneyCurrent)) // before anything was written
		w.do("deposit", "a", `{"amount":5}`)
		_, err := next.try(entity.Request{Command: "deposit", Key: "b", Data: []byte(`{"amount":5,"currency":"EUR"}`), Expect: entity.AnyVersion})
		var why *entity.IncompatibleError
		var e *penstock.Error
		if !errors.As(err, &why) || !errors.As(err, &e) || penstock.CodeOf(err) != penstock.Internal || !strings.Contains(e.Hint, "`version: 2`") {
			t.Fatalf("%v", err)
		}
		if got := next.state("b", entity.AsOf{}); got != `0 {"balance":0}` {
			t.Errorf("%s", got)
		}
		if v := w.verified(); v.Events != 1 || len(v.Broken) > 0 {
			t.Errorf("%+v", v)
		}
		noted := w.again(withMoney(moneyNoted))
		noted.do("deposit", "a", `{"amount":5,"note":"x"}`)
		if n := w.written(); n != 2 {
			t.Errorf("%d schemas are kept", n)
		}
		w.do("deposit", "c", `{"amount":5}`) // what it writes is valid for all
		if n := w.written(); n != 2 {
			t.Errorf("%d schemas are kept", n)
		}
	})
}

// TestFormsAreThereWithTheirEvents has many write at once, and looks after each command: the schema is there once the command is durable.
func TestFormsAreThereWithTheirEvents(t *testing.T) {
	st := memory.NewParts(7)
	w := newWorld(t, accounts, st)
	var wg sync.WaitGroup
	for _, key := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for _, command := range []string{"open", "deposit"} {
				data := map[string]string{"open": `{"owner":"x"}`, "deposit": `{"amount":1}`}[command]
				if _, err := w.try(entity.Request{Command: command, Key: key, Data: []byte(data), Expect: entity.AnyVersion}); err != nil {
					t.Errorf("%s: %v", key, err)
				}
				written, err := entity.Forms(t.Context(), st, "account")
				if err != nil || len(written) == 0 || command == "deposit" && len(written) != 2 {
					t.Errorf("%s: %v %v", key, written, err)
				}
			}
		})
	}
	wg.Wait()
}
