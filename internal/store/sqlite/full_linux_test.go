package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestAFullDisk: a real one, without a reserve. The store ends with an error that says so; it opens again when there is room, or says that there is none, and has what was
// acknowledged.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("a file system of a test's own can only be mounted by root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	o := Options{Path: filepath.Join(dir, "store.db"), Reserve: -1}
	acknowledged := int64(0)
	for round := range 3 {
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(context.Background(), patient(o))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; err == nil && i < 1000; i++ {
			if err = submit(d, store.Small, appendMessage("c", 64<<10)); err == nil {
				acknowledged++
			}
		}
		if penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("round %d, with a full disk: %v", round, err)
		}
		if again := submit(d, store.Small, appendMessage("c", 1)); penstock.CodeOf(again) != penstock.Unavailable {
			t.Errorf("it goes on: %v", again)
		}
		_ = d.Close() // the log is not copied into the file, which has no room
		if d, err = Open(context.Background(), patient(o)); err == nil {
			err = d.Close()
		}
		if err != nil && !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("opened on a full disk: %v", err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		d = mustOpen(t, o)
		mustDo(t, d, appendMessage("c", 1))
		acknowledged++
		if err := d.View(context.Background(), func(v store.View) error {
			b, err := v.Log().Bounds("c")
			if b.Next != acknowledged {
				t.Errorf("round %d: %d messages are there, and %d were acknowledged", round, b.Next, acknowledged)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		mustDo(t, d, func(tx store.Tx) error { _, err := tx.Drop("c", acknowledged); return err }) // for the next round
		mustClose(t, d)
	}
}
