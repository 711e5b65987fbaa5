package compile_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/guarantee"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

var update = flag.Bool("update", false, "write the golden sections anew")

// outputs are the sections of an archive that say what should come out.
var outputs = []string{"findings", "guarantee", "plan", "state"}

// TestGolden compiles the files of each archive in testdata. Its last sections are what should come out:
// `findings`, one a line, where the list has any; where it has no errors, `plan` and, of a run
// that keeps state, `state`; or `guarantee` in archives named delivery-.
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
				if slices.Contains(outputs, s.name) {
					want[s.name] = s.text
					continue
				}
				again += "-- " + s.name + " --\n" + s.text
				files[s.name] = &fstest.MapFile{Data: []byte(s.text)}
			}
			got := compiled(files, params(comment), strings.HasPrefix(filepath.Base(name), "delivery-"))
			if *update {
				for _, section := range outputs {
					if got[section] != "" {
						again += "-- " + section + " --\n" + got[section]
					}
				}
				if err := os.WriteFile(name, []byte(again), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, section := range outputs {
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
func compiled(files fstest.MapFS, params map[string]string, delivery bool) map[string]string {
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
	switch {
	case p == nil || all.HasErrors():
	case delivery:
		out["guarantee"] = guarantees(p)
	default:
		var dump bytes.Buffer
		if err := plan.Dump(&dump, p); err != nil {
			dump.WriteString(err.Error())
		}
		out["plan"] = dump.String()
		out["state"] = stateOf(p)
	}
	return out
}

// guarantees writes what each flow of a plan gives, and why.
func guarantees(p *plan.Plan) string {
	var b strings.Builder
	for _, f := range p.Flows {
		fmt.Fprintf(&b, "%s: %s, order %s", f.Name, guarantee.Promise(f.Guarantee), f.Guarantee.Order)
		if f.Transaction != nil {
			fmt.Fprintf(&b, ", in transactions of %s on %s", f.Transaction.Driver, f.Transaction.Connection)
		}
		if !p.Durable && f.Guarantee.Delivery == plan.EffectivelyOnce {
			b.WriteString(", without state")
		}
		b.WriteByte('\n')
		for _, r := range f.Guarantee.Reasons {
			fmt.Fprintf(&b, "  %s: %s%s: %s\n", r.Step, r.Delivery, r.Order, r.Text)
		}
	}
	return b.String()
}
