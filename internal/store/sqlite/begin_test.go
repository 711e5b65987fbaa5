package sqlite

import (
	"testing"

	"penstock.dev/penstock/internal/store"
)

// TestTheWriterWaits: a reader may have the writer's lock for a moment, and the store does not stop for it.
func TestTheWriterWaits(t *testing.T) {
	d := mustOpen(t, Options{Path: newPath(t)})
	mustDo(t, d, publish("a", 1))
	other, err := d.open.open("PRAGMA busy_timeout = 0")
	if err != nil {
		t.Fatal(err)
	}
	third, err := d.open.open("PRAGMA busy_timeout = 100") // much longer than a try of the writer
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.exec(sqlBegin); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- submit(d, store.Small, publish("a", 1)) }()
	if _, err := third.exec(sqlBegin); primaryCode(err) != codeBusy {
		t.Fatalf("the lock is not held: %v", err)
	}
	if _, err := other.exec(sqlRollback); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, c := range []*conn{other, third} {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}
