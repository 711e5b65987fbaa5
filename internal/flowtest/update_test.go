package flowtest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/flowtest"
)

// TestUpdate rewrites what the tests of an archive expect. What should have come of a file x stands in
// the archive as want/x. Afterwards all tests pass, and another update changes nothing.
func TestUpdate(t *testing.T) {
	names, err := filepath.Glob("testdata/update/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			files, order := archive(t, name)
			dir := folder(t, files)
			_, got := report(t, dir, flowtest.Options{Update: true})
			check := func(name, got string) {
				t.Helper()
				if *update {
					files[name] = got
					if !slices.Contains(order, name) {
						order = append(order, name)
					}
				} else if got != files[name] {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got, files[name])
				}
			}
			check("want", got)
			for _, f := range slices.Clone(order) {
				if strings.HasPrefix(f, "want/") {
					data, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(f, "want/")))
					if err != nil {
						t.Fatal(err)
					}
					check(f, string(data))
				}
			}
			r, got := report(t, dir, flowtest.Options{Update: true})
			if r == nil {
				t.Fatal(got)
			}
			if len(r.Updated) > 0 {
				t.Errorf("a second update changed %v", r.Updated)
			}
			if r, again := report(t, dir, flowtest.Options{}); r.Failed() != strings.Count(got, "FAIL  ") {
				t.Errorf("without an update:\n%s", again)
			}
			if *update {
				var b strings.Builder
				for _, n := range order {
					b.WriteString("-- " + n + " --\n" + files[n])
				}
				if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
