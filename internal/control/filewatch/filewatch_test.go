package filewatch_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock/internal/control/filewatch"
	"penstock.dev/penstock/internal/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a folder with a configuration that is watched.
type place struct {
	t   *testing.T
	dir string
	w   *filewatch.Watcher
}

func newPlace(t *testing.T, o filewatch.Options, files ...string) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), w: filewatch.New(o)}
	t.Cleanup(func() {
		if err := p.w.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, f := range files {
		p.write(f, "a: 1\n")
	}
	p.follow()
	return p
}

func (p *place) write(name, text string) {
	p.t.Helper()
	at := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// follow reads the folder as a run does.
func (p *place) follow() {
	p.t.Helper()
	set, _ := resource.Load(resource.Options{Paths: []string{p.dir}})
	for _, name := range []string{"neighbour.json"} {
		_, _ = set.ReadFile(filepath.Join(p.dir, name))
	}
	p.w.Follow(set.Files(), set.Folders())
}

// changed waits for a change of a file, with whatever else changes.
func (p *place) changed(name string) {
	p.t.Helper()
	for {
		for _, f := range <-p.w.Changes() {
			if f == filepath.Join(p.dir, name) {
				return
			}
		}
	}
}

func TestChangesAreTold(t *testing.T) {
	for _, o := range []filewatch.Options{{Settle: time.Millisecond}, {Blind: true, Poll: time.Millisecond}} {
		for _, tt := range []struct {
			name   string
			change func(p *place)
			want   string
		}{
			{"written", func(p *place) { p.write("a.yaml", "a: 2\n") }, "a.yaml"},
			{"replaced by renaming", func(p *place) {
				p.write("a.yaml.tmp", "a: 3\n")
				if err := os.Rename(filepath.Join(p.dir, "a.yaml.tmp"), filepath.Join(p.dir, "a.yaml")); err != nil {
					t.Fatal(err)
				}
			}, "a.yaml"},
			{"removed", func(p *place) {
				if err := os.Remove(filepath.Join(p.dir, "a.yaml")); err != nil {
					t.Fatal(err)
				}
			}, "a.yaml"},
			{"new", func(p *place) { p.write("b.yaml", "b: 1\n") }, "b.yaml"},
			{"in a new folder", func(p *place) { p.write("more/deep/b.yaml", "b: 1\n") }, "more/deep/b.yaml"},
			{"in a folder", func(p *place) { p.write("sub/c.yml", "c: 2\n") }, "sub/c.yml"},
			{"a neighbour that was missing", func(p *place) { p.write("neighbour.json", "{}") }, "neighbour.json"},
			{"behind a link", func(p *place) { p.write("..data2/d.yaml", "d: 2\n"); p.link("..data2") }, "d.yaml"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				p := newPlace(t, o, "a.yaml", "sub/c.yml")
				p.write("..data1/d.yaml", "d: 1\n")
				p.link("..data1")
				if err := os.Symlink("..data/d.yaml", filepath.Join(p.dir, "d.yaml")); err != nil {
					t.Fatal(err)
				}
				p.follow()
				tt.change(p)
				p.changed(tt.want)
			})
		}
	}
}

// link points ..data to a folder, as mounted volumes do: all files change at once.
func (p *place) link(to string) {
	p.t.Helper()
	if err := os.Symlink(to, filepath.Join(p.dir, "..tmp")); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(p.dir, "..tmp"), filepath.Join(p.dir, "..data")); err != nil {
		p.t.Fatal(err)
	}
}

func TestWhatChangesNothingIsNotTold(t *testing.T) {
	p := newPlace(t, filewatch.Options{Settle: time.Millisecond}, "a.yaml")
	p.write("a.yaml", "a: 1\n") // the same
	p.write("notes.txt", "x")
	p.write("out/result.json", "{}")
	p.write("testdata/t.yaml", "x: 1\n")
	p.write(".hidden/t.yaml", "x: 1\n")
	p.write("a.yaml", "a: 2\n")
	got := <-p.w.Changes()
	if len(got) != 1 || got[0] != filepath.Join(p.dir, "a.yaml") {
		t.Errorf("told of %v", got)
	}
	p.write("a.yaml", "a: 3\n")
	p.follow() // who reads it knows
	p.write("a.yaml", "a: 4\n")
	if got := <-p.w.Changes(); len(got) != 1 {
		t.Errorf("told of %v", got)
	}
}
