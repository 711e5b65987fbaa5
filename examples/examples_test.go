// Package examples holds flows to read and to run: orders, a whole integration; http, calls and deliveries; verbs, every verb once; and
// patterns, what they do together. Its tests check them, run their Test resources, and run the flows themselves.
package examples_test

//go:generate go run ../cmd/penstock graph orders --out ../docs/orders.svg

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/resource"
)

var update = flag.Bool("update", false, "rewrite the results of the examples")

// examples are the folders, with the parameters that take the place of paths that begin at the root of the repository.
var examples = []struct {
	dir    string
	params map[string]string
}{
	{"accounts", map[string]string{"out": "out"}},
	{"avro", nil},
	{"cdc", nil},
	{"cloudevents", nil},
	{"hello", nil},
	{"http", map[string]string{"samples": "http/samples", "out": "out"}},
	{"inventory", nil},
	{"kafka", nil},
	{"mqtt", nil},
	{"nats", nil},
	{"orders", map[string]string{"drop": "orders/data", "reference": "orders/reference", "out": "out"}},
	{"patterns", map[string]string{"samples": "patterns/samples", "out": "out"}},
	{"payroll", map[string]string{"drop": "payroll/data", "out": "out"}},
	{"protobuf", nil},
	{"pulsar", nil},
	{"rabbitmq", nil},
	{"redis", nil},
	{"resilience", map[string]string{"drop": "resilience/drop", "out": "out"}},
	{"schedule", map[string]string{"out": "out"}},
	{"script", map[string]string{"samples": "script/samples", "out": "out"}},
	{"sql", map[string]string{"samples": "sql/samples", "out": "out"}},
	{"verbs", map[string]string{"samples": "verbs/samples", "out": "out"}},
	{"webhooks", map[string]string{"out": "out"}},
	{"xml", map[string]string{"samples": "xml"}},
}

// TestFolders finds a new example that the list above lacks.
func TestFolders(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range entries {
		own, _ := filepath.Glob(filepath.Join(e.Name(), "*.yaml"))
		base, _ := filepath.Glob(filepath.Join(e.Name(), "base", "*.yaml"))
		if len(own)+len(base) > 0 {
			got = append(got, e.Name())
		}
	}
	for _, e := range examples {
		want = append(want, e.dir)
	}
	if !slices.Equal(got, want) {
		t.Errorf("folders with YAML files: %q; the list of examples: %q", got, want)
	}
}

// TestCheck wants no error and no warning.
func TestCheck(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	for _, e := range examples {
		t.Run(e.dir, func(t *testing.T) {
			checked := s.Check(control.Project{Paths: []string{e.dir}, Params: e.params}, true)
			for _, f := range checked.Findings {
				t.Error(f)
			}
			if !checked.OK {
				t.Error("it does not check")
			}
		})
	}
}

// TestTests runs the Test resources.
func TestTests(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	for _, e := range examples {
		t.Run(e.dir, func(t *testing.T) {
			report, err := s.Test(context.Background(), control.Project{Paths: []string{e.dir}, Params: e.params}, control.TestOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Cases) == 0 {
				t.Error("there is no test")
			}
			for _, c := range report.Cases {
				t.Run(c.Name, func(t *testing.T) {
					for _, f := range c.Failures {
						t.Errorf("%s: %s\n%s", f.Pos, f.Message, f.Diff)
					}
				})
			}
		})
	}
}

// TestVerbs holds the folder to its promise: a flow, and a test, for every verb of the language.
func TestVerbs(t *testing.T) {
	for _, v := range resource.Verbs() {
		data, err := os.ReadFile(filepath.Join("verbs", v.Name+".yaml"))
		if err != nil {
			t.Error(err)
			continue
		}
		if text := string(data); !strings.Contains(text, v.Name+":") || !strings.Contains(text, "kind: Test") {
			t.Errorf("verbs/%s.yaml does not show %s, or has no test", v.Name, v.Name)
		}
	}
}

// TestResults runs the flows and compares what they write with the files in results. With -update it
// rewrites them.
func TestResults(t *testing.T) {
	for _, e := range examples {
		if _, err := os.Stat(filepath.Join(e.dir, "results")); os.IsNotExist(err) {
			continue // a whole integration: held to its figures by a test of its own
		}
		t.Run(e.dir, func(t *testing.T) {
			want := filepath.Join(e.dir, "results")
			got := written(t, e.dir, e.params)
			if *update {
				if err := os.RemoveAll(want); err != nil {
					t.Fatal(err)
				}
				for name, text := range got {
					write(t, filepath.Join(want, name), text)
				}
			}
			names, err := filepath.Glob(filepath.Join(want, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range names {
				names[i] = filepath.Base(n)
			}
			if found := slices.Sorted(maps.Keys(got)); !slices.Equal(found, names) {
				t.Errorf("written: %q\nresults: %q", found, names)
			}
			for name, text := range got {
				wanted, err := os.ReadFile(filepath.Join(want, name))
				if err != nil || !bytes.Equal(wanted, text) {
					t.Errorf("%s (go test ./examples -update rewrites it)\n got %s\nwant %s", name, text, wanted)
				}
			}
		})
	}
}

// TestPicture holds the picture of the readme to what it shows.
func TestPicture(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	got, err := s.Check(control.Project{Paths: []string{"orders"}}, false).Graph("svg", nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../docs/orders.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/orders.svg is not what examples/orders is now: make generate draws it")
	}
}

// written runs the flows of a folder and gives the files that they write, without the dead letters.
func written(t *testing.T, dir string, params map[string]string) map[string][]byte {
	t.Helper()
	out := t.TempDir()
	params = maps.Clone(params)
	params["out"] = out
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{dir}, Params: params}, true)
	if !checked.OK {
		t.Fatal("it does not check")
	}
	if _, err := s.Run(context.Background(), checked, control.RunOptions{Store: filepath.Join(t.TempDir(), "store.db"), Once: true}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(f)
		switch name {
		case "per-key-retry.jsonl", "competing-consumers.jsonl": // in order for each account only
			text = byAccount(text)
		}
		got[name] = text
	}
	return got
}

// byAccount brings lines into the order of their accounts; those of one account keep theirs.
func byAccount(text []byte) []byte {
	lines := slices.Collect(bytes.Lines(text))
	account := func(line []byte) string {
		_, rest, _ := bytes.Cut(line, []byte(`"account":"`))
		name, _, _ := bytes.Cut(rest, []byte(`"`))
		return string(name)
	}
	slices.SortStableFunc(lines, func(a, b []byte) int { return strings.Compare(account(a), account(b)) })
	return bytes.Join(lines, nil)
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
}
