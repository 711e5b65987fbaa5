package sql

import (
	"context"
	"errors"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// CallConfig is the configuration of the caller. One of query and exec is set.
type CallConfig struct {
	// The database to ask.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// A question: SELECT … WHERE id = ${body.id}. Each ${…} is bound as a value, never written into the statement, and is what its
	// parameter is: a text, a number, a decimal with all its digits, a time, JSON, a list for `= ANY(${body.ids})` (with sqlite: `IN
	// (SELECT value FROM json_each(${body.ids}))`). What is absent or null is NULL, which equals nothing. A value that is bytes is
	// base64, as everywhere.
	//
	// The reply has a field for each column: numbers with all their digits, times as RFC 3339 (without a zone they are taken to be in UTC),
	// JSON as what it is, arrays as lists, bytes as base64, everything else as the database writes it. The `schema` beside the call is that of one row.
	Query penstock.Template `json:"query" penstock:"place=sql"`
	// A statement that changes something: INSERT INTO seen (id) VALUES (${body.id}) ON CONFLICT DO NOTHING. It is a transaction of its own.
	// The reply is {rowsAffected: 1}; with RETURNING, `rows` is the list of what is returned. Values are bound as in query.
	Exec penstock.Template `json:"exec" penstock:"place=sql"`
	// What a query answers: one is the one row that it gives, absent where there is none, an error where there are more; many is the
	// list of its rows.
	Rows string `json:"rows" penstock:"enum=one|many,default=one"`
	// The most rows of a reply with many. A query that gives more fails.
	MaxRows int `json:"maxRows" penstock:"default=10000,min=1,max=1000000"`
	// Say that running the exec a second time has no second effect (an upsert, a DELETE by key), so that it may be tried again after a failure
	// that leaves open whether it was done.
	Idempotent bool `json:"idempotent"`
}

// Validate implements penstock.Resolver.
func (c *CallConfig) Validate() (errs []error) {
	if c.Query.IsZero() == c.Exec.IsZero() {
		return append(errs, errors.New("set `query`, which asks, or `exec`, which changes something"))
	}
	if c.Query.IsZero() {
		if s := shapeOf(c.Exec.Source); s.several {
			errs = append(errs, errSeveral)
		}
		return errs
	}
	s := shapeOf(c.Query.Source)
	switch {
	case s.several:
		errs = append(errs, errSeveral)
	case !s.reads:
		errs = append(errs, errors.New("`query` changes something; say `exec`, whose reply has what RETURNING gives in `rows`"))
	}
	if c.Idempotent {
		errs = append(errs, errors.New("`idempotent` is about `exec`; a `query` may be asked twice anyway"))
	}
	return errs
}

var errSeveral = errors.New("more than one statement: make a step of each")

// SpecFor implements penstock.Specific: a question may be asked twice.
func (c *CallConfig) SpecFor(s penstock.Spec) penstock.Spec {
	s.Idempotent = !c.Query.IsZero() || c.Idempotent
	s.Reads = !c.Query.IsZero()
	return s
}

// ReplyType implements penstock.Rowed.
func (c *CallConfig) ReplyType(row *types.Type) *types.Type {
	switch {
	case c.Query.IsZero():
		return &types.Type{Kind: types.Object, Fields: []types.Field{
			{Name: "rowsAffected", Type: types.IntType, Required: true, Doc: "How many rows were inserted, updated or deleted."},
			{Name: "rows", Type: types.ListOf(row), Doc: "What RETURNING gives."},
		}}
	case c.Rows == "many":
		return types.ListOf(row)
	}
	return types.OptionalOf(row)
}

// caller asks a database.
type caller struct {
	config CallConfig
	env    penstock.Env
	db     database
	at     string
	sql    penstock.Template
	many   bool
	st     *statement
}

var _ penstock.Caller = (*caller)(nil)

func newCaller(c CallConfig, env penstock.Env) (penstock.Caller, error) {
	out := &caller{config: c, env: env, sql: c.Query, many: c.Rows == "many", at: env.Name}
	if c.Query.IsZero() {
		out.sql = c.Exec
	}
	return out, nil
}

// Open implements penstock.Caller: the database sees the statement.
func (c *caller) Open(ctx context.Context) (err error) {
	if c.db, err = connect(c.config.Connection, c.env); err != nil {
		return err
	}
	text, err := textOf(c.sql, c.env)
	if err != nil {
		return err
	}
	st := newStatement(text)
	st.writes = c.config.Query.IsZero()
	st.changes = st.writes && shapeOf(text).changes
	if err := c.db.check(ctx, st); err != nil {
		return err
	}
	c.st = st
	return nil
}

// Close implements penstock.Caller. The database is closed at the end of the run.
func (c *caller) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (c *caller) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if c.st == nil {
		return penstock.E(penstock.Internal, "sql", c.at, "the caller is not open")
	}
	args, err := values(c.sql, f)
	if err != nil {
		return err
	}
	out := &rows{typ: c.env.Type}
	out.reset(f.Arena.Alloc(1024))
	switch {
	case c.config.Query.IsZero(): // it is done when it answers: all there is
	case c.many:
		out.most = max(c.config.MaxRows, 1)
	default:
		out.most = 1
	}
	affected, err := c.db.run(ctx, c.st, args, out)
	if err != nil {
		return c.refused(err)
	}
	if c.config.Query.IsZero() {
		reply := append(f.Arena.Alloc(64 + len(out.text))[:0], `{"rowsAffected":`...)
		reply = strconv.AppendInt(reply, affected, 10)
		if out.names != nil {
			reply = append(out.appendList(append(reply, `,"rows":`...)), '}')
		} else {
			reply = append(reply, '}')
		}
		into.Body.Reset(jsonview.JSON, reply)
		return nil
	}
	switch {
	case c.many:
		into.Body.Reset(jsonview.JSON, out.appendList(f.Arena.Alloc(len(out.text) + len(out.ends) + 2)[:0]))
	case len(out.ends) == 0:
		into.Body.Reset(jsonview.JSON, []byte("null"))
		into.Meta.Set("absent", penstock.True)
	default:
		into.Body.Reset(jsonview.JSON, out.row(0))
	}
	return nil
}

// refused words the errors of replies that are too long.
func (c *caller) refused(err error) error {
	switch {
	case errors.Is(err, errMoreRows) && c.many:
		return &penstock.Error{Code: penstock.TooLarge, Op: "sql", Path: c.at, Err: errors.New("there are more than " + strconv.Itoa(c.config.MaxRows) + " rows"),
			Hint: "ask for less at a time (LIMIT), or raise `maxRows`"}
	case errors.Is(err, errMoreRows) && !c.config.Query.IsZero():
		return &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: c.at, Err: errors.New("there is more than one row"),
			Hint: "ask by a unique key, add LIMIT 1, or say `rows: many`"}
	case errors.Is(err, errLarge):
		return &penstock.Error{Code: penstock.TooLarge, Op: "sql", Path: c.at, Err: err, Hint: "ask for less at a time"}
	}
	return err
}
