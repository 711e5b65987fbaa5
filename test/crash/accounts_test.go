package crash_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// onServer is the store of examples/accounts, as its overlay has it, with a shorter lease.
const onServer = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: accounts }
spec: { store: { driver: postgres, url: %q, schema: penstock, lease: 2s } }
`

// moved is a transfer that somebody asked for, once.
type moved struct {
	From, To string
	Amount   int64
	acked    bool
}

// transfers is who asks replicas of examples/accounts for transfers, and writes down outside of them what was acknowledged. What gets no answer is not asked for again: it may have been
// done, or half of it, which the example says.
type transfers struct {
	*replicated
	client *http.Client

	mu  sync.Mutex
	all map[string]*moved
	n   int // acknowledged
}

const people, richness = 6, 1000

// ask sends a request to any replica until one of them takes it: one that does not run the flow says so, and has done nothing. over says that nobody answered who may have.
func (a *transfers) ask(first int, method, path, body string) (status int, said string, over bool) {
	for i := first; ; i++ {
		select {
		case <-a.over:
			return 0, "", true
		default:
		}
		if status, said, over = a.try(i, method, path, body); status != 0 || over {
			return status, said, over
		}
		if i%len(a.peers) == 0 { // all have been asked: they are not spun at
			sleep(a.t.Context(), 20*time.Millisecond)
		}
	}
}

// try sends a request to one replica. The status is 0 where that has certainly done nothing: it is not there, or does not run the flow.
func (a *transfers) try(i int, method, path, body string) (status int, said string, over bool) {
	req, err := http.NewRequestWithContext(a.t.Context(), method, "http://"+a.peers[i%len(a.peers)].at+path, strings.NewReader(body))
	if err != nil {
		a.t.Error(err)
		return 0, "", true
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return 0, "", !strings.Contains(err.Error(), "connection refused")
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" {
		return 0, "", false
	}
	return res.StatusCode, string(text), err != nil
}

// pay asks for one transfer after the other.
func (a *transfers) pay(who int) {
	random := rand.New(rand.NewPCG(uint64(who), 4))
	for n := 0; ; n++ {
		select {
		case <-a.over:
			return
		default:
		}
		from := random.IntN(people)
		m := &moved{From: fmt.Sprint("p", from), To: fmt.Sprint("p", (from+1+random.IntN(people-1))%people), Amount: int64(1 + random.IntN(50))}
		id := fmt.Sprint("t", who, "-", n)
		a.mu.Lock()
		a.all[id] = m
		a.mu.Unlock()
		status, said, over := a.ask(random.IntN(len(a.peers)), http.MethodPost, "/transfers", fmt.Sprintf(`{"id":%q,"from":%q,"to":%q,"amount":%d}`, id, m.From, m.To, m.Amount))
		switch {
		case over:
		case status == http.StatusOK:
			a.mu.Lock()
			m.acked = true
			a.n++
			a.mu.Unlock()
		case status == http.StatusConflict && strings.Contains(said, "the balance of"), status >= 500:
		default:
			a.t.Errorf("a transfer was answered with %d: %s", status, said)
		}
	}
}

func (a *transfers) acknowledged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// further waits until so many more transfers were acknowledged.
func (a *transfers) further(n int) {
	a.t.Helper()
	target := a.acknowledged() + n
	a.until("transfers are acknowledged", func() bool { return a.acknowledged() >= target })
}

// TestAccountsAreKilled kills one of three replicas of examples/accounts again and again, mostly the one that has the accounts, while money is transferred. Money is neither made nor lost: a
// transfer that was acknowledged is there, once and whole; one that was not may be there, or half of it, as the example says, but never its second half alone. Views are what the events come to.
//
// An ordinary run kills 4 times; PENSTOCK_CRASHES=50 so many times.
func TestAccountsAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 31))
	example, err := filepath.Abs("../../examples/accounts")
	if err != nil {
		t.Fatal(err)
	}
	url := service.NewPostgres(t).URI("postgres")
	a := &transfers{replicated: &replicated{t: t, dir: t.TempDir(), url: url, home: store.PartOf("views", postgres.DefaultParts), over: make(chan struct{})}, client: &http.Client{Timeout: 30 * time.Second}, all: map[string]*moved{}}
	writeFile(t, filepath.Join(a.dir, "integration.yaml"), fmt.Sprintf(onServer, url))
	a.command = func(p *peer) *exec.Cmd {
		cmd := exec.Command(program(t), "run", "--quiet", "--listen", p.at, example, "-k", ".", "--param", "out=out")
		cmd.Dir = a.dir
		return cmd
	}
	a.join(3)
	t.Cleanup(a.finish)
	t.Cleanup(a.client.CloseIdleConnections)
	db := a.open()
	a.until("they listen", func() bool {
		for _, p := range a.peers {
			select {
			case <-p.over:
				t.Fatalf("it has ended:\n%s", p.said.String())
			default:
			}
		}
		status, _, over := a.try(0, http.MethodGet, "/accounts/nobody", "")
		return !over && status == http.StatusNotFound
	})
	for i := range people {
		for _, what := range []string{fmt.Sprintf(`open {"owner":"P%d"}`, i), fmt.Sprintf(`deposit {"amount":%d}`, richness)} {
			command, body, _ := strings.Cut(what, " ")
			if status, said, _ := a.ask(0, http.MethodPost, fmt.Sprintf("/accounts/p%d/%s", i, command), body); status != http.StatusOK {
				t.Fatalf("%s: %d %s", what, status, said)
			}
		}
	}
	for who := range 4 {
		a.wg.Go(func() { a.pay(who) })
	}
	for i := range kills {
		a.further(1 + random.IntN(100))
		p, epoch := a.drives(db)
		if p == nil || i%3 == 2 {
			p = a.peers[random.IntN(len(a.peers))]
		}
		drove, _ := a.drives(db)
		began := time.Now()
		p.kill()
		if p == drove {
			a.until("another takes over", func() bool { o, e := a.drives(db); return o != nil && o != p && e > epoch })
			took := time.Since(began)
			a.further(1)
			t.Logf("taken over after %s, with leases of 2s; the next transfer after %s", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		}
		a.begin(p)
	}
	a.further(20)
	a.finish()
	a.over = make(chan struct{}) // for what is asked now
	a.audit(db)
	a.stopAll()
}

// audit holds the store, and what is answered, to the ledger.
func (a *transfers) audit(db store.Store) {
	t := a.t
	t.Helper()
	type event struct {
		key, kind string
		amount    int64
	}
	of, balance, count := map[string][]event{}, map[string]int64{}, map[string][2]int{}
	if err := entity.List(t.Context(), db, entity.Listing{Entity: "account"}, func(e *entity.Listed) error {
		var m struct {
			Amount   int64
			Transfer string
		}
		if err := json.Unmarshal(e.Data, &m); err != nil {
			return err
		}
		n := count[e.Key]
		switch e.Type {
		case "Deposited":
			balance[e.Key] += m.Amount
			n[0]++
		case "Withdrawn":
			balance[e.Key] -= m.Amount
			n[1]++
		}
		if count[e.Key] = n; m.Transfer != "" {
			of[m.Transfer] = append(of[m.Transfer], event{e.Key, e.Type, m.Amount})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sum, under := int64(0), int64(0)
	halves := 0
	for id, m := range a.all {
		there := of[id]
		delete(of, id)
		whole := []event{{m.From, "Withdrawn", m.Amount}, {m.To, "Deposited", m.Amount}}
		slices.SortFunc(there, func(a, b event) int { return -strings.Compare(a.kind, b.kind) }) // accounts are listed one after the other
		switch {
		case slices.Equal(there, whole):
		case m.acked:
			t.Errorf("transfer %s of %+v was acknowledged, and there is %v", id, *m, there)
		case len(there) == 0, slices.Equal(there, []event{whole[0], {m.From, "Deposited", m.Amount}}):
		case slices.Equal(there, whole[:1]): // taken, and not given: who did it was killed
			under += m.Amount
			halves++
		default:
			t.Errorf("of transfer %s of %+v there is %v", id, *m, there)
		}
	}
	if len(of) > 0 {
		t.Errorf("nobody has asked for %v", of)
	}
	for _, b := range balance {
		sum += b
	}
	if sum+under != people*richness {
		t.Errorf("there were %d, and there are %d, and %d that were taken and not given", people*richness, sum, under)
	}
	t.Logf("%d transfers, %d acknowledged, %d taken and not given", len(a.all), a.n, halves)
	a.until("the views have everything", func() bool {
		var page struct {
			Rows []struct {
				Account string
				Balance json.Number
			}
		}
		a.answer("/below/1000000000", &page)
		has := map[string]int64{}
		for _, r := range page.Rows {
			n, err := r.Balance.Int64()
			if err != nil {
				t.Fatal(err)
			}
			has[r.Account] = n
		}
		for key, b := range balance {
			if n, ok := has[key]; !ok || n != b {
				return false
			}
		}
		return len(has) == len(balance)
	})
	for key, n := range count {
		var is struct{ Deposits, Withdrawals int }
		a.answer("/activity/"+key, &is)
		if is.Deposits != n[0] || is.Withdrawals != n[1] {
			t.Errorf("the view has %+v of %s, and the events are %v", is, key, n)
		}
	}
}

// answer asks for something until it is answered.
func (a *transfers) answer(path string, into any) {
	a.t.Helper()
	a.until("it is answered: "+path, func() bool {
		status, said, over := a.ask(0, http.MethodGet, path, "")
		if over || status != http.StatusOK {
			return false
		}
		if err := json.NewDecoder(bytes.NewReader([]byte(said))).Decode(into); err != nil {
			a.t.Fatal(err)
		}
		return true
	})
}
