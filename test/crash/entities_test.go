package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
)

// accounts is an entity with all that hangs on it: commands and queries over HTTP, events that go to a channel with them, a view, and a flow that copies
// each event once.
const accounts = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: accounts }
spec:
  store: %s
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: money }
spec:
  jsonSchema:
    type: object
    additionalProperties: false
    required: [ amount, who, nr ]
    properties: { amount: { type: integer }, who: { type: string }, nr: { type: integer } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: account }
spec:
  jsonSchema:
    type: object
    additionalProperties: false
    required: [ balance ]
    properties: { balance: { type: integer } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: row }
spec:
  jsonSchema:
    type: object
    additionalProperties: false
    required: [ balance, version ]
    properties: { balance: { type: integer }, version: { type: integer } }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: account }
spec:
  state: { schema: account, initial: { balance: 0 } }
  commands:
    deposit: { schema: money, emit: [ { event: Deposited } ] }
    withdraw:
      schema: money
      require: [ { that: body.amount < state.balance, code: conflict, message: "not enough" } ]
      emit: [ { event: Withdrawn }, { event: Charged, data: { amount: 1, who: "${body.who}", nr: "${body.nr}" } } ]
  events:
    Deposited: { schema: money, apply: { balance: "${state.balance + body.amount}" } }
    Withdrawn: { schema: money, apply: { balance: "${state.balance - body.amount}" } }
    Charged: { schema: money, apply: { balance: "${state.balance - body.amount}" } }
  snapshot: { every: 10 }
  publish: { channel: published }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: published }
spec: { schema: money }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: copied }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: balances }
spec:
  from: { entity: account }
  key: key
  schema: row
  events:
    Deposited: { upsert: { balance: "${row.?balance.orValue(0) + body.amount}", version: "${meta.version}" } }
    Withdrawn: { upsert: { balance: "${row.?balance.orValue(0) - body.amount}", version: "${meta.version}" } }
    Charged: { upsert: { balance: "${row.?balance.orValue(0) - body.amount}", version: "${meta.version}" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: deposit }
spec:
  from: { http: { post: "/deposit/{id}", idempotency: { required: true } } }
  steps:
    - command: { entity: account, key: request.path.id, name: deposit }
      name: ask
    - map: { version: "${body.version}", balance: "${body.state.balance}" }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: withdraw }
spec:
  from: { http: { post: "/withdraw/{id}", idempotency: { required: true } } }
  steps:
    - command: { entity: account, key: request.path.id, name: withdraw }
      name: ask
    - map: { version: "${body.version}", balance: "${body.state.balance}" }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: state }
spec:
  from: { http: { get: "/state/{id}" } }
  steps:
    - query: { entity: account, key: request.path.id }
    - map: { version: "${body.version}", balance: "${body.state.balance}" }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: row }
spec:
  from: { http: { get: "/row/{id}" } }
  steps:
    - query: { view: balances, key: request.path.id }
      into: vars.known
    - map: { version: "${vars.?known.?version.orValue(0)}", balance: "${vars.?known.?balance.orValue(0)}" }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: caught-up }
spec:
  from: { http: { get: "/caught-up/{id}" } }
  steps:
    - query: { view: balances, key: request.path.id, wait: 20s }
      into: vars.known
    - map: { version: "${vars.?known.?version.orValue(0)}", balance: "${vars.?known.?balance.orValue(0)}" }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: { entity: account }
  delivery: effectively-once
  steps: [ { set: { body.account: "${key}", body.version: "${meta.version}" } } ]
  to: { channel: copied }
`

// keys is how many accounts there are.
const accountKeys = 5

// at is an account as it was at a version.
type at struct {
	Version int64
	Balance int64
}

// customer asks for one thing after the other. What it gets no answer to may have been done or not: it asks again, with the same idempotency key, until it knows.
type customer struct {
	who string
	nr  int64 // what it asks for next, or again
	// asked is how many things it has asked for.
	asked int64

	answers map[int64]answered
	refused map[int64]bool
	read    map[string][]at // by account, in the order of reading
}

type answered struct {
	account string
	at
	events int64
}

// thing is what the customer's nr-th question is.
func (c *customer) thing() (command, account string, amount int64) {
	n := c.nr*7 + int64(c.who[1])
	account = fmt.Sprint("k", n%accountKeys)
	if c.nr%3 == 2 {
		return "withdraw", account, n % 40
	}
	return "deposit", account, n%20 + 1
}

// bank is a program with accounts, over all its lives, and customers, who write down outside of it what they are told.
type bank struct {
	t       *testing.T
	dir     string
	address string
	client  *http.Client
	all     []*customer
	open    func() store.Store // looks into the store from outside
	file    bool               // the store is one
	sends   bool               // events go to a broker, and not to a channel in the store

	mu   sync.Mutex
	told int
}

func newBank(t *testing.T, spec string, open func(dir string) store.Store) *bank {
	t.Helper()
	return newBankOf(t, fmt.Sprintf(accounts, spec), open)
}

// newBankOf is a bank of another configuration than [accounts].
func newBankOf(t *testing.T, text string, open func(dir string) store.Store) *bank {
	t.Helper()
	b := &bank{t: t, dir: t.TempDir(), address: ports(t, 1)[0], client: &http.Client{Timeout: limit, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}}
	t.Cleanup(b.client.CloseIdleConnections)
	writeFile(t, filepath.Join(b.dir, "accounts.yaml"), text)
	b.open = func() store.Store { return open(b.dir) }
	for i := range callers {
		b.all = append(b.all, &customer{who: fmt.Sprint("w", i), answers: map[int64]answered{}, refused: map[int64]bool{}, read: map[string][]at{}})
	}
	return b
}

func (b *bank) start(args ...string) *process {
	b.t.Helper()
	cmd := exec.Command(program(b.t), append([]string{"run", "--quiet", "--listen", b.address}, append(args, "accounts.yaml")...)...)
	cmd.Dir = b.dir
	return start(b.t, cmd)
}

// opens lets the customers ask until the function that it returns is called: with true it lets each have the answer to its last question first.
func (b *bank) opens() (done func(patient bool)) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var over atomic.Bool
	var asking sync.WaitGroup
	for _, c := range b.all {
		asking.Go(func() {
			for ctx.Err() == nil && !over.Load() {
				if err := b.serve(ctx, c); err != nil {
					select {
					case <-ctx.Done():
					case <-time.After(2 * time.Millisecond): // it is not there yet
					}
				}
			}
		})
	}
	return func(patient bool) {
		over.Store(true)
		if !patient {
			cancel()
		}
		asking.Wait()
		cancel()
	}
}

// serve does one thing for a customer.
func (b *bank) serve(ctx context.Context, c *customer) error {
	command, account, amount := c.thing()
	body := fmt.Sprintf(`{"amount":%d,"who":%q,"nr":%d}`, amount, c.who, c.nr)
	c.asked = c.nr + 1
	status, said, err := b.ask(ctx, http.MethodPost, "/"+command+"/"+account, body, fmt.Sprint(c.who, "-", c.nr))
	switch {
	case err != nil:
		return err
	case status == http.StatusConflict && strings.Contains(said, "not enough"):
		c.refused[c.nr] = true
	case status == http.StatusOK:
		a := answered{account: account, events: 1}
		if command == "withdraw" {
			a.events = 2
		}
		if err := json.Unmarshal([]byte(said), &a.at); err != nil {
			b.t.Errorf("%s %s: %s", command, account, said)
		}
		c.answers[c.nr] = a
	default: // it is being worked on, or the program ends
		return fmt.Errorf("%d: %s", status, said)
	}
	c.nr++
	b.mu.Lock()
	b.told++
	b.mu.Unlock()
	if c.nr%4 != 0 {
		return nil
	}
	for _, what := range []string{"/state/", "/row/"} {
		status, said, err := b.ask(ctx, http.MethodGet, what+account, "", "")
		if err != nil || status != http.StatusOK {
			return err
		}
		var is at
		if err := json.Unmarshal([]byte(said), &is); err != nil {
			b.t.Errorf("%s%s: %s", what, account, said)
		}
		if a, ok := c.answers[c.nr-1]; ok && what == "/state/" && is.Version < a.Version {
			b.t.Errorf("%s was told that %s is at version %d, and reads version %d", c.who, account, a.Version, is.Version)
		}
		c.read[account] = append(c.read[account], is)
	}
	return nil
}

func (b *bank) ask(ctx context.Context, method, path, body, key string) (status int, said string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

func (b *bank) answered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.told
}

// more waits until so many more things were done, or refused; where until is not 0, at most that long. The program must live.
func (b *bank) more(p *process, n int, until time.Duration) {
	b.t.Helper()
	target, began := b.answered()+n, time.Now()
	for b.answered() < target && (until == 0 || time.Since(began) < until) {
		if time.Since(began) > limit {
			b.t.Fatalf("customers get no answers:\n%s", p.said.String())
		}
		select {
		case <-time.After(time.Millisecond):
		case <-p.over:
			b.t.Fatalf("the program ended:\n%s", p.said.String())
		}
	}
}

// happened is an event, as far as it counts here.
type happened struct {
	Key     string
	Version int64
	Type    string
	Amount  int64
	Who     string
	Nr      int64
}

// audit holds the store to what customers were told and have read. Nobody may ask meanwhile. It returns the accounts.
func (b *bank) audit() map[string][]at {
	t := b.t
	t.Helper()
	st := b.open()
	defer func() {
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	events := map[string][]happened{}
	folded := map[string][]at{} // by version
	by := map[string]map[int64][]happened{}
	last := map[[2]string]int64{} // of a customer and an account
	for _, c := range b.all {
		by[c.who] = map[int64][]happened{}
	}
	err := entity.List(t.Context(), st, entity.Listing{Entity: "account"}, func(e *entity.Listed) error {
		h := happened{Key: e.Key, Version: e.Version, Type: e.Type}
		if err := json.Unmarshal(e.Data, &h); err != nil {
			return err
		}
		if len(events[h.Key]) == 0 {
			folded[h.Key] = []at{{}}
		}
		if events[h.Key] = append(events[h.Key], h); int64(len(events[h.Key])) != h.Version {
			t.Errorf("version %d of %s is the %dth of its events", h.Version, h.Key, len(events[h.Key]))
		}
		is := at{h.Version, folded[h.Key][len(folded[h.Key])-1].Balance + h.Amount}
		if h.Type != "Deposited" {
			is.Balance -= 2 * h.Amount
		}
		folded[h.Key] = append(folded[h.Key], is)
		if before, ok := last[[2]string{h.Who, h.Key}]; ok && h.Nr < before {
			t.Errorf("%s: what %s asked %dth stands behind the %dth", h.Key, h.Who, h.Nr, before)
		}
		last[[2]string{h.Who, h.Key}] = h.Nr
		if by[h.Who] == nil {
			t.Errorf("%s has asked for nothing", h.Who)
			return nil
		}
		by[h.Who][h.Nr] = append(by[h.Who][h.Nr], h)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.all {
		b.settled(c, by[c.who], folded)
	}
	if !b.sends {
		b.published(st, events)
	}
	return folded
}

// settled holds what is there of a customer, by number, to what it was told.
func (b *bank) settled(c *customer, there map[int64][]happened, folded map[string][]at) {
	t := b.t
	t.Helper()
	for nr, all := range there {
		var types []string
		for i, h := range all {
			types = append(types, h.Type)
			if h.Key != all[0].Key || h.Version != all[0].Version+int64(i) {
				t.Errorf("the events of command %d of %s don't stand together: %+v", nr, c.who, all)
			}
		}
		if got := strings.Join(types, " "); got != "Deposited" && got != "Withdrawn Charged" {
			t.Errorf("command %d of %s made %s", nr, c.who, got)
		}
		if nr >= c.asked || c.refused[nr] {
			t.Errorf("command %d of %s is there; it was not asked for, or refused", nr, c.who)
		}
	}
	for nr, a := range c.answers {
		all := there[nr]
		if int64(len(all)) != a.events || all[0].Key != a.account || all[len(all)-1].Version != a.Version || folded[a.account][a.Version] != a.at {
			t.Errorf("command %d of %s was acknowledged as %+v, and is %+v", nr, c.who, a, all)
		}
	}
	for account, all := range c.read {
		for _, is := range all {
			if is.Version > 0 && (is.Version >= int64(len(folded[account])) || folded[account][is.Version] != is) {
				t.Errorf("%s read %+v of %s, which is not what the events come to", c.who, is, account)
			}
		}
	}
}

// published holds the channel that events are sent to, in their transaction, to the events.
func (b *bank) published(st store.Store, events map[string][]happened) {
	b.t.Helper()
	b.same("published", reader{b.t, st}.bodies("published"), events)
}

// same says that a channel has all events of each account, in order.
func (b *bank) same(channel string, bodies [][]byte, events map[string][]happened) {
	t := b.t
	t.Helper()
	type mark struct {
		who        string
		nr, amount int64
	}
	there, want := map[string][]mark{}, map[string][]mark{}
	for _, all := range events {
		for _, h := range all {
			want[h.Key] = append(want[h.Key], mark{h.Who, h.Nr, h.Amount})
		}
	}
	for _, body := range bodies {
		var h happened
		if err := json.Unmarshal(body, &h); err != nil {
			t.Fatalf("channel %s holds %s", channel, body)
		}
		c := customer{who: h.Who, nr: h.Nr}
		_, account, _ := c.thing()
		there[account] = append(there[account], mark{h.Who, h.Nr, h.Amount})
	}
	for key := range want {
		if fmt.Sprint(there[key]) != fmt.Sprint(want[key]) {
			t.Errorf("channel %s does not have the events of %s in order: %d of %d", channel, key, len(there[key]), len(want[key]))
		}
	}
	if len(there) != len(want) {
		t.Errorf("channel %s has events of %d accounts of %d", channel, len(there), len(want))
	}
}

// closes ends the loop: views and states are what the events come to, each event was copied once, and nothing was changed behind anybody's back.
func (b *bank) closes(p *process) {
	t := b.t
	t.Helper()
	is := map[string]map[string]at{}
	for _, what := range []string{"/state/", "/caught-up/"} {
		is[what] = map[string]at{}
		for i := range accountKeys {
			key := fmt.Sprint("k", i)
			var a at
			for began := time.Now(); ; {
				status, said, err := b.ask(t.Context(), http.MethodGet, what+key, "", "")
				if err == nil && status == http.StatusOK {
					if err := json.Unmarshal([]byte(said), &a); err != nil {
						t.Fatal(err)
					}
					break
				}
				if time.Since(began) > limit {
					t.Fatalf("%s%s: %d, %v: %s\n%s", what, key, status, err, said, p.said.String())
				}
			}
			is[what][key] = a
		}
	}
	p.stop()
	p.wait()
	folded := b.audit()
	for what, all := range is {
		for key, a := range all {
			if n := len(folded[key]); n == 0 && a != (at{}) || n > 0 && folded[key][n-1] != a {
				t.Errorf("%s%s is %+v, and the events come to %+v", what, key, a, folded[key][max(0, n-1):])
			}
		}
	}
	after := [][]string{{"run", "--once", "--quiet", "accounts.yaml"}, {"events", "verify"}, {"view", "diff", "balances"}}
	if b.file { // a server has tools of its own
		after = append(after, []string{"store", "check"})
	}
	for _, args := range after {
		cmd := exec.Command(program(t), args...)
		cmd.Dir = b.dir
		start(t, cmd).wait()
	}
	st := b.open()
	defer func() { _ = st.Close() }()
	events := map[string][]happened{}
	n := 0
	err := entity.List(t.Context(), st, entity.Listing{Entity: "account"}, func(e *entity.Listed) error {
		n++
		h := happened{Key: e.Key}
		if err := json.Unmarshal(e.Data, &h); err != nil {
			return err
		}
		events[e.Key] = append(events[e.Key], h)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.same("copied", reader{t, st}.bodies("copied"), events)
	t.Logf("%d commands were answered, %d events are there", b.answered(), n)
}

// inFile opens the store of a folder.
func inFile(t *testing.T) func(dir string) store.Store {
	return func(dir string) store.Store {
		db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, ".penstock", "store.db")})
		if err != nil {
			t.Fatalf("the store does not open after a kill: %v", err)
		}
		return db
	}
}

// TestEntitiesAreKilled kills a program with an entity at any moment, again and again, while customers send commands and read states: what was acknowledged
// is there, under its version; nothing is there that nobody asked for, or twice, or that was refused; what somebody has read stays; each customer's
// commands stand in their order; state and view are what the events come to; the channel that events are sent to has each once, in order; and the
// chain of hashes holds.
func TestEntitiesAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 7), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 21))
	b := newBank(t, "{}", inFile(t))
	b.file = true
	for i := range kills {
		p := b.start()
		until := time.Duration(0)
		if i > 0 && random.IntN(3) == 0 { // perhaps before it answers
			until = time.Duration(random.IntN(int(300 * time.Millisecond)))
		}
		done := b.opens()
		b.more(p, 1+random.IntN(300), until)
		p.kill()
		done(false)
		if random.IntN(2) == 0 {
			b.audit()
		}
	}
	p := b.start()
	done := b.opens()
	b.more(p, 50, 0)
	done(true)
	b.closes(p)
}
