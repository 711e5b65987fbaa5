package badinput_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock/internal/control"
	services "penstock.dev/penstock/test/service"
)

// injections are texts that end a quote, a comment or a statement somewhere, or stand for a parameter.
var injections = []string{
	"'; DROP TABLE victim; --", "' OR '1'='1", "'' OR 1=1", `\'; DROP TABLE victim; --`, `"; DROP TABLE victim; --`, "`; DROP TABLE victim; --", "]; DROP TABLE victim; --",
	"*/ DROP TABLE victim; /*", "-- ", "/* ", "$$; DROP TABLE victim; $$", "$1", "$0", "?", "?1", ":a", "@a", "${body.num}", "$${x}", "%", "_", `\`, `\\`, "E'\\''", "NULL", "\\N", "\\.", "\t\n\r\v",
	"x' || (SELECT name FROM victim LIMIT 1) || '", "1); DELETE FROM victim; --", "{1,2}", `{"a":1}`, "ü€😀", "\u202e", "\u0001\u007f", "\\x41", "U&'\\0041'", strings.Repeat("'", 999),
}

// ask runs a statement on a PostgreSQL server, and gives the JSON of its first column.
func ask(t testing.TB, uri, statement string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.PgConn().Exec(ctx, statement).ReadAll()
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if last := res[len(res)-1]; len(last.Rows) > 0 {
		return string(last.Rows[0][0])
	}
	return ""
}

// TestInjection: whatever a message holds, through every place of a statement where a value may stand it gets as a value, and comes back as it was.
func TestInjection(t *testing.T) {
	const tables = "CREATE TABLE victim (name TEXT); INSERT INTO victim VALUES ('a'), ('b'); CREATE TABLE log (s TEXT); CREATE TABLE target (num INTEGER PRIMARY KEY, s TEXT)"
	var in strings.Builder
	for n, s := range injections {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&in, "{\"num\":%d,\"s\":%s}\n", n, text)
	}
	flow := func(connection string) string {
		return flowOf(`
from: { file: { path: "${params.src}" } }
steps:
  - call:
      sql:
        connection: db
        query: >-
          SELECT CAST(${body.s} AS TEXT) AS echo, 'x' || CAST(${body.s} AS TEXT) || 'y' AS inner_text, /* a comment's end: ' */
          (SELECT count(*) FROM victim WHERE name = ${body.s} OR name LIKE '%' || ${body.s} AND 1 = 0) AS hits,
          (SELECT count(*) FROM victim WHERE name IN (${body.s}, ${body.s})) AS among, CASE WHEN CAST(${body.s} AS TEXT) IS NULL THEN 1 ELSE 0 END AS missing,
          (SELECT count(*) FROM (SELECT 1 FROM victim LIMIT CAST(${body.num} AS INTEGER)) l) AS limited
    into: vars.found
  - call: { sql: { connection: db, exec: "INSERT INTO log (s) VALUES (${body.s})" } }
    into: none
  - call: { sql: { connection: db, query: "SELECT count(*) AS n FROM log WHERE s = ${body.s}" } }
    into: vars.logged
  - to: { sql: { connection: db, table: target, columns: { num: "${body.num}", s: "${body.s}" }, key: [num] } }
  - call: { sql: { connection: db, query: "SELECT s, (SELECT count(*) FROM victim) AS victims FROM target WHERE num = CAST(${body.num} AS INTEGER)" } }
    into: vars.written
  - map: { s: "${body.s}", found: "${vars.?found}", logged: "${vars.?logged.n}", written: "${vars.?written}" }
to: { stdout: {} }
`) + "---\napiVersion: penstock.dev/v1alpha1\nkind: Connection\nmetadata: { name: db }\nspec:\n  sql: " + connection + "\n"
	}
	for name, connection := range map[string]func(t *testing.T) string{
		"sqlite": func(*testing.T) string {
			return "{ driver: sqlite, database: \":memory:\", session: [ \"" + tables + "\" ] }"
		},
		"postgres": func(t *testing.T) string {
			uri := services.Postgres(t)
			ask(t, uri, tables)
			return "{ driver: postgres, url: \"" + strings.TrimSuffix(uri, "?sslmode=disable") + "\" }"
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := runFlow(t, flow(connection(t)), "in.jsonl", in.String())
			if o.err != nil || len(o.out) != len(injections) {
				t.Fatalf("%d of %d came through: %v, %+v", len(o.out), len(injections), o.err, o.dead)
			}
			for n, line := range o.out {
				s := injections[n]
				var got struct {
					S     string
					Found struct {
						Echo                          string
						InnerText                     string `json:"inner_text"`
						Hits, Among, Missing, Limited int
					}
					Logged  int
					Written struct {
						S       string
						Victims int
					}
				}
				if err := json.Unmarshal([]byte(line), &got); err != nil {
					t.Fatal(err)
				}
				f := got.Found
				if got.S != s || f.Echo != s || f.InnerText != "x"+s+"y" || f.Hits != 0 || f.Among != 0 || f.Missing != 0 || f.Limited != min(n, 2) || got.Logged != 1 || got.Written.S != s || got.Written.Victims != 2 {
					t.Errorf("%q: %s", s, line)
				}
			}
		})
	}
}

// TestPostgresGoesAwayInMidBatch: a server that crashes while rows are written, and comes back, twice. Nothing is lost, nothing is there twice, and
// nobody has to do anything.
func TestPostgresGoesAwayInMidBatch(t *testing.T) {
	server := services.NewPostgres(t, "fsync=off")
	uri := server.URI("postgres")
	ask(t, uri, `CREATE TABLE t (id INTEGER NOT NULL); CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.0003); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()`)
	const rows = 4000
	var in strings.Builder
	for n := range rows {
		fmt.Fprintf(&in, "{\"id\":%d}\n", n)
	}
	src := filepath.Join(t.TempDir(), "in.jsonl")
	put(t, src, in.String())
	crash := func() {
		for ask(t, uri, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%COPY%' AND state = 'active' AND pid <> pg_backend_pid()") == "0" {
			if t.Context().Err() != nil {
				return
			}
		}
		server.Kill(t)
		server.Start(t)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		crash()
		crash()
	}()
	o := runWith(t, flowOf(`
from: { file: { path: "${params.src}" } }
to: { sql: { connection: db, table: t } }
onError: { retry: { attempts: 200, backoff: { initial: 20ms, max: 200ms } } }
`)+"---\napiVersion: penstock.dev/v1alpha1\nkind: Connection\nmetadata: { name: db }\nspec: { sql: { driver: postgres, url: \""+strings.TrimSuffix(uri, "?sslmode=disable")+"\" } }\n",
		options{src: src, more: func(*control.RunOptions) {}})
	<-done
	if o.err != nil || o.flow().Dead != 0 || o.flow().Done != rows {
		t.Fatalf("%v: %+v %+v", o.err, o.flow(), o.dead)
	}
	if got := ask(t, uri, "SELECT count(*) || ' ' || count(DISTINCT id) FROM t"); got != "4000 4000" {
		t.Errorf("the table has %s rows and different ones, want %d of each", got, rows)
	}
}
