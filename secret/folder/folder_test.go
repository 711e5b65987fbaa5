package folder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/secret/internal/files"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) penstock.SecretProvider {
	p, err := New(Config{Path: penstock.Template{Source: dir}, Every: penstock.Duration(50 * time.Millisecond)}, penstock.Env{Clock: penstock.SystemClock{}})
	must(t, err)
	return p
}

// mount writes a folder as the kubelet does (AtomicWriter): a new folder, and one link that is turned to it.
type mount struct {
	dir     string
	version int
}

func (m *mount) put(t testing.TB, values map[string]string) {
	m.version++
	fresh := fmt.Sprintf("..2026_10_01_%d", m.version)
	must(t, os.MkdirAll(filepath.Join(m.dir, fresh), 0o755))
	for name, v := range values {
		write(t, filepath.Join(m.dir, fresh), name, v)
	}
	old, _ := os.Readlink(filepath.Join(m.dir, data))
	must(t, os.Symlink(fresh, filepath.Join(m.dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, data)))
	for name := range values {
		if _, err := os.Lstat(filepath.Join(m.dir, name)); err != nil {
			must(t, os.Symlink(filepath.Join(data, name), filepath.Join(m.dir, name)))
		}
	}
	if old != "" {
		must(t, os.RemoveAll(filepath.Join(m.dir, old)))
	}
}

func TestKubernetes(t *testing.T) {
	conform.Secrets(t, conform.SecretsHarness{
		Features: conform.SecretsFeatures{Rotates: true, Together: true},
		New: func(t testing.TB) conform.SecretsPlace {
			m := &mount{dir: t.TempDir()}
			return conform.SecretsPlace{
				Provider: func(t testing.TB) penstock.SecretProvider { return open(t, m.dir) },
				Put:      func(t testing.TB, values map[string]string) { m.put(t, values) },
				Break: func(t testing.TB, name string) {
					write(t, filepath.Join(m.dir, fmt.Sprintf("..2026_10_01_%d", m.version)), name, "")
				},
			}
		},
	})
}

func TestPlainFolder(t *testing.T) {
	conform.Secrets(t, conform.SecretsHarness{
		Features: conform.SecretsFeatures{Rotates: true},
		New: func(t testing.TB) conform.SecretsPlace {
			dir := t.TempDir()
			return conform.SecretsPlace{
				Provider: func(t testing.TB) penstock.SecretProvider { return open(t, dir) },
				Put: func(t testing.TB, values map[string]string) {
					for name, v := range values {
						write(t, dir, ".new", v+"\n")
						must(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, name)))
					}
				},
				Break: func(t testing.TB, name string) {
					must(t, os.Truncate(filepath.Join(dir, name), files.MaxValue+1))
				},
			}
		},
	})
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tls.key": "a key\n", "DB_PASSWORD": "hunter22\r\n", "token": "exact", "TOKEN": "another", "api.token": "x1", "api_token": "x2", "two-lines": "a\nb\n\n",
	} {
		write(t, dir, name, text)
	}
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	got, err := open(t, dir).Read(context.Background(), []string{"tls-key", "db-password", "token", "api-token", "two-lines", "sub", "nothing"})
	must(t, err)
	for name, want := range map[string]string{"tls-key": "a key", "db-password": "hunter22", "token": "exact", "two-lines": "a\nb\n"} {
		if r := got[name]; r.Value != want || r.Err != nil {
			t.Errorf("%s: %q %v", name, r.Value, r.Err)
		}
	}
	if r := got["api-token"]; r.Err == nil || !strings.Contains(r.Err.Error(), "api.token") || !strings.Contains(r.Err.Error(), "api_token") {
		t.Errorf("of two files, %v", r.Err)
	}
	for _, name := range []string{"sub", "nothing"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s is found", name)
		}
	}
}

func TestUnreadable(t *testing.T) {
	_, err := open(t, filepath.Join(t.TempDir(), "gone")).Read(context.Background(), []string{"a"})
	if err == nil || penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "mount it there") {
		t.Error(err)
	}
	dir := t.TempDir()
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	got, err := open(t, dir).Read(context.Background(), []string{"dangling"})
	must(t, err)
	if r := got["dangling"]; r.Err == nil {
		t.Error("a link to nowhere gives no error")
	}
}

// TestFolderIsMadeAgain: what is watched is the path, not the folder that once was there.
func TestFolderIsMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	write(t, dir, "a", "value-1")
	p := open(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	changed, done := make(chan struct{}, 100), make(chan error, 1)
	go func() { done <- p.Watch(ctx, func() { changed <- struct{}{} }) }()
	<-changed
	must(t, os.RemoveAll(dir))
	<-changed
	write(t, dir, "a", "value-2")
	for {
		<-changed
		if got, err := p.Read(ctx, []string{"a"}); err == nil && got["a"].Value == "value-2" {
			break
		}
	}
	cancel()
	must(t, <-done)
}
