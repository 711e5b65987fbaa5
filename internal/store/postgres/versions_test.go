package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
	"penstock.dev/penstock/test/service"
)

func put(d *DB, key string) error {
	return d.Submit(store.Small, func(tx store.Tx) error { return tx.Put("s", store.Entry{Key: []byte(key)}) }).Wait(context.Background())
}

// TestVersions: a replica of a newer version migrates the tables while an older one works.
func TestVersions(t *testing.T) {
	uri := service.Postgres(t)
	begin := func(steps []migration) (*DB, error) {
		return Open(t.Context(), Options{Connection: uri, Volatile: true, steps: steps})
	}
	old, err := begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := put(old, "a"); err != nil {
		t.Fatal(err)
	}
	adds := append(migrations[:len(migrations):len(migrations)], migration{least: 1, statements: []string{"ALTER TABLE entry ADD COLUMN more text", "CREATE TABLE extra (x int)"}})
	done := make(chan error, 8)
	for range cap(done) / 2 { // several begin at once
		go func() {
			d, err := begin(adds)
			if err == nil {
				err = put(d, "b")
				_ = d.Close()
			}
			done <- err
		}()
		go func() { done <- put(old, "c") }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	again, err := begin(nil) // an older one may still begin
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

// TestATakingMigration: a newer version that takes away what an older one needs does not migrate while that one is connected, also where it sleeps. An older one that is cut off does not hold it up,
// and writes nothing when it comes back.
func TestATakingMigration(t *testing.T) {
	uri := service.Postgres(t)
	begin := func(steps []migration) (*DB, error) {
		return Open(t.Context(), Options{Connection: uri, Volatile: true, steps: steps})
	}
	old, err := begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := put(old, "a"); err != nil {
		t.Fatal(err)
	}
	idle, err := begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	takes := append(migrations[:len(migrations):len(migrations)], migration{least: len(migrations) + 1, statements: []string{"CREATE TABLE extra (x int)"}})
	refused := func() {
		t.Helper()
		d, err := begin(takes)
		if err == nil {
			_ = d.Close()
		}
		for _, want := range []string{fmt.Sprintf("one of version %d (penstock writer %d, from ", len(migrations), old.writer.id), "stop them first", "the tables were left as they are"} {
			if penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v does not say %q", err, want)
			}
		}
	}
	refused()
	if err := put(old, "b"); err != nil { // it goes on
		t.Fatal(err)
	}
	again, err := begin(nil) // and others like it may begin
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()

	// Its writer is cut off, and comes back only when the tables are others. One that has just found tables that it can work with comes too late, as well.
	c, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock writer %' AND datname = current_database()"); err != nil {
		t.Fatal(err)
	}
	count := func(sql string) (n int) {
		t.Helper()
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM "+sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for count("pg_stat_activity WHERE application_name LIKE 'penstock writer %' AND datname = current_database()") > 0 { // until it has ended
	}
	if _, err := c.Exec(t.Context(), "SELECT pg_advisory_lock($1)", lockKey(old.o.Schema)); err != nil {
		t.Fatal(err)
	}
	type opened struct {
		d   *DB
		err error
	}
	starts := func(steps []migration, waiting int) chan opened {
		done := make(chan opened, 1)
		go func() {
			d, err := begin(steps)
			done <- opened{d, err}
		}()
		for count("pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") < waiting { // until it waits
		}
		return done
	}
	newer := starts(takes, 1)
	late := starts(nil, 2)
	if _, err := c.Exec(t.Context(), "SELECT pg_advisory_unlock($1)", lockKey(old.o.Schema)); err != nil {
		t.Fatal(err)
	}
	is := <-newer
	if is.err != nil {
		t.Fatal(is.err)
	}
	d := is.d
	defer d.Close()
	if is := <-late; !errors.Is(is.err, store.ErrOutdated) {
		t.Errorf("one that began at the same time works with tables that it can't work with: %v", is.err)
		if is.err == nil {
			_ = is.d.Close()
		}
	}
	if err := put(old, "c"); err == nil {
		t.Error("an older one writes into tables that it can't work with")
	}
	if _, err := idle.Leases().Beat(t.Context(), lease.Replica{ID: "idle"}, time.Minute); err == nil {
		t.Fatal("an older one that has nothing to write goes on as a replica")
	}
	<-idle.life.Done()
	if err := idle.failure.Load(); err == nil || !errors.Is(err, errStranger) {
		t.Errorf("it has ended with %v", err)
	}
	if _, err := begin(nil); penstock.CodeOf(err) != penstock.Config || !errors.Is(err, store.ErrOutdated) {
		t.Errorf("a replica that can't work with the tables begins: %v", err)
	}
	if n := count(old.o.Schema + ".entry"); n != 2 {
		t.Errorf("%d entries", n)
	}
	if err := put(d, "d"); err != nil {
		t.Error(err)
	}
}

// TestAReplicaWithNothingToWriteStaysKnown: for more than a day.
func TestAReplicaWithNothingToWriteStaysKnown(t *testing.T) {
	uri := service.Postgres(t)
	begin := func() *DB {
		d, err := Open(t.Context(), Options{Connection: uri, Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	d, killed := begin(), begin()
	c, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "UPDATE "+d.o.Schema+".writer SET seen = clock_timestamp() - interval '25 hours'"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Leases().Beat(t.Context(), lease.Replica{ID: "idle"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	begin() // and removes what others have left
	if err := put(d, "a"); err != nil {
		t.Error(err)
	}
	if err := put(killed, "b"); !errors.Is(err, errStranger) {
		t.Errorf("what nobody has heard of for a day is not removed: %v", err)
	}
}

// TestRefusesWhatIsNotDurable: nothing is acknowledged that a server would lose.
func TestRefusesWhatIsNotDurable(t *testing.T) {
	uri := service.Postgres(t) // of a server that does not wait for the disk
	_, err := Open(t.Context(), Options{Connection: uri})
	if penstock.CodeOf(err) != penstock.Config {
		t.Errorf("a server without fsync is taken: %v", err)
	}
}
