package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/test/service"
)

// cdcFlow copies what changes in one table to another.
const cdcFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { store: { path: store.db } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: shop }
spec: { sql: { driver: postgres, url: %q } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: { cdc: { connection: shop, slot: copy, tables: [source], snapshot: %s } }
  order: total
  %s
  steps:
    - filter: body.operation != "delete"
    - map: { id: "${body.after.id}", num: "${body.after.num}" }
  to: { sql: { connection: shop, table: target, %s } }
`

// TestChangesAreCopiedThroughKills kills a flow that reads the changes of a table, and now and then the server, while another program changes the table. That one's
// ledger says in the end what must be there: where each change is a row of its own, each once; where a row takes its own place, the table as it is.
//
// An ordinary run kills 5 times; PENSTOCK_CRASHES=50 so many times.
func TestChangesAreCopiedThroughKills(t *testing.T) {
	for what, c := range map[string]struct{ snapshot, delivery, how, table string }{
		"changes, known by an inbox": {"never", "delivery: effectively-once", "inbox: {}", "(seq bigserial, id int, num int)"},
		"rows and changes, by a key": {"initial", "", "key: [id]", "(id int PRIMARY KEY, num int)"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			kills, seed := number(t, "PENSTOCK_CRASHES", 5), number(t, "PENSTOCK_CRASH_SEED", 1)
			server := service.LogicalPostgres(t)
			t.Cleanup(func() { server.Stop(t) })
			l := &changeLedger{t: t, uri: server.URI("postgres")}
			l.exec("CREATE TABLE source (id int PRIMARY KEY, num int)")
			l.exec("CREATE TABLE target " + c.table)
			if c.snapshot == "never" { // from the first change on
				l.exec("CREATE PUBLICATION copy FOR TABLE source")
				l.exec("SELECT pg_create_logical_replication_slot('copy', 'pgoutput')")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), fmt.Appendf(nil, cdcFlow, server.URI("postgres"), c.snapshot, c.delivery, c.how), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			random := rand.New(rand.NewPCG(uint64(seed), 11))
			l.change(2000)
			for i := range kills {
				p := start(t, command())
				changed := make(chan bool)
				go func() {
					defer close(changed)
					l.change(1000)
				}()
				if !p.lives(time.Duration(random.Int64N(int64(time.Second)))) {
					t.Fatalf("the flow ended:\n%s", p.said.String())
				}
				if i%5 == 4 { // in the middle of it
					server.Kill(t)
					server.Start(t)
					sleep(t.Context(), time.Duration(random.Int64N(int64(300*time.Millisecond))))
				}
				p.killOr("127.0.0.1")
				if <-changed; t.Failed() {
					return
				}
			}
			l.change(100)
			start(t, command("--once")).wait()
			l.check(c.snapshot == "never", kills)
		})
	}
}

// changeLedger changes a table, and knows what was committed.
type changeLedger struct {
	t    *testing.T
	uri  string
	conn *pgx.Conn // nil: none
	n    int       // changes; the n-th is number n
}

func (l *changeLedger) exec(statement string, args ...any) {
	l.t.Helper()
	for tries := 0; ; tries++ {
		err := l.try(statement, args...)
		if err == nil {
			return
		}
		if tries > 300 {
			l.t.Errorf("%s: %v", statement, err)
			return
		}
		sleep(l.t.Context(), 20*time.Millisecond)
	}
}

func (l *changeLedger) try(statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if l.conn == nil {
		c, err := pgx.Connect(ctx, l.uri)
		if err != nil {
			return err
		}
		l.conn = c
	}
	_, err := l.conn.Exec(ctx, statement, args...)
	if err != nil {
		_ = l.conn.Close(ctx)
		l.conn = nil
	}
	return err
}

// change makes changes, ten in a transaction. A transaction whose answer was lost is asked for: each changes its own rows to its own numbers.
func (l *changeLedger) change(n int) {
	l.t.Helper()
	for range n / 10 {
		l.exec(`INSERT INTO source SELECT i % 700, i FROM generate_series($1::int, $1::int + 9) i WHERE NOT EXISTS (SELECT FROM source WHERE num = $1::int + 9)
			ON CONFLICT (id) DO UPDATE SET num = excluded.num`, l.n)
		l.n += 10
	}
}

// check holds the copy to the ledger.
func (l *changeLedger) check(each bool, kills int) {
	l.t.Helper()
	c, err := pgx.Connect(l.t.Context(), l.uri)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	ask := func(query string) (n int) {
		l.t.Helper()
		if err := c.QueryRow(l.t.Context(), query).Scan(&n); err != nil {
			l.t.Fatal(err)
		}
		return n
	}
	if !each {
		wrong := ask("SELECT count(*) FROM source s FULL JOIN target t USING (id) WHERE s.num IS DISTINCT FROM t.num")
		l.t.Logf("%d kills, %d changes, %d rows differ", kills, l.n, wrong)
		if wrong > 0 {
			l.t.Errorf("%d rows differ", wrong)
		}
		return
	}
	lost := l.n - ask("SELECT count(DISTINCT num) FROM target")
	twice := ask("SELECT count(*) - count(DISTINCT num) FROM target")
	late := ask("SELECT count(*) FROM (SELECT num < lag(num) OVER (PARTITION BY id ORDER BY seq) AS late FROM target) x WHERE late")
	l.t.Logf("%d kills, %d changes, %d lost, %d twice, %d out of turn", kills, l.n, lost, twice, late)
	if lost != 0 || twice != 0 || late != 0 {
		l.t.Errorf("%d lost, %d twice, %d out of turn", lost, twice, late)
	}
}
