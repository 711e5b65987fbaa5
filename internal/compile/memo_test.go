package compile_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// compilation is a set with what was made of it.
type compilation struct {
	set  *resource.Set
	memo compile.Memo
	plan *plan.Plan
	text string // everything that can be told of it
}

// compileAfter compiles files; before is what was compiled before, nil for all anew.
func compileAfter(reg *penstock.Registry, files fstest.MapFS, params map[string]string, before *compilation) *compilation {
	out := &compilation{}
	from := resource.Options{FS: files, Paths: []string{"."}, Registry: reg, Params: params}
	if before != nil {
		from.Before, out.memo = before.set, before.memo
	}
	set, found := resource.Load(from)
	p, more := compile.Compile(set, reg, compile.Options{Memo: &out.memo})
	out.set, out.plan = set, p
	all := &diag.List{}
	all.Merge(found)
	all.Merge(more)
	var b bytes.Buffer
	for _, d := range all.Sorted() {
		fmt.Fprintln(&b, d)
	}
	read := map[string]bool{}
	for _, f := range set.Files() {
		read[fmt.Sprintf("%s %x", f.Path, f.Sum[:4])] = true
	}
	fmt.Fprintln(&b, slices.Sorted(maps.Keys(read)))
	if p != nil {
		if err := plan.Dump(&b, p); err != nil {
			fmt.Fprintln(&b, err)
		}
		fmt.Fprintln(&b, stateOf(p), guarantees(p))
		for _, f := range p.Flows {
			fmt.Fprintln(&b, f.Name, f.Pos, f.Hash, f.Facts, f.Coverage, plan.Fingerprint(f))
			for _, s := range f.Sources {
				fmt.Fprintln(&b, " ", s.Name, s.Hash, s.ConnectionHash)
			}
		}
		var secrets []string
		for _, s := range p.Secrets {
			secrets = append(secrets, fmt.Sprint(s.Name, " ", s.Pos))
		}
		slices.Sort(secrets)
		fmt.Fprintln(&b, secrets, len(p.SecretProviders), len(p.Channels), p.Params, p.Known)
	}
	out.text = b.String()
	return out
}

// apart puts each document of the files into a file of its own.
func apart(files fstest.MapFS) fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range files {
		if path.Ext(name) != ".yaml" {
			out[name] = f
			continue
		}
		for i, doc := range strings.Split("\n"+string(f.Data), "\n---\n") {
			out[fmt.Sprintf("%s-%02d.yaml", strings.TrimSuffix(name, ".yaml"), i)] = &fstest.MapFile{Data: []byte(doc)}
		}
	}
	return out
}

// TestMemo compiles the configurations of all golden archives with what was left of other versions of them, and anew: that makes no difference. Each
// document, and each file beside them, is taken away and put back, and some are moved.
func TestMemo(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	reg := registry()
	recalled := 0
	for _, name := range archives {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		comment, sections := readArchive(string(src))
		files := fstest.MapFS{}
		for _, s := range sections {
			if !slices.Contains(outputs, s.name) {
				files[s.name] = &fstest.MapFile{Data: []byte(s.text)}
			}
		}
		files = apart(files)
		values := params(comment)
		last := compileAfter(reg, files, values, nil)
		whole := last.text
		try := func(what string, version fstest.MapFS) {
			t.Helper()
			next := compileAfter(reg, version, values, last)
			anew := whole
			if what != "" {
				anew = compileAfter(reg, version, values, nil).text
			}
			if next.text != anew {
				t.Errorf("%s, %s:\n--- with what was there before\n%s--- anew\n%s", filepath.Base(name), what, next.text, anew)
			}
			if next.plan != nil && last.plan != nil {
				for _, f := range next.plan.Flows {
					if old := last.plan.Flow(f.Name); old != nil && shares(f, old) {
						recalled++
					}
				}
			}
			last = next
		}
		try("", files)
		for i, one := range slices.Sorted(maps.Keys(files)) {
			version := maps.Clone(files)
			delete(version, one)
			try("without "+one, version)
			try("", files)
			if i%4 > 0 {
				continue
			}
			version = maps.Clone(files)
			version[one] = &fstest.MapFile{Data: append([]byte("\n"), files[one].Data...)} // everything is one line further down
			try("with "+one+" moved", version)
			try("", files)
		}
	}
	if recalled < 500 {
		t.Errorf("only %d flows were not compiled again", recalled)
	}
}

// shares says that one of two flows was made of the other: they have a source in common.
func shares(a, b *plan.Flow) bool {
	return len(a.Sources) > 0 && len(b.Sources) > 0 && a.Sources[0] == b.Sources[0]
}

// TestMemoOfTheSameResources compiles the same resources several times at once, as a reload does beside a run: nothing that they hold is changed.
func TestMemoOfTheSameResources(t *testing.T) {
	files := fstest.MapFS{"flows.yaml": {Data: []byte(twoFlows)}, "line.schema.json": {Data: []byte(`{"type":"object","properties":{"id":{"type":"string"},"quantity":{"type":"integer"}}}`)}}
	reg := registry()
	first := compileAfter(reg, files, nil, nil)
	if first.plan == nil {
		t.Fatal(first.text)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if again := compileAfter(reg, files, nil, first); again.text != first.text {
				t.Errorf("it is\n%s, and was\n%s", again.text, first.text)
			}
		})
		wg.Go(func() {
			p, found := compile.Compile(first.set, reg, compile.Options{})
			if p == nil {
				t.Error(found.Sorted())
			}
		})
	}
	wg.Wait()
}
