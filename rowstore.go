package penstock

import (
	"context"
	"errors"

	"penstock.dev/penstock/types"
)

// RowStore keeps the rows of a read model outside of the store: in tables of a database, which others may read. There are generations of rows: one is current, which
// is what others see, and others are made beside it. It is safe for concurrent use, also by several processes.
type RowStore interface {
	// Open sees that everything is there and may be done that the other methods need, and makes what is missing. Owner is who keeps the rows: an error says that somebody
	// else keeps rows in the same place. It may be called again after an error.
	Open(ctx context.Context, owner string) error
	// Generation is the rows of a generation, from 1 on; 0 is the current one, whichever that is when it is read, and is for reading only.
	Generation(n int64) RowSet
	// Current is the generation that is current; 0 is none.
	Current(ctx context.Context) (int64, error)
	// Switch makes a generation current, at once for all who read. [ErrRowsMoved] says that a later one is current.
	Switch(ctx context.Context, n int64) error
	// Drop removes a generation with everything of it.
	Drop(ctx context.Context, n int64) error
}

// RowSet is one generation of the rows of a [RowStore], with how far they have come.
type RowSet interface {
	// Load reads the State of the last Write; not ok where there was none.
	Load(ctx context.Context) (state []byte, ok bool, err error)
	// Read reads rows by their keys; the text is nil where there is no such row.
	Read(ctx context.Context, keys []string) (texts [][]byte, err error)
	// Write changes rows and moves the mark in one transaction: all of it, or nothing. [ErrRowsMoved] says that the mark is elsewhere than at from. The Position of the first
	// from is ""; that makes the generation.
	Write(ctx context.Context, from string, to RowMark, changes []KeyedRow) error
	// Scan lists up to limit rows behind a key, in the order of the bytes of their keys; "" is in front of all.
	Scan(ctx context.Context, after string, limit int) ([]KeyedRow, error)
}

// RowMark is how far rows have come.
type RowMark struct {
	Position string // compared, never "" but before the first Write
	State    []byte // what else is known of it
}

// KeyedRow is a row: a JSON object. Without a text, in a Write, it is to be deleted.
type KeyedRow struct {
	Key  string
	Text []byte
}

// ErrRowsMoved says that somebody else has brought the rows of a [RowStore] further.
var ErrRowsMoved = errors.New("somebody else has brought the rows further")

// RowsConfig says where a [RowStore] keeps its rows.
type RowsConfig struct {
	// Connection is the database.
	Connection ConnectionRef
	// Table is the name by which others read the rows, as the database writes it.
	Table string
	// Row is the type of a row: an object.
	Row *types.Type
}

// KindOfRows is the kind of the entries of a [Registry] that keep rows.
const KindOfRows = "rows"

// RegisterRows adds a technology that can keep the rows of read models.
func RegisterRows(r *Registry, s Spec, build func(RowsConfig, Env) (RowStore, error)) {
	register(r, KindOfRows, s, build)
}
