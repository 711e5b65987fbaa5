package cases

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const (
	cdcRows   = 1_000_000 // at most
	cdcCommit = 1000      // rows in a transaction
)

// startLogicalPostgres starts the server of the case, whose log says what changes.
func startLogicalPostgres(ctx context.Context, e *httpRun) (end func() error, err error) {
	return started(e, &e.postgres, func(under string) (*harness.Postgres, error) {
		return harness.StartPostgres(ctx, under, "wal_level=logical", "max_wal_size=4GB")
	})
}

// cdc reads rows that were inserted before the program starts, and are in the server's log since a slot keeps it there; they are counted in the file.
func cdc(e *httpRun) ([]httpSide, error) {
	out := filepath.Join(e.folder, "changes.jsonl")
	argv := []string{e.Penstock, "run", "--once", filepath.Join(e.Flows, "cdc"), "--param", "database=" + e.postgres.URI(), "--param", "out=" + out}
	return []httpSide{{name: "penstock", run: func(ctx context.Context) (load.Result, error) { return e.changed(ctx, out, argv) }}}, nil
}

// changed inserts rows, and runs what reads them.
func (e *httpRun) changed(ctx context.Context, to string, argv []string) (out load.Result, err error) {
	rows := min(e.Messages, cdcRows) / cdcCommit * cdcCommit
	if err := errors.Join(os.RemoveAll(to), os.RemoveAll(filepath.Join(e.folder, ".penstock"))); err != nil {
		return out, err
	}
	err = e.postgres.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", "DROP PUBLICATION IF EXISTS bench", "DROP TABLE IF EXISTS order_lines",
		"CREATE TABLE order_lines (id bigint PRIMARY KEY, customer text, total numeric(12,2), placed timestamptz, note text)", "CREATE PUBLICATION bench FOR TABLE order_lines",
		"SELECT pg_create_logical_replication_slot('bench', 'pgoutput')",
		fmt.Sprintf(`DO $do$ BEGIN FOR k IN 0..%d LOOP
			INSERT INTO order_lines SELECT i, 'customer ' || i, i * 1.25, now(), repeat('x', 100) FROM generate_series(k * %[2]d, k * %[2]d + %[2]d - 1) i; COMMIT;
		END LOOP; END $do$`, rows/cdcCommit-1, cdcCommit), "CHECKPOINT")
	if err != nil {
		return out, err
	}
	before, err := e.postgres.CPU(ctx)
	if err != nil {
		return out, err
	}
	m, err := harness.RunIn(ctx, e.folder, argv...)
	if err != nil {
		return out, err
	}
	server, err := e.postgres.CPU(ctx)
	if err != nil {
		return out, err
	}
	if n, err := linesOf(to); err != nil || n != rows {
		return out, fmt.Errorf("the file has %d lines, not %d: %w", n, rows, err)
	}
	out.Add("rate", "rows/s", float64(rows)/m.Wall.Seconds())
	out.Add("CPU", "µs a row", m.CPU.Seconds()*1e6/float64(rows))
	out.Add("CPU of the server", "µs a row", (server-before).Seconds()*1e6/float64(rows))
	out.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
	return out, nil
}

// linesOf counts the lines of a file.
func linesOf(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		if !bytes.HasPrefix(s.Bytes(), []byte(`{"operation":"create","before":null,"after":{"id":`)) {
			return n, fmt.Errorf("line %d is %.80q", n+1, s.Bytes())
		}
		n++
	}
	return n, s.Err()
}
