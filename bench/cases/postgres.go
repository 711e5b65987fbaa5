package cases

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const copySide = "raw COPY"

func startPostgres(ctx context.Context, e *httpRun) (end func() error, err error) {
	return started(e, &e.postgres, func(under string) (*harness.Postgres, error) {
		return harness.StartPostgres(ctx, under)
	})
}

// orderLines is the table of the case.
const orderLines = `CREATE TABLE order_lines ("InvoiceNo" text, "StockCode" text, "Description" text, "Quantity" integer, "InvoiceDate" timestamptz,
"UnitPrice" numeric, "CustomerID" integer, "Country" text)`

// csvPostgres is a file of CSV that goes into a table, as it is; beside it COPY, of a file that holds the same rows and that PostgreSQL can read. Each has an
// empty table, and is counted there.
func csvPostgres(e *httpRun) ([]httpSide, error) {
	ours, theirs := filepath.Join(e.folder, "lines.csv"), filepath.Join(e.folder, "copy.csv")
	f, err := writeInput(ours, benchdata.OrdersCSV, e.Seed, e.Messages)
	if err != nil {
		return nil, err
	}
	want, err := copyInput(theirs, ours)
	if err != nil {
		return nil, err
	}
	if want.Rows != int64(f.Lines) {
		return nil, fmt.Errorf("%s holds %d rows, not %d", theirs, want.Rows, f.Lines)
	}
	side := func(name string, argv ...string) httpSide {
		return httpSide{name: name, run: func(ctx context.Context) (load.Result, error) { return e.filled(ctx, want, argv) }}
	}
	return []httpSide{
		side("penstock", e.Penstock, "run", filepath.Join(e.Flows, e.name), "--param", "source="+ours, "--param", "database="+e.postgres.URI(), "-o", "json"),
		side(copySide, e.Copy, "-uri", e.postgres.URI(), "-table", "order_lines", "-file", theirs),
	}, nil
}

// filled runs what fills the table, and looks into it.
func (e *httpRun) filled(ctx context.Context, want benchdata.Totals, argv []string) (out load.Result, err error) {
	// What one run leaves to be done (a checkpoint, a vacuum) is not for the next.
	if err := e.postgres.Exec(ctx, "DROP TABLE IF EXISTS order_lines", orderLines, "CHECKPOINT"); err != nil {
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
	got, err := e.postgres.Text(ctx, `SELECT concat_ws(',', count(*), sum("Quantity"), count("CustomerID"), count(*) - count("Description"),
		to_char(min("InvoiceDate") AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), to_char(max("InvoiceDate") AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')) FROM order_lines`)
	if err != nil {
		return out, err
	}
	if right := fmt.Sprintf("%d,%d,%d,%d,%s,%s", want.Rows, want.Quantity, want.Customers, want.DescriptionsMissing, want.First, want.Last); got != right {
		return out, fmt.Errorf("the table holds %s, not %s", got, right)
	}
	out.Add("rate", "rows/s", float64(want.Rows)/m.Wall.Seconds())
	out.Add("CPU", "µs a row", m.CPU.Seconds()*1e6/float64(want.Rows))
	out.Add("CPU of the server", "µs a row", (server-before).Seconds()*1e6/float64(want.Rows))
	out.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
	return out, nil
}

// copyInput writes a file for COPY.
func copyInput(path, from string) (t benchdata.Totals, err error) {
	in, err := os.Open(from)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	_, err = writeInput(path, func(w io.Writer, _ uint64, _ int) (benchdata.Figures, error) {
		t, err = benchdata.CopyCSV(w, bufio.NewReaderSize(in, 256<<10))
		return benchdata.Figures{}, err
	}, 0, 0)
	return t, err
}
