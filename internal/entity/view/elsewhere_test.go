package view_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"penstock.dev/penstock"
	connector "penstock.dev/penstock/connector/sql"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/test/service"
)

// inTable is the view balances in a table of the Connection db.
var inTable = strings.Replace(balances, "  schema: balance\n", "  schema: balance\n  in: { sql: { connection: db, table: balances } }\n", 1)

// onDatabase is a Connection, as YAML.
func onDatabase(fields string) string {
	return "apiVersion: penstock.dev/v1alpha1\nkind: Connection\nmetadata: { name: db }\nspec: { sql: { " + fields + " } }\n---\n"
}

func onFile(path string) string {
	return onDatabase("driver: sqlite, create: true, statementTimeout: 30s, database: " + path)
}

func compiledWithSQL(t testing.TB, text string) *plan.Plan {
	t.Helper()
	r := penstock.NewRegistry()
	connector.Register(r)
	set, l := resource.Load(resource.Options{FS: fstest.MapFS{"a.yaml": {Data: []byte(text)}}, Paths: []string{"a.yaml"}, Registry: r})
	pl, found := compile.Compile(set, r, compile.Options{})
	l.Merge(found)
	if pl == nil || l.HasErrors() {
		for _, d := range l.Sorted() {
			t.Error(d)
		}
		t.FailNow()
	}
	return pl
}

// databases are those that rows are kept in. Those that are not installed are skipped.
func databases(t *testing.T, run func(t *testing.T, connection string)) {
	t.Run("sqlite", func(t *testing.T) { run(t, onFile(filepath.Join(t.TempDir(), "rows.db"))) })
	t.Run("postgres", func(t *testing.T) {
		uri, _, _ := strings.Cut(service.Postgres(t), "?")
		run(t, onDatabase("driver: postgres, url: \""+uri+"\""))
	})
	t.Run("mysql", func(t *testing.T) {
		s, database := service.MariaDB(t)
		run(t, onDatabase("driver: mysql, host: 127.0.0.1, port: "+strconv.Itoa(s.Port())+", database: "+database))
	})
}

func built(t testing.TB, e *view.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	if err := e.Built(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
}

// TestRowsInADatabase holds rows in a database to what the events come to, over deaths, a rebuild, a comparison and another definition.
func TestRowsInADatabase(t *testing.T) {
	databases(t, func(t *testing.T, connection string) {
		pl := compiledWithSQL(t, connection+base+inTable)
		r := rand.New(rand.NewPCG(1, 7))
		st := memory.New()
		var all []movement
		for range 3 {
			e := open(t, st, pl)
			for range 3 {
				some := drawn(r, 200, 40)
				send(t, st, some)
				all = append(all, some...)
			}
			drain(t, e)
			same(t, rowsOf(t, e, "balances"), folded(all))
			more := drawn(r, 100, 40)
			send(t, st, more)
			all = append(all, more...)
			st = st.Reopen() // killed, with whatever is durable
			e.Close()
		}
		e := open(t, st, pl)
		drain(t, e)
		c, err := e.Diff(t.Context(), "balances", 10)
		if err != nil || !c.Level || c.Differ != 0 || c.Checksum != c.Built || c.Rows != int64(len(folded(all))) {
			t.Fatalf("%+v, %v", c, err)
		}
		if err := e.Rebuild(t.Context(), "balances"); err != nil {
			t.Fatal(err)
		}
		built(t, e)
		same(t, rowsOf(t, e, "balances"), folded(all))
		other := compiledWithSQL(t, connection+base+strings.Replace(inTable, "+ body.amount}", "+ body.amount * 0}", 1))
		if err := e.Apply(t.Context(), other.Views, nil); err != nil {
			t.Fatal(err)
		}
		built(t, e)
		for i, m := range all {
			if m.Kind == "paid" {
				all[i].Amount = 0
			}
		}
		want := folded(all)
		same(t, rowsOf(t, e, "balances"), want)
		page, err := e.Find(t.Context(), "balances", "poor", []penstock.Value{penstock.IntValue(1_000_000)}, "")
		if err != nil || len(page.Rows) != min(3, len(want)) {
			t.Errorf("%+v, %v", page, err)
		}
		state, err := e.State(t.Context(), "balances")
		if err != nil || state.Generation != 3 || state.Building != nil || state.Lag != 0 {
			t.Errorf("%+v, %v", state, err)
		}
	})
}

// TestOthersReadTheRows holds the table to its columns, and to show no generation but the one that is read.
func TestOthersReadTheRows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.db")
	pl := compiledWithSQL(t, onFile(file)+base+inTable)
	st := memory.New()
	e := open(t, st, pl)
	send(t, st, []movement{{"o'x", "paid", 5}, {"o'x", "noted", 2}, {"b", "paid", 6}, {"c", "paid", 1}, {"c", "closed", 0}})
	drain(t, e)
	db, err := sql.Open("sqlite", file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	read := func() string {
		rows, err := db.QueryContext(t.Context(), "SELECT row_key || ' ' || balance || ' ' || coalesce(note, '-') || ' ' || row_json FROM balances ORDER BY row_key")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var out []string
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return fmt.Sprint(strings.Join(out, "; "), rows.Err())
	}
	want := `b 6 - {"balance":6,"count":1}; o'x 5 n2 {"balance":5,"count":1,"note":"n2"}<nil>`
	if got := read(); got != want {
		t.Errorf("others read\n%s\nand the rows are\n%s", got, want)
	}
	if err := e.Rebuild(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	built(t, e)
	if got := read(); got != want {
		t.Errorf("after a rebuild others read\n%s\nand the rows are\n%s", got, want)
	}
	for n := 0; n != 1; { // what was read before is removed when nobody reads it any more
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'balances%' AND type = 'table'").Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoKeepRowsOfOneTable has two processes keep the same rows: none writes on what it has not seen.
func TestTwoKeepRowsOfOneTable(t *testing.T) {
	pl := compiledWithSQL(t, onFile(filepath.Join(t.TempDir(), "rows.db"))+base+inTable)
	st := memory.New()
	a, b := open(t, st, pl), open(t, st, pl)
	r := rand.New(rand.NewPCG(3, 7))
	var all []movement
	for range 10 {
		some := drawn(r, 50, 5)
		send(t, st, some)
		all = append(all, some...)
		drain(t, a)
		drain(t, b)
		same(t, rowsOf(t, a, "balances"), folded(all))
	}
}

// TestAnotherStoreIsRefused: how far rows are says nothing of the events of another store.
func TestAnotherStoreIsRefused(t *testing.T) {
	pl := compiledWithSQL(t, onFile(filepath.Join(t.TempDir(), "rows.db"))+base+inTable)
	st := memory.New()
	e := open(t, st, pl)
	drain(t, e)
	e.Close()
	_, err := view.Open(t.Context(), pl.Views, view.Options{Store: memory.New(), Clock: penstock.SystemClock{}})
	if penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "another store") {
		t.Errorf("%v", err)
	}
}

// TestATableInTheWayIsSaid: what others have made is not replaced.
func TestATableInTheWayIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.db")
	db, err := sql.Open("sqlite", file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE balances (mine TEXT)"); err != nil {
		t.Fatal(err)
	}
	pl := compiledWithSQL(t, onFile(file)+base+inTable)
	_, err = view.Open(t.Context(), pl.Views, view.Options{Store: memory.New(), Clock: penstock.SystemClock{}})
	if penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "balances") {
		t.Errorf("%v", err)
	}
}

// TestADatabaseThatIsAwayIsWaitedFor has the database refuse all writes for a while: nothing is skipped, and the channel keeps what was not read.
func TestADatabaseThatIsAwayIsWaitedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.db")
	pl := compiledWithSQL(t, strings.Replace(onFile(file), "30s", "10ms", 1)+base+inTable)
	st := memory.New()
	e := open(t, st, pl)
	first := []movement{{"a", "paid", 5}}
	send(t, st, first)
	drain(t, e)
	db, err := sql.Open("sqlite", file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lock := func(text string) {
		for { // the view may be writing
			_, err := conn.ExecContext(t.Context(), text)
			if err == nil {
				return
			}
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
	}
	lock("BEGIN IMMEDIATE")
	more := []movement{{"a", "paid", 6}, {"b", "paid", 7}}
	send(t, st, more)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := e.Drain(ctx); err == nil {
		t.Fatal("it should have said that it does not come further")
	}
	err = st.View(t.Context(), func(v store.View) error {
		all, err := channel.Cursors(v, "movements")
		if len(all) != 1 || all[0].Low != 1 {
			t.Errorf("the channel keeps what is behind %+v, and the rows are at 1", all)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	state, err := e.State(t.Context(), "balances")
	if err != nil || state.Lag != 2 || state.Stopped != nil {
		t.Errorf("%+v, %v", state, err)
	}
	same(t, rowsOf(t, e, "balances"), folded(first))
	lock("ROLLBACK")
	if err := e.Await(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	same(t, rowsOf(t, e, "balances"), folded(append(first, more...)))
}

// TestWhoIsBehindWritesNoRowsElsewhere has the rows be at another place than the view believes: it goes on from there.
func TestWhoIsBehindWritesNoRowsElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.db")
	pl := compiledWithSQL(t, onFile(file)+base+inTable)
	st := memory.New()
	e := open(t, st, pl)
	all := []movement{{"a", "paid", 5}, {"b", "paid", 6}}
	send(t, st, all)
	drain(t, e)
	db, err := sql.Open("sqlite", file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{`DELETE FROM "balances@1"`, `UPDATE penstock_view SET position = '[0]', state = '{"pos":[0],"from":[0],"born":[0],"rows":0,"events":0}'`} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	more := []movement{{"b", "paid", 1}, {"c", "paid", 2}}
	send(t, st, more)
	drain(t, e)
	same(t, rowsOf(t, e, "balances"), folded(append(all, more...)))
}

// TestKilledWhileRowsAreSwitched has others read a generation that the process which built it did not come to read itself.
func TestKilledWhileRowsAreSwitched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.db")
	pl := compiledWithSQL(t, onFile(file)+base+inTable)
	st := memory.New()
	e := open(t, st, pl)
	all := []movement{{"a", "paid", 5}, {"b", "paid", 6}}
	send(t, st, all)
	drain(t, e)
	if _, err := e.Diff(t.Context(), "balances", 1); err != nil {
		t.Fatal(err)
	}
	e.Close()
	db, err := sql.Open("sqlite", file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{`UPDATE penstock_view SET is_current = (generation = 2)`, `DROP VIEW balances`, `CREATE VIEW balances AS SELECT row_key, balance, count, note, row_json FROM "balances@2"`} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	e = open(t, st, pl)
	more := []movement{{"b", "paid", 1}, {"c", "paid", 2}}
	send(t, st, more)
	drain(t, e)
	same(t, rowsOf(t, e, "balances"), folded(append(all, more...)))
	if err := e.Rebuild(t.Context(), "balances"); err != nil {
		t.Fatal(err)
	}
	built(t, e)
	state, err := e.State(t.Context(), "balances")
	if err != nil || state.Generation != 2 || state.Building != nil {
		t.Errorf("%+v, %v", state, err)
	}
	same(t, rowsOf(t, e, "balances"), folded(append(all, more...)))
}

// TestRowsMoveToATable has a view of the store, and then one in a table.
func TestRowsMoveToATable(t *testing.T) {
	connection := onFile(filepath.Join(t.TempDir(), "rows.db"))
	inStore, elsewhere := compiledWithSQL(t, connection+base+balances), compiledWithSQL(t, connection+base+inTable)
	st := memory.New()
	e := open(t, st, inStore)
	all := []movement{{"a", "paid", 5}, {"b", "paid", 6}}
	send(t, st, all)
	drain(t, e)
	for range 2 { // there, and there and back again
		for _, pl := range []*plan.Plan{elsewhere, inStore} {
			if err := e.Apply(t.Context(), pl.Views, nil); err != nil {
				t.Fatal(err)
			}
			drain(t, e)
			same(t, rowsOf(t, e, "balances"), folded(all))
		}
	}
}

// asAdministrator runs statements on a PostgreSQL server.
func asAdministrator(t *testing.T, uri string, statements ...string) {
	t.Helper()
	db, err := sql.Open("pgx", uri)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range statements {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// TestWhoMayNotMakeTablesIsToldAtTheStart: and not when the first event comes.
func TestWhoMayNotMakeTablesIsToldAtTheStart(t *testing.T) {
	uri := service.Postgres(t)
	asAdministrator(t, uri, "DROP ROLE IF EXISTS reader_of_rows", "CREATE ROLE reader_of_rows LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	plain, _, _ := strings.Cut(uri, "?")
	pl := compiledWithSQL(t, onDatabase("driver: postgres, user: reader_of_rows, url: \""+plain+"\"")+base+inTable)
	_, err := view.Open(t.Context(), pl.Views, view.Options{Store: memory.New(), Clock: penstock.SystemClock{}})
	if penstock.CodeOf(err) != penstock.Forbidden || !strings.Contains(err.Error(), "penstock_view") {
		t.Errorf("%v", err)
	}
}

// TestConnectionsToTheRowsAreCut cuts them while events come.
func TestConnectionsToTheRowsAreCut(t *testing.T) {
	uri := service.Postgres(t)
	plain, _, _ := strings.Cut(uri, "?")
	pl := compiledWithSQL(t, onDatabase("driver: postgres, url: \""+plain+"\"")+base+inTable)
	st := memory.New()
	e := open(t, st, pl)
	drain(t, e)
	r := rand.New(rand.NewPCG(5, 7))
	var all []movement
	for range 3 {
		some := drawn(r, 300, 20)
		send(t, st, some)
		all = append(all, some...)
		asAdministrator(t, uri, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	if err := e.Await(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	same(t, rowsOf(t, e, "balances"), folded(all))
}
