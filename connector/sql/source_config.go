package sql

import (
	"errors"
	"fmt"

	"penstock.dev/penstock"
)

// SourceConfig is the configuration of the source. One of table and query is set.
type SourceConfig struct {
	// The database to read from.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The table to read, with all its columns, as the database writes its name: orders, or sales.orders.
	Table string `json:"table"`
	// A query whose rows are read: SELECT id, total, updated_at FROM orders WHERE status = 'paid'. It is asked for the rows behind the last
	// one, so the columns that watermark and key name must be in it, and it must be quick to find them: an index on both. It may depend on params only.
	Query penstock.Template `json:"query" penstock:"place=sql"`
	// The column that says what is new: a number or a time that is larger for a row that was inserted, or changed, later. Rows are read in its order, each
	// time from behind the last one. A row whose watermark is set anew, as that of an update, is read again; a row that is deleted is not heard of; one
	// whose watermark is NULL is never read.
	//
	// A watermark that no two rows share (an identity, a sequence) says by itself where a row is: what was read and done never comes
	// again, also after a crash. It must be a whole number. For any other, name a `key`.
	Watermark string `json:"watermark" penstock:"required,nonempty"`
	// The column that tells rows of one watermark apart, such as the primary key: so none of them is lost where a poll ends between them.
	// After a crash, rows that were done out of turn, behind one that was not, come again; with `id` beside the source they are known. Default: the watermark itself.
	Key string `json:"key"`
	// How long to wait before looking again, when everything was read.
	Every penstock.Duration `json:"every" penstock:"default=5s,min=10ms"`
	// How many rows are asked for at a time.
	Batch int `json:"batch" penstock:"default=1000,min=1,max=100000"`
	// How long rows of a watermark must have been there before they, and all below, are read. Transactions are seen when they commit, not in the order of the
	// watermarks that they took: a row that appears later than this after a row with a higher watermark was seen is below what was read
	// already, and is never read. So this must be longer than the longest transaction that writes to the table.
	Settle penstock.Duration `json:"settle" penstock:"default=2s,min=0s"`
}

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	if (c.Table == "") == c.Query.IsZero() {
		return append(errs, errors.New("set `table`, or `query`"))
	}
	if c.Table != "" {
		if _, err := tableName(c.Table); err != nil {
			errs = append(errs, err)
		}
		return errs
	}
	switch s := shapeOf(c.Query.Source); {
	case s.several:
		errs = append(errs, errSeveral)
	case !s.reads:
		errs = append(errs, errors.New("`query` changes something, and a source only reads"))
	}
	return errs
}

// exact says that the watermark tells rows apart by itself.
func (c *SourceConfig) exact() bool { return c.Key == "" || c.Key == c.Watermark }

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if c.exact() {
		s.Replay = penstock.ReplayPosition
	}
	return s
}

// NeedsState implements penstock.Stateful.
func (c *SourceConfig) NeedsState() string { return "it goes on behind the rows that were read" }

// Overlaps implements penstock.Overlapper.
func (c *SourceConfig) Overlaps(sink any, _ penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || c.Table == "" || c.Table != to.Table || c.Connection.Name != to.Connection.Name {
		return nil
	}
	return &penstock.Error{Code: penstock.Config, Op: "sql", Err: fmt.Errorf("what is written to the table %s is read again", c.Table), Hint: "write to another table, or let a query leave out what was written here"}
}
