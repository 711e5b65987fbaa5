package resource

import "penstock.dev/penstock"

// View is a read model: rows that are kept from the events of an entity, or of a channel, one for each key, so that a flow can look them up (`query`). What
// is in the rows is always what the events, in their order, make of them: the rows and how far the events have been read are changed in one
// transaction.
//
// Another definition of the view makes other rows: they are built anew, beside those that are there, which go on being read until the new ones
// have caught up.
type View struct {
	Place
	// Where the events come from.
	From ViewSource `json:"from" penstock:"required"`
	// What kind of event a message is: a name of `events`. Left out, the type of an entity's event; of a message in a channel that of the CloudEvent, meta["ce-type"]: one without it is none of the view's.
	By penstock.Expr `json:"by"`
	// Which row an event is about. Text, a number, a bool or a timestamp. Left out, the key of the event: that of the entity, or of the message.
	Key penstock.Expr `json:"key"`
	// Name of the Schema of the rows: an object. Each row is held to it whenever it is changed.
	Schema Ref `json:"schema" penstock:"required"`
	// What each kind of event does to its row. Events of other kinds are passed over, unless `strict`.
	Events Ordered[ViewEvent] `json:"events" penstock:"required,nonempty"`
	// Where the rows are. Left out, in the store.
	In ViewPlace `json:"in"`
	// Whether the rows change in the transaction of the command whose events change them, so that whoever asks after the command sees them. A command whose events can't be folded into the rows is refused. Only for the
	// events of an entity, and rows in the store; in a store on PostgreSQL also without `key`.
	Inline bool `json:"inline" penstock:"default=false"`
	// Queries that find many rows, by name.
	Queries Ordered[ViewQuery] `json:"queries" penstock:"name"`
	// Whether an event of a kind that `events` does not name stops the view.
	Strict bool `json:"strict" penstock:"default=false"`
}

// ViewSource is where the events of a [View] come from.
type ViewSource struct {
	Place
	// Name of the Channel: a topic in the store. What it no longer holds when the rows are first built, or built anew, is not in them. Exactly one of channel and entity must be there.
	Channel Ref `json:"channel"`
	// Name of the Entity, whose events are read.
	Entity Ref `json:"entity"`
}

func (v *ViewSource) check(d *Decoder) {
	d.exactlyOne(&v.Place, "a view's source", "channel", "entity")
}

// ViewPlace is where the rows of a [View] are, if not in the store.
type ViewPlace struct {
	Place
	// A table of a database, which others may read: BI tools, other services.
	SQL ViewTable `json:"sql"`
}

// ViewTable is a table of a database that holds the rows of a [View].
type ViewTable struct {
	Place
	// Name of a Connection of sql.
	Connection penstock.ConnectionRef `json:"connection"`
	// Name by which others read the rows, such as balances or reporting.balances: an SQL view that Penstock makes. It has the columns row_key, one for each field of the schema, and row_json, which is the row as it is. The rows themselves are in tables
	// beside it (balances@1), and how far they have come in the table penstock_view.
	Table string `json:"table"`
}

func (p *ViewPlace) check(d *Decoder) {
	if p.Node == nil {
		return
	}
	if !p.Has("sql") {
		d.errorf(p.Pos, "missing-field", "sql", "write `in: { sql: { connection: …, table: … } }`, or leave `in` out", "`in` needs `sql`")
		return
	}
	for _, name := range []string{"connection", "table"} {
		if !p.SQL.Has(name) || name == "table" && p.SQL.Table == "" {
			d.errorf(p.SQL.Pos, "missing-field", name, "add `"+name+": …`", "`sql` needs `%s`", name)
		}
	}
}

// ViewEvent is what one kind of event does to its row: exactly one of upsert and delete. Beside the event (`body`, `meta`, `key`) it may speak
// of `row`, which is empty before the first upsert of the key, and `version`, the place of the event in its stream.
type ViewEvent struct {
	Place
	// Condition; left out, always. An event for which it does not hold leaves the row as it is.
	When penstock.Expr `json:"when"`
	// Fields of the row, a data tree: those that it names are set, null removes one, the others stay.
	Upsert penstock.Tree `json:"upsert"`
	// Deletes the row.
	Delete bool `json:"delete"`
}

// ViewQuery finds rows of a [View], in the order of their keys, a page at a time.
type ViewQuery struct {
	Place
	// Arguments, by name, with their types: string, int, double, decimal, bool, duration or timestamp. All must be given.
	Args Ordered[string] `json:"args" penstock:"name"`
	// Which rows are meant: a condition over `row`, `key` and `args`. Left out, all.
	Where penstock.Expr `json:"where"`
	// How many rows a page has at most.
	Limit int `json:"limit" penstock:"default=100,min=1,max=10000"`
}

func (e *ViewEvent) check(d *Decoder) {
	if e.Has("delete") && !e.Delete {
		d.errorf(e.At("delete"), "wrong-value", "false", "write `delete: true`, or `upsert`", "`delete: false` says nothing")
		return
	}
	d.exactlyOne(&e.Place, "what an event does", "upsert", "delete")
	if e.Upsert.Kind != penstock.TreeNone && e.Upsert.Kind != penstock.TreeMap {
		d.errorf(e.At("upsert"), "wrong-type", "upsert", "write `upsert: { field: \"${…}\" }`", "a row is a map of fields")
	}
}
