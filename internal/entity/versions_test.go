package entity_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
)

// TestTwoConfigurationsOnOneStore has two processes on one store, of which one has the next configuration: a newer version of a schema, and an event that the other
// doesn't know. The older one refuses what it can't read, whatever it remembers, appends nothing to it, and leaves the snapshots of the newer one alone; all else goes on in both.
func TestTwoConfigurationsOnOneStore(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		old := newWorld(t, accounts, st)
		grown := strings.Replace(changed(t, "Deposited", upcasting), "  events:\n", "  events:\n    Closed: { apply: { closed: true } }\n", 1)
		grown = strings.Replace(grown, "    look:", "    close: { emit: [ { event: Closed } ] }\n    look:", 1)
		next := old.again(grown)
		for _, key := range []string{"a", "b", "c"} {
			for range 4 {
				old.do("deposit", key, `{"amount":2}`)
			}
		}
		next.do("deposit", "a", `{"amount":1}`) // its fifth: a snapshot is written
		next.do("close", "b", `{}`)
		before := snapshots(t, st)
		var unreadable *entity.UnreadableError
		for key, why := range map[string]string{"a": "version 3 of its schema, and the configuration knows 1", "b": "no event of this type is in the configuration"} {
			for range 2 { // what it remembers is older; then it knows nothing
				if _, err := old.try(entity.Request{Command: "deposit", Key: key, Data: []byte(`{"amount":1}`), Expect: -1}); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), why) {
					t.Errorf("%s: %v", key, err)
				}
			}
			if got := old.state(key, entity.AsOf{}); !strings.Contains(got, why) {
				t.Errorf("%s: %s", key, got)
			}
			if got := old.state(key, entity.AsOf{Version: 4}); got != `4 {"balance":8}` { // what it can read it reads
				t.Errorf("%s: %s", key, got)
			}
		}
		if after := snapshots(t, st); !bytes.Equal(before, after) {
			t.Errorf("the snapshots are others:\n%q\n%q", before, after)
		}
		for key, want := range map[string]string{"a": `5 {"balance":801}`, "b": `5 {"balance":800,"closed":true}`, "c": `4 {"balance":800}`} {
			if got := next.state(key, entity.AsOf{}); got != want {
				t.Errorf("%s: %s, want %s", key, got, want)
			}
		}
		if r := old.do("deposit", "c", `{"amount":1}`); r.Version != 5 || string(r.State) != `{"balance":9}` {
			t.Errorf("%+v %s", r, r.State)
		}
		if got := next.state("c", entity.AsOf{}); got != `5 {"balance":900}` { // the snapshot of the older one is not taken for its own
			t.Errorf("%s", got)
		}
		if v := next.verified(); v.Events != 15 {
			t.Errorf("%+v", v)
		}
	})
}

// snapshots are all that are stored.
func snapshots(t *testing.T, st store.Store) []byte {
	t.Helper()
	var out bytes.Buffer
	err := st.View(t.Context(), func(v store.View) error {
		spaces, err := v.State().Spaces("")
		if err != nil {
			return err
		}
		for _, s := range spaces {
			if !strings.Contains(s.Name, "account/snap") {
				continue
			}
			all, err := v.State().Scan(s.Name, nil, 100)
			if err != nil {
				return err
			}
			for _, e := range all {
				fmt.Fprintf(&out, "%s %q %q\n", s.Name, e.Key, e.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestAReloadFoldsAnew changes what an event does to the state while commands are under way: whatever was remembered, from then on each command sees the state as the
// new configuration folds it.
func TestAReloadFoldsAnew(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		w := newWorld(t, accounts, st)
		twice := compiled(t, changed(t, "Deposited", `    Deposited: { schema: money, apply: { balance: "${state.balance + 2 * body.amount}" } }`))
		once := compiled(t, accounts)
		var asking sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			asking.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					r := w.do("deposit", "a", `{"amount":1}`)
					if s := string(r.State); s != fmt.Sprintf(`{"balance":%d}`, r.Version) && s != fmt.Sprintf(`{"balance":%d}`, 2*r.Version) {
						t.Errorf("version %d is %s", r.Version, s)
						return
					}
				}
			})
		}
		for range 10 {
			w.r.Become(twice.Entities, nil)
			if r := w.do("deposit", "a", `{"amount":1}`); string(r.State) != fmt.Sprintf(`{"balance":%d}`, 2*r.Version) {
				t.Errorf("version %d is %s", r.Version, r.State)
			}
			w.r.Become(once.Entities, nil)
			if r := w.do("deposit", "a", `{"amount":1}`); string(r.State) != fmt.Sprintf(`{"balance":%d}`, r.Version) {
				t.Errorf("version %d is %s", r.Version, r.State)
			}
		}
		close(stop)
		asking.Wait()
	})
}
