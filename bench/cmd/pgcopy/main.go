// Command pgcopy copies a CSV file with a header into a table of PostgreSQL by one COPY statement. It is what the case csv-postgres is compared with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pgcopy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("pgcopy", flag.ContinueOnError)
	uri := flags.String("uri", "", "connection `URI` of the database")
	table := flags.String("table", "", "`table` with the columns of the file, in their order")
	file := flags.String("file", "", "the `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	in, err := os.Open(*file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	c, err := pgconn.Connect(ctx, *uri)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	_, err = c.CopyFrom(ctx, in, "COPY "+*table+" FROM STDIN (FORMAT csv, HEADER)")
	return err
}
