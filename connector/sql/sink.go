package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The database to write to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The table, as the database writes its name: orders, or sales.orders. It must be there with all its columns when the flow starts: tables are
	// made and changed by those whose they are. What is missing is an error at the start, with the statement that mends it.
	Table string `json:"table" penstock:"required,nonempty"`
	// What goes into each column, a data tree: `columns: { id: "${body.id}", raw: "${body}" }`. Default: each field of the body goes into the column of its
	// name, and a field without a column is an error. A column for which there is no value gets its default, NULL where it has none. A list goes into an
	// array or as JSON, an object as JSON, base64 as bytes.
	Columns penstock.DataTree `json:"columns"`
	// The columns that tell which row it is. There must be a unique index, or the primary key, on just these.
	Key []string `json:"key"`
	// What happens to a row whose key is there already: upsert changes it to what the message says, ignore leaves it as it is. insert
	// knows no key: a row that a unique index refuses fails as a conflict. Default: upsert with key, insert without.
	//
	// What is sent a second time after a crash is there twice with insert, and has no second effect with upsert and ignore.
	Mode string `json:"mode" penstock:"enum=insert|upsert|ignore"`
	// Remembers which messages were written, in a table of the same database and in the transaction of their rows: what is sent a second time after a
	// crash is known, and has no second effect, with insert either. `inbox: {}` is enough. Messages are known by the positions of their source, or by its `id`.
	Inbox *Inbox `json:"inbox"`
}

// The modes.
const (
	modeInsert = "insert"
	modeUpsert = "upsert"
	modeIgnore = "ignore"
)

func (c *SinkConfig) mode() string {
	switch {
	case c.Mode != "":
		return c.Mode
	case len(c.Key) > 0:
		return modeUpsert
	}
	return modeInsert
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	if _, err := tableName(c.Table); err != nil {
		errs = append(errs, err)
	}
	if c.Mode == modeInsert && len(c.Key) > 0 {
		errs = append(errs, errors.New("mode insert knows no key: leave `key` out, or say upsert or ignore"))
	}
	if c.mode() != modeInsert && len(c.Key) == 0 {
		errs = append(errs, fmt.Errorf("mode %s needs `key`: the columns that tell which row it is", c.Mode))
	}
	for i, k := range c.Key {
		if slices.Contains(c.Key[:i], k) {
			errs = append(errs, fmt.Errorf("key names the column %s twice", k))
		}
	}
	if c.Inbox != nil {
		if _, err := tableName(c.Inbox.Table); err != nil {
			errs = append(errs, fmt.Errorf("inbox: %w", err))
		}
	}
	if c.Columns.IsZero() {
		return errs
	}
	if c.Columns.Tree.Kind != penstock.TreeMap {
		return append(errs, errors.New("`columns` is a map of columns to values"))
	}
	if len(c.Columns.Tree.Keys) == 0 {
		errs = append(errs, errors.New("`columns` has no column"))
	}
	for _, k := range c.Key {
		if !slices.Contains(c.Columns.Tree.Keys, k) {
			errs = append(errs, fmt.Errorf("the key column %s is not among `columns`", k))
		}
	}
	return errs
}

// SpecFor implements penstock.Specific: what has a key takes its own place again.
func (c *SinkConfig) SpecFor(s penstock.Spec) penstock.Spec {
	switch {
	case c.mode() != modeInsert:
		s.Rewrite = penstock.RewriteSame
	case c.Inbox != nil:
		s.Rewrite, s.Known = penstock.RewriteKnown, penstock.Known{By: "its row in " + c.Inbox.Table, Within: c.Inbox.Retain.Std()}
	default:
		s.Remedy = "say `inbox: {}`, or which `key` a row is told by"
	}
	return s
}

// tableName cuts a name into its parts, and gives it quoted.
func tableName(name string) ([]string, error) {
	var out []string
	for rest := name; ; {
		part, quoted := "", false
		if strings.HasPrefix(rest, `"`) {
			quoted = true
			i := 1
			for ; i < len(rest); i++ {
				if rest[i] == '"' {
					if i+1 == len(rest) || rest[i+1] != '"' {
						break
					}
					i++
				}
				part += string(rest[i])
			}
			if i >= len(rest) {
				return nil, fmt.Errorf("the table %s: a quote is not closed", name)
			}
			rest = rest[i+1:]
		} else {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				i = len(rest)
			}
			part, rest = rest[:i], rest[i:]
		}
		if part == "" || strings.ContainsRune(part, 0) || !quoted && strings.ContainsAny(part, "\"' ;") {
			return nil, fmt.Errorf("%q is no name of a table; names of unusual characters are quoted: '\"my table\"'", name)
		}
		out = append(out, part)
		if rest == "" {
			break
		}
		if rest[0] != '.' {
			return nil, fmt.Errorf("%q is no name of a table", name)
		}
		rest = rest[1:]
	}
	if len(out) > 2 {
		return nil, fmt.Errorf("%q has more parts than schema and table", name)
	}
	return out, nil
}

// quoteAll quotes the parts of a name.
func quoteAll(parts []string, by string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = quote(p)
	}
	return strings.Join(out, by)
}

// target is a column that values go into.
type target struct {
	*column
	want *types.Type    // of the field
	hint *jsonview.Hint // where the field was in the document before
	key  bool
	bit  uint64 // of its own where it has a default: a row without a value leaves it out
}

// row is a message on its way into the table.
type row struct {
	at       int    // in Batch.Msgs
	from, to int    // its text
	without  uint64 // columns that it leaves out, and its loader's mark
}

// sink writes rows to a table.
type sink struct {
	config SinkConfig
	env    penstock.Env
	mode   string
	db     database
	table  *table
	into   []target
	exact  bool // every field that a message can have has a column
	loader loader
	inbox  *inbox // nil: it remembers nothing

	rows []row
	text []byte
	doc  jsonview.Doc
	tree []byte
}

// loader writes rows to one database. It is used by one goroutine at a time.
type loader interface {
	// begin begins a Write.
	begin()
	// add appends what it needs of one row to dst: the value nodes of d for the columns of into, None where there is none. Rows that can't be loaded
	// together have different marks, of bits that no column has.
	add(dst []byte, d *jsonview.Doc, into []target, values []jsonview.Node) (_ []byte, mark uint64, err error)
	// load writes rows, all of which leave out the same columns and have the same mark, in one transaction. *rowError names the first that is refused, where the database
	// says which.
	load(ctx context.Context, rows *feed) error
}

// feed is rows that are alike, made as they are asked for: so the database works on the first of them while the others are made.
type feed struct {
	rows []row
	next func() (row, bool) // nil: there are no more
}

// at is the i-th row.
func (f *feed) at(i int) (row, bool) {
	for i >= len(f.rows) {
		if f.next == nil {
			return row{}, false
		}
		r, ok := f.next()
		if !ok {
			f.next = nil
			return row{}, false
		}
		f.rows = append(f.rows, r)
	}
	return f.rows[i], true
}

// all gives every row.
func (f *feed) all() []row {
	f.at(1<<31 - 1)
	return f.rows
}

// rowError is an error of one row of those that were loaded.
type rowError struct {
	row int // index of rows; -1: nobody knows which
	err error
}

func (e *rowError) Error() string { return e.err.Error() }
func (e *rowError) Unwrap() error { return e.err }

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	return &sink{config: c, env: env, mode: c.mode()}, nil
}

// Open implements penstock.Sink: it looks at the table.
func (s *sink) Open(ctx context.Context) (err error) {
	if s.db, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	name, err := tableName(s.config.Table)
	if err != nil {
		return config(s.env.Name, err.Error(), "")
	}
	if s.table, err = s.db.table(ctx, name); err != nil {
		return err
	}
	if len(s.table.columns) == 0 {
		return s.missing(name)
	}
	s.into = nil
	if err := s.match(); err != nil {
		return err
	}
	s.loader = s.db.loader(s)
	return s.openInbox(ctx)
}

// Close implements penstock.Sink. The database is closed at the end of the run.
func (s *sink) Close(context.Context) error {
	s.loader = nil
	return nil
}

// Write implements penstock.Sink.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if s.loader == nil {
		return penstock.E(penstock.Internal, "sql", s.env.Name, "the sink is not open")
	}
	s.loader.begin()
	w := &writing{s: s, b: b, values: make([]jsonview.Node, len(s.into))}
	s.text = s.text[:0]
	var err error
	for {
		first, ok := w.row()
		if !ok {
			break
		}
		rows := &feed{rows: append(s.rows[:0], first), next: func() (row, bool) { return w.like(first) }}
		if err == nil {
			err = s.load(ctx, rows, w.fail)
		} else { // what comes behind waits for what is in front of it
			failAll(rows.all(), err, w.fail)
		}
		s.rows = rows.rows
	}
	if w.failed == nil {
		s.tidy(ctx)
		return nil
	}
	return &penstock.BatchError{Errs: w.failed}
}

// writing makes the rows of a batch, one after the other.
type writing struct {
	s      *sink
	b      *penstock.Batch
	values []jsonview.Node
	at     int // the next message
	held   *row
	failed map[int]error
}

func (w *writing) fail(at int, err error) {
	if w.failed == nil {
		w.failed = map[int]error{}
	}
	w.failed[at] = err
}

// row gives the next row. Messages that none can be made of have failed.
func (w *writing) row() (row, bool) {
	if w.held != nil {
		r := *w.held
		w.held = nil
		return r, true
	}
	s := w.s
	for w.at < len(w.b.Msgs) {
		r := row{at: w.at, from: len(s.text)}
		var err error
		s.inbox.of(&s.env, w.b.Msgs[w.at])
		s.text, r.without, err = s.add(s.text, w.b, w.b.Msgs[w.at], w.values)
		w.at++
		if err != nil {
			s.text = s.text[:r.from]
			w.fail(r.at, err)
			continue
		}
		r.to = len(s.text)
		return r, true
	}
	return row{}, false
}

// like gives the next row if it can be loaded together with another.
func (w *writing) like(first row) (row, bool) {
	r, ok := w.row()
	if ok && r.without != first.without {
		w.held = &r
		return row{}, false
	}
	return r, ok
}

func failAll(rows []row, err error, fail func(int, error)) {
	for _, r := range rows {
		fail(r.at, err)
	}
}

// add appends one message.
func (s *sink) add(dst []byte, b *penstock.Batch, m *penstock.Message, values []jsonview.Node) ([]byte, uint64, error) {
	d := m.Body
	if s.config.Columns.Mapping != nil {
		var err error
		if s.tree, err = s.config.Columns.Mapping.Append(s.tree[:0], b.Frame(m)); err != nil {
			return dst, 0, err
		}
		d = &s.doc
		d.Reset(jsonview.JSON, s.tree)
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, 0, &penstock.Error{Code: penstock.Invalid, Op: "sql", Path: "body", Err: err}
	}
	if d.Kind(0) != jsonview.Object {
		return dst, 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: "body", Err: fmt.Errorf("a row is made of an object, and this is %s", article(d.Kind(0))), Hint: "say what goes into the `columns`"}
	}
	found, without := 0, uint64(0)
	for i := range s.into {
		t := &s.into[i]
		n := d.Field(0, t.name, t.hint)
		values[i] = n
		switch {
		case n != jsonview.None:
			found++
			if t.key && d.Kind(n) == jsonview.Null {
				return dst, 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: t.name, Err: errors.New("the key is null")}
			}
		case t.key:
			return dst, 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: t.name, Err: errors.New("the key is missing")}
		default:
			without |= t.bit
		}
	}
	if found == 0 {
		return dst, 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: "body", Err: errors.New("there is no value for any column")}
	}
	if !s.exact && found < d.Len(0) {
		if err := s.surplus(d); err != nil {
			return dst, 0, err
		}
	}
	dst, mark, err := s.loader.add(dst, d, s.into, values)
	return dst, without | mark, err
}

// surplus names a field that has no column.
func (s *sink) surplus(d *jsonview.Doc) error {
	for k := d.First(0); k != jsonview.None; k = d.Next(d.Value(k)) {
		name := string(d.Key(k, nil))
		if !slices.ContainsFunc(s.into, func(t target) bool { return t.name == name }) {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: name, Err: fmt.Errorf("the table %s has no column for it", s.config.Table),
				Hint: "say what goes into the `columns`, or leave it out by a `map` before"}
		}
	}
	return nil
}

func article(k jsonview.Kind) string {
	switch k {
	case jsonview.Array:
		return "an array"
	case jsonview.Null:
		return "null"
	}
	return "a " + k.String()
}

// known is how many rows of one load may be told apart by what the database says before they are looked for by halves.
const known = 4

// load writes rows that are alike. Those that are not written are told to fail: what the database refuses, with its reason, and then is gone on;
// and all that are left when something else goes wrong, which is the error.
func (s *sink) load(ctx context.Context, f *feed, fail func(int, error)) error {
	for tries := 0; ; tries++ {
		err := s.loader.load(ctx, f)
		if err == nil {
			return nil
		}
		rows := f.all()
		var one *rowError
		switch {
		case !errors.As(err, &one):
			failAll(rows, err, fail)
			return err
		case len(rows) == 1:
			fail(rows[0].at, one.err)
			return nil
		case one.row >= 0 && tries < known:
			fail(rows[one.row].at, one.err)
			f = &feed{rows: slices.Concat(rows[:one.row], rows[one.row+1:])}
			continue
		}
		half := len(rows) / 2
		if err := s.load(ctx, &feed{rows: rows[:half:half]}, fail); err != nil {
			failAll(rows[half:], err, fail)
			return err
		}
		return s.load(ctx, &feed{rows: rows[half:]}, fail)
	}
}

// leftOut gives the columns of a row that has no value for some.
func (s *sink) leftOut(without uint64) []target {
	if without == 0 {
		return s.into
	}
	out := make([]target, 0, len(s.into))
	for _, t := range s.into {
		if t.bit&without == 0 {
			out = append(out, t)
		}
	}
	return out
}
