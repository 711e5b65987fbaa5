package sql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
)

// states are what SQLSTATE codes mean (PostgreSQL's manual, appendix A): a whole code goes before the two characters of its class.
var states = map[string]penstock.Code{
	"08": penstock.Unavailable, // connection
	"21": penstock.Unprocessable,
	"22": penstock.Unprocessable, // data
	"23": penstock.Unprocessable, // constraints
	"25": penstock.Unavailable,   // state of the transaction: read-only after a failover, timed out while idle
	"27": penstock.Unprocessable,
	"28": penstock.Unauthenticated,
	"40": penstock.Unavailable, // serialization, deadlock
	"42": penstock.Config,
	"44": penstock.Unprocessable, // WITH CHECK OPTION
	"53": penstock.Unavailable,   // resources
	"54": penstock.TooLarge,
	"55": penstock.Unavailable, // locks
	"57": penstock.Unavailable, // the operator's intervention
	"58": penstock.Unavailable, // errors of the server's system
	"0A": penstock.Config,      // not supported
	"3D": penstock.Config,      // no such database
	"3F": penstock.Config,      // no such schema
	"P0": penstock.Unprocessable,

	"23505": penstock.Conflict, // unique
	"23P01": penstock.Conflict, // exclusion
	"42501": penstock.Forbidden,
	"57014": penstock.Timeout, // the statement's timeout
	"54000": penstock.TooLarge,
}

// codeOf maps an SQLSTATE.
func codeOf(state string) penstock.Code {
	if c, ok := states[state]; ok {
		return c
	}
	if len(state) == 5 {
		if c, ok := states[state[:2]]; ok {
			return c
		}
	}
	return penstock.Internal
}

var hints = map[string]string{
	"25006": "this server only reads: it is a standby, or the primary has moved",
	"28P01": "check user and password",
	"28000": "check user, password, and pg_hba.conf of the server",
	"3D000": "check `database`, or make it: CREATE DATABASE",
	"42501": "grant the user what it needs",
	"42P01": "check the table's name and the search_path; the tables of others are theirs to make",
	"42703": "check the column's name",
	"42601": "check the statement",
	"42P18": "say what type the value has where nothing else does: ${…}::text",
	"53300": "the server has no connection left: lower `pool: { max }`, or raise max_connections",
	"53100": "the server's disk is full",
	"57014": "raise `statementTimeout`, or look at the query's plan",
}

// failure makes an Error of what pgx says. connecting says that nothing was asked yet.
func (p *postgres) failure(ctx context.Context, err error, connecting bool) error {
	if err == nil {
		return nil
	}
	var known *penstock.Error
	if errors.As(err, &known) || errors.Is(err, errMoreRows) || errors.Is(err, errLarge) {
		return err
	}
	if ctx.Err() != nil {
		return &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Op: "sql", Path: p.at, Err: context.Cause(ctx), Unsent: connecting}
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "sql", Path: p.at, Err: err, Unsent: connecting || pgconn.SafeToRetry(err)}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		out.Code, out.Hint, out.Err = codeOf(e.Code), hints[e.Code], errors.New(describe(e))
		// A statement outside of a transaction leaves nothing behind when it fails. Where the connection ends with it, that is not so sure: it
		// may have been about to answer.
		out.Unsent = out.Unsent || answered(err)
		return out
	}
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		out.Hint = "the server's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
	case connecting:
		out.Hint = "see that the server runs and can be reached"
	}
	return out
}

// describe writes what the server says on one line. Its detail is left out: that is the row, with everything in it.
func describe(e *pgconn.PgError) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (SQLSTATE %s", e.Message, e.Code)
	for _, part := range []struct{ name, text string }{{"table", e.TableName}, {"column", e.ColumnName}, {"constraint", e.ConstraintName}} {
		if part.text != "" {
			fmt.Fprintf(&b, ", %s %s", part.name, part.text)
		}
	}
	b.WriteByte(')')
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}
