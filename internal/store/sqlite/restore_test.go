package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// marked makes a store with one entry that names it, and more in its log than in its file; and leaves it as a killed process does.
func marked(t *testing.T, path, name string) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live.db")
	d := mustOpen(t, Options{Path: live})
	mustDo(t, d, putEntry("s", "name", []byte(name)))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(live + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func nameOf(t *testing.T, path string) string {
	t.Helper()
	d := mustOpen(t, Options{Path: path})
	defer mustClose(t, d)
	name := ""
	err := d.View(context.Background(), func(v store.View) error {
		e, _, err := v.State().Get("s", []byte("name"))
		name = string(e.Value)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return name
}

// backupOf makes a backup of a store with a name.
func backupOf(t *testing.T, name string) string {
	t.Helper()
	d := mustOpen(t, Options{Path: newPath(t)})
	mustDo(t, d, putEntry("s", "name", []byte(name)))
	path := filepath.Join(t.TempDir(), "backup.db")
	if err := d.Backup(context.Background(), path, BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	return path
}

func TestRestore(t *testing.T) {
	ctx := context.Background()
	backup := backupOf(t, "new")
	path := filepath.Join(t.TempDir(), "folder", "store.db")
	r, err := Restore(ctx, backup, path, RestoreOptions{})
	if err != nil || r.Kept != "" || r.Report.Entries != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if n := nameOf(t, path); n != "new" {
		t.Errorf("it is %q", n)
	}
	if _, err := Restore(ctx, backup, path, RestoreOptions{}); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "a store already") {
		t.Errorf("%v", err)
	}
	marked(t, path, "old")
	said := int64(0)
	r, err = Restore(ctx, backup, path, RestoreOptions{Force: true, Progress: func(done, total int64) error { said = done - total; return nil }})
	if err != nil || r.Kept == "" || said != 0 {
		t.Fatalf("%+v %v %d", r, err, said)
	}
	if a, b := nameOf(t, path), nameOf(t, r.Kept); a != "new" || b != "old" {
		t.Errorf("there is %q, and kept is %q", a, b)
	}
	d := mustOpen(t, Options{Path: path})
	if _, err := Restore(ctx, backup, path, RestoreOptions{Force: true}); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("%v", err)
	}
	mustDo(t, d, putEntry("s", "k", nil))
	if _, err := Restore(ctx, path, newPath(t), RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "store check") {
		t.Errorf("a store in use as a backup: %v", err)
	}
}

// TestRestoreRefuses damaged and other files, and leaves what is there as it is.
func TestRestoreRefuses(t *testing.T) {
	good, err := os.ReadFile(backupOf(t, "new"))
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte{}, good...)
	copy(changed[bytes.LastIndex(good, []byte("new")):], "odd")
	stop := errors.New("enough")
	for _, c := range []struct {
		name     string
		content  []byte
		code     penstock.Code
		progress func(done, total int64) error
	}{
		{"nothing", nil, penstock.Config, nil},
		{"text", []byte(strings.Repeat("this is a text. ", 1000)), penstock.Config, nil},
		{"cut off", good[:len(good)-pageSize], penstock.Internal, nil},
		{"changed", changed, penstock.Internal, nil},
		{"ended", good, "", func(int64, int64) error { return stop }},
	} {
		backup, path := filepath.Join(t.TempDir(), "b.db"), newPath(t)
		if err := os.WriteFile(backup, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		marked(t, path, "old")
		_, err := Restore(context.Background(), backup, path, RestoreOptions{Force: true, Progress: c.progress})
		if err == nil || c.code != "" && penstock.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := nameOf(t, path); n != "old" {
			t.Errorf("%s: there is %q", c.name, n)
		}
		if left, _ := filepath.Glob(path + ".[^l]*"); len(left) > 0 {
			t.Errorf("%s: left: %q", c.name, left)
		}
	}
	if _, err := Restore(context.Background(), newPath(t), newPath(t), RestoreOptions{}); penstock.CodeOf(err) != penstock.NotFound {
		t.Errorf("%v", err)
	}
}

// TestRestoreKilled leaves the files as they are after each step of a restore that is killed, and opens the store.
func TestRestoreKilled(t *testing.T) {
	content, err := os.ReadFile(backupOf(t, "new"))
	if err != nil {
		t.Fatal(err)
	}
	stamp := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	kept := aside + stamp.Format("20060102T150405.000000000")
	for step, want := range []string{"old", "new", "new", "new", "new"} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			path := newPath(t)
			marked(t, path, "old")
			copied := path + decided
			if step == 0 {
				copied = path + restoring
			}
			if err := os.WriteFile(copied, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(copied, stamp, stamp); err != nil {
				t.Fatal(err)
			}
			for i, suffix := range []string{"-shm", "-wal", ""} {
				if step < i+2 {
					break
				}
				if err := os.Rename(path+suffix, path+kept+suffix); err != nil {
					t.Fatal(err)
				}
			}
			if n := nameOf(t, path); n != want {
				t.Errorf("there is %q", n)
			}
			if want == "new" {
				if n := nameOf(t, path+kept); n != "old" {
					t.Errorf("kept is %q", n)
				}
			}
			if left, _ := filepath.Glob(path + ".rest*"); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}
