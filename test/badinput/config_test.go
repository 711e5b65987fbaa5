package badinput_test

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// tree reads the YAML files of a folder, and what they name beside them.
func tree(t testing.TB, root string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch path.Ext(name) {
		case ".yaml", ".json":
			b, err := os.ReadFile(filepath.Join(root, name))
			files[name] = &fstest.MapFile{Data: b}
			return err
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", root, len(files), err)
	}
	return files
}

// TestWrongCopiesOfTheExamples changes the examples in a thousand ways. Reading and compiling never panics, every
// finding stands at a place that there is, and what is in order can be run. (The readers of resources and the
// compiler have such tests of their own, on their golden cases.)
func TestWrongCopiesOfTheExamples(t *testing.T) {
	registry := edition.Standard()
	words := dictionary(t)
	rounds := map[string]int{"../../examples/orders": 150, "../../examples/verbs": 500, "../../examples/patterns": 350}
	if testing.Short() {
		rounds = map[string]int{"../../examples/orders": 20, "../../examples/verbs": 50, "../../examples/patterns": 30}
	}
	total, wrong := 0, 0
	for root, n := range rounds {
		whole := tree(t, root)
		var names []string
		for name := range whole {
			if path.Ext(name) == ".yaml" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for round := range n {
			rng := rand.New(rand.NewPCG(uint64(len(root)), uint64(round)))
			name := names[rng.IntN(len(names))]
			bad := mutate(rng, string(whole[name].Data), words)
			files := fstest.MapFS{name: &fstest.MapFile{Data: []byte(bad)}}
			if strings.HasSuffix(root, "orders") { // its flows belong together; the others stand for themselves
				for other, f := range whole {
					if other != name {
						files[other] = f
					}
				}
			}
			c := (&control.Service{Registry: registry, FS: files}).Check(control.Project{Paths: []string{"."}}, round%2 == 0)
			total++
			if c.Errors > 0 {
				wrong++
			}
			for _, f := range c.Findings {
				if why := misplaced(files, f); why != "" {
					t.Errorf("%s/%s, round %d: %s: %v", root, name, round, why, f)
				}
			}
			if t.Failed() {
				t.Fatalf("the file was\n%s", bad)
			}
		}
	}
	if !testing.Short() && wrong < total/2 {
		t.Errorf("only %d of %d changes were noticed", wrong, total)
	}
}

// misplaced says what is wrong with the place of a finding.
func misplaced(files fstest.MapFS, f finding) string {
	if f.Code == "" || f.Message == "" {
		return "it says nothing"
	}
	if f.Pos.File == "." && f.Code == "nothing-here" {
		return ""
	}
	file := files[f.Pos.File]
	if file == nil {
		return "there is no such file"
	}
	// The column may lie behind the line's end: that of a text which goes on over several lines counts on.
	if f.Pos.Line < 1 || f.Pos.Line > 1+strings.Count(string(file.Data), "\n") || f.Pos.Col < 1 {
		return "there is no such place"
	}
	return ""
}

// dictionary is every word of the examples, to be put where it does not belong.
func dictionary(t testing.TB) []string {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range tree(t, "../../examples") {
		for _, w := range strings.FieldsFunc(string(f.Data), func(r rune) bool { return strings.ContainsRune(" \n{}[],:\"'()", r) }) {
			seen[w] = true
		}
	}
	var words []string
	for w := range seen {
		words = append(words, w)
	}
	slices.Sort(words)
	return append(words, "~", "null", "yes", "0x1F", "1e3", "-1", "\"${body.x}\"", "${", "[]", "{}", "{ a: b }", "[ [ ] ]", "'", "\"", "*x", "&x y", "!t z", "|", "<<: x",
		"99999999999999999999", "é☃😀", "30s", "100%", "\t", "\x00", "\xff", "\u2028", "- -", "? :", strings.Repeat("[", 200), strings.Repeat("(", 200), strings.Repeat("x", 5000))
}

const bytesToPut = " :{}[],'\"-#|&*!%$()\t\x00"

// mutate changes one to three things of a text: a word, a byte, a line or its indentation.
func mutate(rng *rand.Rand, src string, words []string) string {
	for range 1 + rng.IntN(3) {
		rows := strings.Split(src, "\n")
		at := rng.IntN(len(rows))
		row := rows[at]
		switch rng.IntN(8) {
		case 0:
			rows = slices.Delete(rows, at, at+1)
		case 1:
			rows = slices.Insert(rows, at, rows[rng.IntN(len(rows))])
		case 2:
			rows[at] = strings.TrimPrefix(row, "  ")
		case 3:
			rows[at] = "  " + row
		case 4, 5: // another word
			if parts := strings.FieldsFunc(row, func(r rune) bool { return strings.ContainsRune(" {}[],:\"", r) }); len(parts) > 0 {
				rows[at] = strings.Replace(row, parts[rng.IntN(len(parts))], words[rng.IntN(len(words))], 1)
			}
		case 6: // a byte more or less
			if k := rng.IntN(len(row) + 1); k < len(row) && rng.IntN(2) == 0 {
				rows[at] = row[:k] + row[k+1:]
			} else {
				rows[at] = row[:k] + string(bytesToPut[rng.IntN(len(bytesToPut))]) + row[k:]
			}
		case 7: // cut off
			if rng.IntN(4) == 0 {
				rows = rows[:at+1]
			}
		}
		src = strings.Join(rows, "\n")
	}
	return src
}
