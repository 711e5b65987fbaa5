package postgres

import (
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock/internal/store"
)

// TestAway says which errors of reading are those of a server that is away, and which would come again.
func TestAway(t *testing.T) {
	d := &DB{}
	for _, c := range []struct {
		err  error
		away bool
	}{
		{io.ErrUnexpectedEOF, true},
		{&pgconn.PgError{Code: "57P01"}, true},  // it stops
		{&pgconn.PgError{Code: "57P03"}, true},  // it starts
		{&pgconn.PgError{Code: "08006"}, true},  // the connection failed
		{&pgconn.PgError{Code: "57014"}, false}, // it took too long
		{&pgconn.PgError{Code: "42501"}, false}, // it is not allowed
		{&pgconn.PgError{Code: "42P01"}, false}, // there is no such table
	} {
		if got := errors.Is(d.readError(c.err), store.ErrAway); got != c.away {
			t.Errorf("%v: away is %v", c.err, got)
		}
		if !errors.Is(d.readError(c.err), c.err) {
			t.Errorf("%v is not in what is said", c.err)
		}
	}
}
