package crash_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver that the test looks at the database with

	"penstock.dev/penstock/test/service"
)

// rowsProject copies what is in files into rows of a database that has no key to know them by: each row is there once nevertheless.
const rowsProject = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: rows }
spec: { store: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: db }
spec: { sql: %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: rows }
spec:
  from: { file: { path: %q, watch: { stable: 0s, every: 10ms } } }
  delivery: effectively-once
  order: %s
  key: string(int(body.doc) %% 7)
  steps:
    - split: { each: body.parts, as: part }
    - map: { doc: "${body.doc}", part: "${part}" }
  to: { sql: { connection: db, table: t, inbox: {} } }
`

const (
	rowFiles = 6
	rowDocs  = 3000 // in a file
)

// TestRowsOfAnInboxAreKilled kills the program while it writes rows that only the inbox tells apart, and counts them: none is lost, none is there twice.
func TestRowsOfAnInboxAreKilled(t *testing.T) {
	kills, seed := number(t, "PENSTOCK_CRASHES", 6), number(t, "PENSTOCK_CRASH_SEED", 1)
	program(t)
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "target.db")
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if _, err := db.Exec("CREATE TABLE t (doc INTEGER, part TEXT)"); err != nil {
			t.Fatal(err)
		}
		killRows(t, uint64(seed), kills, fmt.Sprintf("{ driver: sqlite, database: %q }", path), func(query string) (got []string) {
			rows, err := db.Query(query)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var line string
				if err := rows.Scan(&line); err != nil {
					t.Fatal(err)
				}
				got = append(got, line)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return got
		})
	})
	t.Run("postgres", func(t *testing.T) {
		uri := service.Postgres(t)
		db, err := pgx.Connect(context.Background(), uri)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close(context.Background()) })
		if _, err := db.Exec(t.Context(), "CREATE TABLE t (doc integer, part text)"); err != nil {
			t.Fatal(err)
		}
		at, _, _ := strings.Cut(uri, "?")
		killRows(t, uint64(seed)+1, kills, fmt.Sprintf("{ driver: postgres, url: %q }", at), func(query string) []string {
			rows, err := db.Query(context.Background(), query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			return got
		})
	})
}

// killRows runs the project on a database that ask looks into.
func killRows(t *testing.T, seed uint64, kills int, connection string, ask func(query string) []string) {
	dir := t.TempDir()
	v := newVictim(t, dir, seed)
	v.store = filepath.Join(dir, "store.db")
	order := []string{"total", "per-key", "none"}[seed%3]
	project := filepath.Join(dir, "rows.yaml")
	if err := os.WriteFile(project, fmt.Appendf(nil, rowsProject, connection, filepath.Join(v.drop, "*.jsonl"), order), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{} // the ledger: what was put in
	for f := range rowFiles {
		var b strings.Builder
		for i := range rowDocs {
			n := f*rowDocs + i
			fmt.Fprintf(&b, `{"doc":%d,"parts":["a","b","c"]}`+"\n", n)
			for _, part := range []string{"a", "b", "c"} {
				want[fmt.Sprintf("%d %s", n, part)] = true
			}
		}
		v.files[fmt.Sprintf("%02d.jsonl", f)] = []byte(b.String())
	}
	v.usual = 900 * time.Millisecond
	v.command = func(once bool) *exec.Cmd {
		args := []string{"run", project, "--store", v.store}
		if once {
			args = append(args, "--once")
		}
		cmd := exec.Command(program(t), args...)
		cmd.Dir = t.TempDir()
		return cmd
	}
	rows := func() map[string]bool {
		got := map[string]bool{}
		for _, line := range ask("SELECT doc || ' ' || part FROM t") {
			if got[line] {
				t.Errorf("%s is there twice", line)
			}
			if !want[line] {
				t.Errorf("%s was never put in", line)
			}
			got[line] = true
		}
		return got
	}
	done := v.killed(kills, func(reader) { rows() })
	if got := rows(); len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	t.Logf("%d rows, order %s, killed %d times; %v", len(want), order, done, v.hits)
}
