package resource

import "penstock.dev/penstock"

// Query asks a view for rows, one by its key or many by a query of the view, or an entity for its state, as it is or as it was.
//
// A row is the reply itself, absent where there is none. A query of a view gives {rows, next}. An entity gives {version, state}: one that is new has version 0
// and the initial state.
type Query struct {
	Place
	// Name of the View. Exactly one of view and entity must be there.
	View Ref `json:"view"`
	// Name of the Entity.
	Entity Ref `json:"entity"`
	// Which row, or which entity, an expression. Text, a number, a bool or a timestamp.
	Key penstock.Expr `json:"key"`
	// Name of one of the view's queries, in place of key.
	Name string `json:"name" penstock:"name"`
	// Arguments of the view's query, a data tree: those that it declares, of their types.
	Args penstock.Tree `json:"args"`
	// Where the page begins: `next` of the page before. Left out, or empty, at the beginning.
	After penstock.Template `json:"after"`
	// How long the step waits at most until the rows of a view hold all that was in its source when the step began. Left out, it does not wait: the rows are as new as the view is.
	Wait penstock.Duration `json:"wait" penstock:"min=1ms"`
	// As of when: a timestamp (what had happened by then), or a whole number: the version of an entity, or, of a view, how many events of its source from the first on. Left out, now. The rows of a view as of then are made anew of the events that are kept, in memory: up to 64 MiB of rows, and 10 million events about them.
	AsOf penstock.Template `json:"asOf"`
}

func (*Query) verb() string { return "query" }

func (q *Query) check(d *Decoder) {
	if q.Node == nil || q.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&q.Place, "a query", "view", "entity")
	none := func(beside string, fields ...string) {
		for _, f := range fields {
			if q.Has(f) {
				d.errorf(q.AtKey(f), "wrong-field", f, "leave it out", "`%s` means nothing beside %s", f, beside)
			}
		}
	}
	switch {
	case q.Has("entity"):
		if !q.Has("key") {
			d.errorf(q.Pos, "missing-field", "key", "add `key: …`", "the query needs the field `key`")
		}
		none("`entity`", "name", "args", "after", "wait")
	case q.Has("view"):
		d.exactlyOne(&q.Place, "a query of a view", "key", "name")
		if q.Has("asOf") && q.Has("wait") {
			d.errorf(q.AtKey("wait"), "wrong-field", "wait", "leave one of them out", "rows as of then are made of the events themselves, so there is nothing to wait for")
		}
		if q.Has("key") {
			none("`key`, which finds one row", "args", "after")
		}
	}
}
