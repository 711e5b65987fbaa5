// Package sql speaks to PostgreSQL, MySQL, MariaDB and SQLite: it asks questions and runs statements (call), writes rows to tables (to), and reads
// what is new in a table (from).
//
// Everything that varies by message is bound, never written into a statement: a template of the place sql arrives as the text
// of the statement, which is always the same, and the values.
package sql

import (
	"errors"
	"strings"

	"penstock.dev/penstock"
)

// Register adds the drivers and the Connection's configuration.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "sql",
		Summary: "A server of PostgreSQL, MySQL or MariaDB, or a file of SQLite.",
	})
	penstock.RegisterCaller(r, penstock.Spec{
		Name:    "sql",
		Summary: "Asks a question of a database, or runs a statement. Values are bound as parameters.",
	}, newCaller)
	penstock.RegisterSource(r, penstock.Spec{
		Name:    "sql",
		Summary: "Reads the rows of a table, or of a query, in the order of a watermark, and goes on with what is new.",
		Settle:  penstock.Cumulative,
		Finite:  true,
		Replay:  penstock.ReplayAgain,
	}, newSource)
	penstock.RegisterSink(r, penstock.Spec{
		Name:    "sql",
		Summary: "Writes rows to a table, many in one transaction: inserts them, or changes those whose key is there.",
		// An insert whose connection broke while it was committed asks the server whether it was.
		Idempotent: true,
		Batch:      8192,
	}, newSink)
	penstock.RegisterSource(r, cdcSpec, newCDC)
	penstock.RegisterRows(r, penstock.Spec{
		Name:    "sql",
		Summary: "Keeps the rows of a view in a table, and how far they are in the same transaction.",
	}, newViewRows)
}

// fixed evaluates a text that is the same for all messages. Nothing gives "".
func fixed(t penstock.Template, env penstock.Env) (string, error) { return t.Fixed("sql", env) }

// config is an error of the configuration.
func config(at, msg, hint string) *penstock.Error {
	return &penstock.Error{Code: penstock.Config, Op: "sql", Path: at, Err: errors.New(msg), Hint: hint}
}

// quote makes a name of SQL of any text. A text with a NUL is no name; databases refuse it.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
