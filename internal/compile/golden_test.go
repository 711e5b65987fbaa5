package compile_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

var update = flag.Bool("update", false, "write the golden sections anew")

// TestGolden compiles the files of each archive in testdata. Its last section is what should come out:
// `findings`, one a line, where the list has any, and `plan`, where it has no errors.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			comment, sections := readArchive(string(src))
			files := fstest.MapFS{}
			want := map[string]string{}
			again := comment
			for _, s := range sections {
				if s.name == "findings" || s.name == "plan" {
					want[s.name] = s.text
					continue
				}
				again += "-- " + s.name + " --\n" + s.text
				files[s.name] = &fstest.MapFile{Data: []byte(s.text)}
			}
			got := compiled(files, params(comment))
			if *update {
				for _, section := range []string{"findings", "plan"} {
					if got[section] != "" {
						again += "-- " + section + " --\n" + got[section]
					}
				}
				if err := os.WriteFile(name, []byte(again), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, section := range []string{"findings", "plan"} {
				if got[section] != want[section] {
					t.Errorf("%s (run with -update to accept):\n--- got\n%s--- want\n%s", section, got[section], want[section])
				}
			}
		})
	}
}

type section struct{ name, text string }

// readArchive reads the txtar format: a comment, then files, each headed by -- name --.
func readArchive(src string) (comment string, out []section) {
	for _, line := range strings.SplitAfter(src, "\n") {
		name, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "-- ")
		if name, end := strings.CutSuffix(name, " --"); ok && end {
			out = append(out, section{name: name})
			continue
		}
		if len(out) == 0 {
			comment += line
		} else {
			out[len(out)-1].text += line
		}
	}
	return comment, out
}

// params reads lines `param: name=value` of an archive's comment.
func params(comment string) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(comment, "\n") {
		if p, ok := strings.CutPrefix(line, "param: "); ok {
			k, v, _ := strings.Cut(p, "=")
			out[k] = v
		}
	}
	return out
}

// compiled gives the golden sections.
func compiled(files fstest.MapFS, params map[string]string) map[string]string {
	reg := registry()
	set, found := resource.Load(resource.Options{FS: files, Paths: []string{"."}, Registry: reg, Params: params})
	p, more := compile.Compile(set, reg, compile.Options{})
	all := &diag.List{}
	all.Merge(found)
	all.Merge(more)
	var b strings.Builder
	for _, d := range all.Sorted() {
		fmt.Fprintln(&b, d)
	}
	out := map[string]string{"findings": b.String()}
	if p != nil && !all.HasErrors() {
		var dump bytes.Buffer
		if err := plan.Dump(&dump, p); err != nil {
			dump.WriteString(err.Error())
		}
		out["plan"] = dump.String()
	}
	return out
}
