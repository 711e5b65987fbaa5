package postgres_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/conform"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

func TestMain(m *testing.M) {
	if os.Getenv("PENSTOCK_TEST_CHILD") != "" {
		asChild(os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens a store on a server that does not wait for the disk.
func open(t testing.TB, connection string, change func(*postgres.Options)) *postgres.DB {
	t.Helper()
	o := postgres.Options{Connection: connection, Volatile: true}
	if change != nil {
		change(&o)
	}
	d, err := postgres.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func harness(t testing.TB) func() store.Store {
	uri := service.Postgres(t)
	return func() store.Store { return open(t, uri, nil) }
}

func TestConform(t *testing.T) { conform.Run(t, harness) }

func TestConformTwice(t *testing.T) {
	conform.Run(t, func(t testing.TB) func() store.Store {
		open := harness(t)
		return func() store.Store { return conform.Twice(open()) }
	})
}
