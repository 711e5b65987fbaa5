package compile_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// TestHostile breaks configurations in many ways: nothing panics, what is wrong is said with its
// place, and there is a plan exactly where nothing is.
func TestHostile(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	reg := registry()
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	for i, name := range archives {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, sections := readArchive(string(src))
		good := sections[0].text
		for round := range rounds {
			rnd := rand.New(rand.NewPCG(uint64(i), uint64(round)))
			bad := broken(rnd, good)
			files := fstest.MapFS{"main.yaml": &fstest.MapFile{Data: []byte(bad)}}
			set, found := resource.Load(resource.Options{FS: files, Paths: []string{"."}, Registry: reg})
			p, more := compile.Compile(set, reg, compile.Options{})
			if (p == nil) != more.HasErrors() {
				t.Errorf("%s, round %d: plan %v with findings %v", name, round, p != nil, more.Sorted())
			}
			found.Merge(more)
			for _, d := range found.Sorted() {
				if d.Severity == diag.Error && (!d.Pos.IsValid() || d.Pos.File != "main.yaml") {
					t.Errorf("%s, round %d: %s says not where\n%s", name, round, d, bad)
				}
			}
		}
	}
}

// broken changes one to three things in a text.
func broken(rnd *rand.Rand, src string) string {
	lines := strings.Split(src, "\n")
	for range 1 + rnd.IntN(3) {
		at := rnd.IntN(len(lines))
		switch rnd.IntN(7) {
		case 0:
			lines = append(lines[:at], lines[min(at+1, len(lines)-1):]...)
		case 1:
			lines[at] = strings.TrimPrefix(lines[at], "  ")
		case 2:
			lines[at] = "  " + lines[at]
		case 3:
			lines[at] = swapWord(rnd, lines[at], lines[rnd.IntN(len(lines))])
		case 4:
			if n := len(lines[at]); n > 0 {
				k := rnd.IntN(n)
				lines[at] = lines[at][:k] + lines[at][k+1:]
			}
		case 5:
			other := rnd.IntN(len(lines))
			lines[at], lines[other] = lines[other], lines[at]
		case 6:
			if n := len(lines[at]); n > 0 {
				k := rnd.IntN(n)
				lines[at] = lines[at][:k] + string(`{}[]:,"'$#-`[rnd.IntN(11)]) + lines[at][k:]
			}
		}
	}
	return strings.Join(lines, "\n")
}

// swapWord puts a word of another line in the place of one of this line.
func swapWord(rnd *rand.Rand, line, other string) string {
	words, others := strings.Fields(line), strings.Fields(other)
	if len(words) == 0 || len(others) == 0 {
		return line
	}
	return strings.Replace(line, words[rnd.IntN(len(words))], others[rnd.IntN(len(others))], 1)
}

// FuzzCompile compiles whatever can be read.
func FuzzCompile(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range archives {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, sections := readArchive(string(src))
		f.Add(sections[0].text)
	}
	reg := registry()
	f.Fuzz(func(t *testing.T, src string) {
		files := fstest.MapFS{"main.yaml": &fstest.MapFile{Data: []byte(src)}}
		set, _ := resource.Load(resource.Options{FS: files, Paths: []string{"."}, Registry: reg})
		p, l := compile.Compile(set, reg, compile.Options{})
		if (p == nil) != l.HasErrors() {
			t.Error(fmt.Sprint("plan ", p != nil, " with findings ", l.Sorted()))
		}
	})
}
