package postgres

import (
	"context"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
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
	takes := append(adds[:len(adds):len(adds)], migration{least: len(adds) + 1, statements: []string{"ALTER TABLE entry ALTER COLUMN more SET DEFAULT ''"}})
	d, err := begin(takes)
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	if _, err := begin(adds); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("a replica that can't work with the tables begins: %v", err)
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
