package resource_test

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

var update = flag.Bool("update", false, "write what came out into the golden files")

// TestGolden loads the files of each archive as one folder and compares the findings, text and
// places, with its last part, called want.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			a := readArchive(string(src))
			fsys, want := archiveFS(a)
			_, l := resource.Load(resource.Options{Paths: []string{"."}, FS: fsys})
			got := lines(l)
			if *update {
				head, _, _ := strings.Cut(string(src), "-- want --\n")
				if err := os.WriteFile(name, []byte(head+"-- want --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// part is one file of an archive.
type part struct{ name, data string }

// readArchive reads the txtar format: a comment, then files, each headed by -- name --.
func readArchive(src string) []part {
	var out []part
	for line := range strings.Lines(src) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(name, " --") {
			out = append(out, part{name: strings.TrimSuffix(name, " --")})
		} else if len(out) > 0 {
			out[len(out)-1].data += line
		}
	}
	return out
}

func archiveFS(a []part) (fs.FS, string) {
	fsys := fstest.MapFS{}
	for _, f := range a[:len(a)-1] {
		fsys[f.name] = &fstest.MapFile{Data: []byte(f.data)}
	}
	return fsys, a[len(a)-1].data
}

func lines(l *diag.List) string {
	var b strings.Builder
	for _, d := range l.Sorted() {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}
