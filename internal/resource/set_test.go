package resource_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

const setFile = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec:
  select: { app: orders }
  params:
    drop: { default: ./data }
    limit: { type: decimal }
    count: { type: int, default: 3 }
    wait: { type: duration, default: 2d }
    fast: { type: bool, default: false }
    ratio: { type: double, default: 0.5 }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: orders, labels: { app: orders, tier: a } }
spec: { from: { channel: in }, steps: [] }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: other }
spec: { from: { channel: in }, steps: [] }
---
apiVersion: penstock.dev/v1alpha1
kind: Test
metadata: { name: of-orders }
spec: { flow: orders, script: [ { start: true } ], expect: [ { channel: in, count: 0 } ] }
---
apiVersion: penstock.dev/v1alpha1
kind: Test
metadata: { name: of-other }
spec: { flow: other, script: [ { send: { file: day.csv } } ], expect: [ { channel: in, count: 0 } ] }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: order }
spec: { jsonSchema: { file: schemas/order.json } }
`

func files(more ...string) fstest.MapFS {
	m := fstest.MapFS{
		"shop/a.yaml":             {Data: []byte(setFile)},
		"shop/schemas/order.json": {Data: []byte(`{"type": "object"}`)},
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = &fstest.MapFile{Data: []byte(more[i+1])}
	}
	return m
}

func TestSetSelectsByLabels(t *testing.T) {
	s, l := resource.Load(resource.Options{Paths: []string{"shop"}, FS: files(), Params: map[string]string{"limit": "10.50"}})
	if l.Len() > 0 {
		t.Fatal(l.Sorted())
	}
	names := func(k resource.Kind) string {
		var out []string
		for _, r := range s.Of(k) {
			out = append(out, r.Name())
		}
		return strings.Join(out, " ")
	}
	if got := names(resource.KindFlow); got != "orders" {
		t.Errorf("flows: %s", got)
	}
	if got := names(resource.KindTest); got != "of-orders" {
		t.Errorf("tests: %s", got)
	}
	if got := names(resource.KindSchema); got != "order" {
		t.Errorf("schemas: %s", got)
	}
	r, ok := s.Find(resource.KindSchema, "order")
	if !ok {
		t.Fatal("no schema")
	}
	path := r.Spec.(*resource.Schema).JSONSchema.Path
	if text, err := s.ReadFile(path); path != "shop/schemas/order.json" || err != nil || string(text) != `{"type": "object"}` {
		t.Errorf("%s: %s, %v", path, text, err)
	}
	other, _ := s.Find(resource.KindTest, "of-other")
	if p := other.Spec.(*resource.Test).Script[0].Send.Path; p != "shop/day.csv" {
		t.Errorf("the file of a test is %s", p)
	}
	if got := s.Suggest(resource.KindFlow, "ordres"); got != "did you mean `orders`?" {
		t.Error(got)
	}
	if got := s.Suggest(resource.KindChannel, "x"); !strings.Contains(got, "no Channel at all") {
		t.Error(got)
	}
}

func TestParams(t *testing.T) {
	for name, c := range map[string]struct {
		params   map[string]string
		files    []string
		optional bool
		want     string // of the values, in order
		finding  string
	}{
		"given":          {params: map[string]string{"limit": "10.50", "drop": "5"}, want: `"5" 10.50 3 172800s false 0.5`},
		"of a file":      {files: []string{"p.yaml", "limit: 1.5\ncount: 7\nfast: true\nwait: 1s\n"}, want: `"./data" 1.5 7 1s true 0.5`},
		"line beats":     {files: []string{"p.yaml", "limit: 1.5"}, params: map[string]string{"limit": "2"}, want: `"./data" 2 3 172800s false 0.5`},
		"missing":        {finding: "--param limit=…"},
		"missing is ok":  {optional: true, want: `"./data" - 3 172800s false 0.5`},
		"unknown":        {params: map[string]string{"limit": "1", "cuont": "2"}, finding: "--param cuont: error: there is no parameter `cuont` (did you mean `count`?)"},
		"bad int":        {params: map[string]string{"limit": "1", "count": "1.5"}, finding: "--param count: error: the parameter `count` is an int, and `1.5` is none"},
		"bad decimal":    {params: map[string]string{"limit": "x"}, finding: "is a decimal, and `x` is none"},
		"bad duration":   {params: map[string]string{"limit": "1", "wait": "5"}, finding: "has no unit"},
		"bad bool":       {params: map[string]string{"limit": "1", "fast": "yes"}, finding: "is a bool"},
		"infinite":       {params: map[string]string{"limit": "1", "ratio": "inf"}, finding: "is a double"},
		"file: unquoted": {files: []string{"p.yaml", "limit: 1\ndrop: 5"}, finding: "p.yaml:2:7: error: the parameter `drop` is a string, and this is a whole number (put it in quotes: \"5\")"},
		"file: list":     {files: []string{"p.yaml", "limit: [ 1 ]"}, optional: true, finding: "must be a single value"},
		"file: null":     {files: []string{"p.yaml", "limit: ~"}, finding: "this is nothing"},
		"file: no map":   {files: []string{"p.yaml", "- limit"}, optional: true, finding: "a file of parameters is one map"},
		"file: versions": {files: []string{"p.yaml", "limit: 1\ndrop: yes"}, finding: "is ambiguous"},
	} {
		t.Run(name, func(t *testing.T) {
			o := resource.Options{Paths: []string{"shop"}, FS: files(c.files...), Params: c.params, ParamsOptional: c.optional}
			for i := 0; i < len(c.files); i += 2 {
				o.ParamFiles = append(o.ParamFiles, c.files[i])
			}
			s, l := resource.Load(o)
			if c.finding != "" {
				if l.Len() != 1 || !strings.Contains(lines(l), c.finding) {
					t.Errorf("want one finding with %q, got\n%s", c.finding, lines(l))
				}
				return
			}
			var got []string
			for _, p := range s.Params {
				text, _ := p.Value.AppendJSON(nil)
				switch {
				case p.Value.IsAbsent():
					text = []byte("-")
				case p.Type == "duration":
					text = fmt.Appendf(nil, "%gs", p.Value.Duration().Seconds())
				}
				got = append(got, string(text))
			}
			if l.Len() > 0 || strings.Join(got, " ") != c.want {
				t.Errorf("%v, %s", got, lines(l))
			}
		})
	}
}

func TestParamsWithOverridesOfATest(t *testing.T) {
	s, _ := resource.Load(resource.Options{Paths: []string{"shop"}, FS: files(), ParamsOptional: true})
	l := &diag.List{}
	over := resource.ParseYAML("t.yaml", []byte("limit: 2.5\nfsat: true"), l)[0]
	given := map[string]*resource.Node{}
	for _, e := range over.Entries {
		given[e.Key] = e.Value
	}
	values := s.ParamsWith(given, l)
	if !values[1].Given || values[0].Given || l.Len() != 1 || !strings.HasPrefix(lines(l), "t.yaml:2:7: error: there is no parameter `fsat`") {
		t.Error(values, lines(l))
	}
}

func TestLoadChoosesTheIntegration(t *testing.T) {
	more := []string{"shop/b.yaml", "apiVersion: penstock.dev/v1alpha1\nkind: Integration\nmetadata: { name: all }\n"}
	s, l := resource.Load(resource.Options{Paths: []string{"shop"}, FS: files(more...), Integration: "all"})
	if l.Len() > 0 || len(s.Of(resource.KindFlow)) != 2 || s.Integration() == nil {
		t.Error(lines(l))
	}
	if _, l := resource.Load(resource.Options{Paths: []string{"shop"}, FS: files(more...)}); !strings.Contains(lines(l), "there are several integrations: shop, all") {
		t.Error(lines(l))
	}
	if _, l := resource.Load(resource.Options{Paths: []string{"shop"}, FS: files(more...), Integration: "al"}); !strings.Contains(lines(l), "did you mean `all`?") {
		t.Error(lines(l))
	}
	if s := (&resource.Set{}); s.Integration() != nil || len(s.Of(resource.KindFlow)) != 0 {
		t.Error("an empty set holds something")
	}
}

func TestLoadFromTheMachine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	channel := func(name string) string {
		return "apiVersion: penstock.dev/v1alpha1\nkind: Channel\nmetadata: { name: " + name + " }\nspec: { durable: false }\n"
	}
	write("b/z.yml", channel("z"))
	write("a.yaml", channel("a"))
	write("b/a.yaml", channel("b"))
	write(".git/x.yaml", channel("hidden"))
	write("b/testdata/x.yaml", channel("testdata"))
	write("notes.txt", "x")
	s, l := resource.Load(resource.Options{Paths: []string{dir, filepath.Join(dir, "a.yaml")}})
	if got := strings.Join(s.Names(resource.KindChannel), " "); got != "a b z" || l.Len() > 0 {
		t.Error(got, lines(l))
	}
	// A file that is named is read whatever it is called; one in a folder is only read if it is a resource.
	_, l = resource.Load(resource.Options{Paths: []string{filepath.Join(dir, "notes.txt"), filepath.Join(dir, "none")}})
	text := lines(l)
	if l.Len() != 2 || !strings.Contains(text, "a map with apiVersion") || !strings.Contains(text, "can't be read: no such file") {
		t.Error(text)
	}
}

// A file of a folder that is no resource is passed over, with whatever is wrong in it.
func TestOtherPeoplesFiles(t *testing.T) {
	for name, text := range map[string]string{
		"kustomization": "resources: [ a.yaml ]\non: yes\n",
		"other group":   "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: x }\nspec: {}\n",
		"helm":          "{{ if .Values.x }}\na: b\n{{ end }}\n",
		"values":        "image: x\nspec: { a: b }\n",
		"list":          "- a\n- b\n",
		"binary":        "\xff\xfe\x00",
		"workflow":      "name: ci\non: [ push ]\njobs: {}\n",
		"other kind":    "kind: Deployment\nmetadata: {}\nspec: {}\n",
	} {
		_, l := resource.Load(resource.Options{Paths: []string{"."}, FS: fstest.MapFS{"x.yaml": {Data: []byte(text)}}})
		if l.Len() > 0 {
			t.Errorf("%s in a folder: %s", name, lines(l))
		}
		_, l = resource.Load(resource.Options{Paths: []string{"x.yaml"}, FS: fstest.MapFS{"x.yaml": {Data: []byte(text)}}})
		if !l.HasErrors() {
			t.Errorf("%s by name: no error", name)
		}
	}
	for name, text := range map[string]string{
		"misspelt group": "apiVersion: penstok.dev/v1alpha1\nkind: Flow\n",
		"no version":     "kind: Flow\nmetadata: { name: x }\nspec: {}\n",
		"later kind":     "kind: Saga\nmetadata: { name: x }\nspec: {}\n",
		"broken":         "apiVersion: penstock.dev/v1alpha1\nkind: Flow\n  x: y: z\n",
	} {
		_, l := resource.Load(resource.Options{Paths: []string{"."}, FS: fstest.MapFS{"x.yaml": {Data: []byte(text)}}})
		if !l.HasErrors() {
			t.Errorf("%s in a folder: passed over", name)
		}
	}
}

func BenchmarkLoad500Flows(b *testing.B) {
	flow := goodText(b)
	_, flow, _ = strings.Cut(flow, "name: orders, labels: { app: orders } }\n")
	flow, _, _ = strings.Cut(flow, "---\n")
	m := fstest.MapFS{}
	for i := range 500 {
		m[fmt.Sprintf("f%d.yaml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: f%d }\n%s", i, flow)}
	}
	for b.Loop() {
		if s, l := resource.Load(resource.Options{Paths: []string{"."}, FS: m}); l.Len() > 0 || len(s.Resources) != 500 {
			b.Fatal(lines(l))
		}
	}
}

type someConfig struct {
	Path penstock.Template `json:"path" penstock:"required"`
}

func TestLoadWithARegistry(t *testing.T) {
	r := penstock.NewRegistry()
	for _, name := range []string{"file", "http"} { // http is a word of a later version, unless the binary has it
		penstock.RegisterSink(r, penstock.Spec{Name: name}, func(someConfig, penstock.Env) (penstock.Sink, error) { return nil, nil })
	}
	penstock.RegisterCodec(r, penstock.Spec{Name: "csv"}, func(struct {
		Separator string `json:"separator"`
	}, penstock.CodecOptions) (penstock.Codec, error) {
		return nil, nil
	})
	head := "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: a }\nspec:\n  from: { channel: in }\n  steps:\n"
	for _, c := range []struct{ step, want string }{
		{"to: { http: { path: x } }", ""},
		{"to: { kafka: {} }", "`kafka` is part of the language but not supported"},
		{"to: { flie: {} }", "did you mean `file`?"},
		{"to: { zzz: {} }", "there are file, http, channel"},
		{"to: { file: {}, wiat: false }", "unknown field `wiat` beside a connector (did you mean `wait`?)"},
		{"decode: { format: { csv: { separator: x } } }", ""},
		{"decode: { format: { csv: { separatr: x } } }", "did you mean `separator`?"},
		{"decode: { format: { scv: {} } }", "this program has no codec called `scv` (did you mean `csv`?)"},
	} {
		_, l := resource.Load(resource.Options{Paths: []string{"a.yaml"}, Registry: r, FS: fstest.MapFS{"a.yaml": {Data: []byte(head + "    - " + c.step + "\n")}}})
		if c.want == "" && l.Len() > 0 || c.want != "" && (l.Len() != 1 || !strings.Contains(lines(l), c.want)) {
			t.Errorf("%s: want %q, got %s", c.step, c.want, lines(l))
		}
	}
}
