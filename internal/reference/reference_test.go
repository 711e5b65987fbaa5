package reference_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/reference"
	"penstock.dev/penstock/internal/resource"
)

// fileConfig stands for a connector's configuration.
type fileConfig struct {
	Path   penstock.Template `json:"path" penstock:"required"`
	Format penstock.Format   `json:"format"`
	Limits struct {
		Depth int `json:"depth" penstock:"default=512,min=1"`
	} `json:"limits"`
}

type codecConfig struct {
	Separator string          `json:"separator"`
	Password  penstock.Secret `json:"password"`
}

type connectionConfig struct {
	URL      string          `json:"url" penstock:"required"`
	Password penstock.Secret `json:"password"`
}

func registry() *penstock.Registry {
	r := penstock.NewRegistry()
	for _, name := range []string{"file", "generate"} {
		s := penstock.Spec{Name: name, Summary: "reads and writes files.", Finite: true, Settle: penstock.Cumulative, Loses: "everything"}
		penstock.RegisterSource(r, s, func(fileConfig, penstock.Env) (penstock.Source, error) { return nil, nil })
		penstock.RegisterSink(r, s, func(fileConfig, penstock.Env) (penstock.Sink, error) { return nil, nil })
		penstock.RegisterCaller(r, s, func(fileConfig, penstock.Env) (penstock.Caller, error) { return nil, nil })
	}
	penstock.RegisterSink(r, penstock.Spec{Name: "stdout", Summary: "writes."}, func(struct{}, penstock.Env) (penstock.Sink, error) { return nil, nil })
	for _, name := range []string{"csv", "json"} {
		penstock.RegisterCodec(r, penstock.Spec{Name: name, Summary: "a codec."}, func(codecConfig, penstock.CodecOptions) (penstock.Codec, error) { return nil, nil })
	}
	penstock.RegisterConnection[connectionConfig](r, penstock.Spec{Name: "fake", Summary: "a technology."})
	return r
}

func newReference(t *testing.T) *reference.Reference {
	t.Helper()
	c, err := reference.EmbeddedComments()
	if err != nil {
		t.Fatal(err)
	}
	return reference.New(c, registry())
}

func TestCommentsAreUpToDate(t *testing.T) {
	fresh, err := reference.CollectComments("../..")
	if err != nil {
		t.Fatal(err)
	}
	have, err := reference.EmbeddedComments()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(fresh)
	b, _ := json.Marshal(have)
	if !bytes.Equal(a, b) {
		t.Error("comments.json differs from the comments in the code: run `make generate`")
	}
}

func TestNoFieldWithoutComment(t *testing.T) {
	fresh, err := reference.CollectComments("../..")
	if err != nil {
		t.Fatal(err)
	}
	if missing := reference.New(fresh, nil).Uncommented(); len(missing) > 0 {
		t.Errorf("these have no comment: %s", strings.Join(missing, ", "))
	}
	// And that the test can fail:
	got := reference.New(fresh, registry()).Uncommented()
	if want := "reference_test.fileConfig.Path"; !strings.Contains(strings.Join(got, " "), want) {
		t.Errorf("%s was not missed in %v", want, got)
	}
}

func TestPagesStateFiveThings(t *testing.T) {
	r := newReference(t)
	pages := r.Pages()
	if !maps.Equal(pages, r.Pages()) {
		t.Error("two renderings differ")
	}
	for _, v := range resource.Verbs() {
		page := pages["verbs/"+v.Name+".md"]
		for _, want := range []string{v.Ack, v.Order, v.Errors, v.State, v.Type, v.Example} {
			if want == "" || !strings.Contains(page, strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(want)) && !strings.Contains(page, want) {
				t.Errorf("the page of %s does not state %q", v.Name, want)
			}
		}
	}
	for _, name := range []string{"README.md", "errors.md", "patterns.md", "kinds/flow.md", "kinds/step.md", "connectors/file.md", "codecs/csv.md"} {
		if !reference.IsGenerated(pages[name]) {
			t.Errorf("no page %s", name)
		}
	}
	for name, text := range pages {
		for _, link := range strings.Split(text, "](")[1:] {
			target, _, _ := strings.Cut(link, ")")
			if strings.HasPrefix(target, "../../examples/") {
				if _, err := os.Stat(filepath.Join("../../docs/reference", target)); err != nil {
					t.Errorf("%s links to an example that is not there: %v", name, err)
				}
				continue
			}
			dir := name[:strings.LastIndexByte(name, '/')+1]
			path := dir + target
			for strings.Contains(path, "/../") {
				i := strings.Index(path, "/../")
				path = path[:strings.LastIndexByte(path[:i], '/')+1] + path[i+4:]
			}
			if _, ok := pages[path]; !ok && path != "schema.json" && !strings.Contains(target, "://") {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}

func TestExamplesOfVerbsDecode(t *testing.T) {
	for _, v := range resource.Verbs() {
		l := &diag.List{}
		for _, n := range resource.ParseYAML(v.Name, []byte(v.Example), l) {
			var steps []resource.Step
			resource.Decode(n, &steps, l)
			if len(steps) != 1 || steps[0].VerbName != v.Name {
				t.Errorf("%s: the example is %+v", v.Name, steps)
			}
		}
		if l.Len() > 0 {
			t.Errorf("%s: %v", v.Name, l.Sorted())
		}
	}
}

// documents are the resources of the golden cases of resource: the right ones.
func documents(t *testing.T) []*resource.Node {
	t.Helper()
	src, err := os.ReadFile("../resource/testdata/good.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(src), "-- orders.yaml --\n")
	body, _, _ = strings.Cut(body, "-- kustomization.yaml --\n")
	l := &diag.List{}
	nodes := resource.ParseYAML("orders.yaml", []byte(body), l)
	if l.Len() > 0 || len(nodes) < 6 {
		t.Fatal(l.Sorted())
	}
	return nodes
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := newReference(t).JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(reference.SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(reference.SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaTakesRightDocuments(t *testing.T) {
	s := compileSchema(t)
	for _, n := range documents(t) {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(n.JSON()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", n.Pos, err)
		}
	}
}

func TestSchemaRefusesWrongDocuments(t *testing.T) {
	s := compileSchema(t)
	for name, spec := range map[string]string{
		"unknown field":   `{"from": {"generate": {"path": "x"}}, "stpes": []}`,
		"two verbs":       `{"from": {"generate": {"path": "x"}}, "steps": [{"map": {}, "filter": "x"}]}`,
		"no verb":         `{"from": {"generate": {"path": "x"}}, "steps": [{"name": "x"}]}`,
		"unknown verb":    `{"from": {"generate": {"path": "x"}}, "steps": [{"fliter": "x"}]}`,
		"driver's field":  `{"from": {"generate": {"path": "x", "limits": {"dpeth": 1}}}}`,
		"driver's need":   `{"from": {"generate": {}}}`,
		"driver's bound":  `{"from": {"generate": {"path": "x", "limits": {"depth": 0}}}}`,
		"two connectors":  `{"from": {"generate": {"path": "x"}, "file": {"path": "x"}}}`,
		"wait in source":  `{"from": {"generate": {"path": "x"}, "wait": true}}`,
		"enum":            `{"from": {"channel": "x"}, "order": "totally"}`,
		"duration":        `{"from": {"channel": "x"}, "onError": {"retry": {"backoff": {"max": "5"}}}}`,
		"id in a sink":    `{"from": {"channel": "x"}, "to": {"channel": "y", "id": "body.id"}}`,
		"stateful verb":   `{"from": {"channel": "x"}, "steps": [{"dedupe": {"windw": "1h"}, "name": "a"}]}`,
		"name":            `{"from": {"channel": "x"}, "steps": [{"stop": {}, "name": "A-b"}]}`,
		"codec":           `{"from": {"file": {"path": "x", "format": {"xml": {}}}}}`,
		"literal secret":  `{"from": {"file": {"path": "x", "format": {"csv": {"password": "x"}}}}}`,
		"path":            `{"from": {"channel": "x"}, "steps": [{"remove": ["total"]}]}`,
		"wrong container": `{"from": {"channel": "x"}, "steps": {"stop": {}}}`,
	} {
		doc := `{"apiVersion": "penstock.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "a"}, "spec": ` + spec + `}`
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
		if err != nil {
			t.Fatal(name, err)
		}
		if s.Validate(v) == nil {
			t.Errorf("%s is not refused", name)
		}
	}
}

// Keys that YAML 1.1 reads as booleans or numbers can't be words of the language: kubectl would not find them.
func TestNoKeyIsAmbiguous(t *testing.T) {
	r := newReference(t)
	for _, word := range r.Topics() {
		topics, err := r.Explain(word)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range topics {
			for _, f := range topic.Fields {
				l := &diag.List{}
				resource.ParseYAML("key", []byte(f.Name+": x"), l)
				if l.Len() > 0 && f.Name != "(the value)" {
					t.Errorf("%s.%s: %v", word, f.Name, l.Sorted())
				}
			}
		}
	}
}

func TestExplain(t *testing.T) {
	r := newReference(t)
	for _, c := range []struct{ word, want string }{
		{"flow", "takes messages from a source"},
		{"Flow", "FIELDS"},
		{"flows", "takes messages from a source"},
		{"flow.order", "default total"},
		{"flow.spec.order", "<total | per-key | none>"},
		{"flow.onError.retry.backoff.jitter", "default 0.2"},
		{"flow.steps.aggregate.complete.idle", "without another message"},
		{"flow.from.file.path", "<template>"},
		{"flow.steps.choice.when", "<expression (CEL)>"},
		{"flow.steps.to.wait", "durable"},
		{"aggregate", "Acknowledgement:"},
		{"aggregate", "EXAMPLE"},
		{"file", "Loses: everything"},
		{"file", "CONNECTOR file Reading (from)."},
		{"file", "CONNECTOR file Writing (to)."},
		{"file.path", "Where: Writing (to)"},
		{"file.limits.depth", "default 512"},
		{"csv.separator", "<text>"},
		{"dedupe", "Acknowledgement: The message and what the step knows"},
		{"dedupe.window", "default 24h"},
		{"flow.steps.resequence.late", "conflict"},
		{"claimCheck.redeem", "meta.claim"},
		{"channel.retention.time", "default 7d"},
		{"integration.store.path", "default .penstock/store.db"},
		{"flow.from.id", "inbox"},
		{"timeout", "HTTP status: 504"},
		{"integration.params.type", "decimal"},
		{"test.script.send.file", "source's format"},
		{"metadata.name", "DNS label"},
		{"step.retry", "FIELDS"},
		{"policy", "Not supported by this version: auth"},
		{"fake.url", "required"},
	} {
		topics, err := r.Explain(c.word)
		if err != nil || len(topics) == 0 {
			t.Errorf("%s: %v", c.word, err)
			continue
		}
		all := ""
		for i := range topics {
			all += topics[i].Text(80)
		}
		if text := strings.Join(strings.Fields(all), " "); !strings.Contains(text, c.want) {
			t.Errorf("%s does not say %q:\n%s", c.word, c.want, all)
		}
	}
	for _, c := range []struct{ word, hint string }{
		{"flwo", "did you mean `flow`?"},
		{"flow.ordr", "did you mean `flow.order`?"},
		{"flow.steps.agregate", "did you mean `flow.steps.aggregate`?"},
		{"timeout.x", ""},
		{"saga", "part of the language but not supported"},
		{"Saga", "part of the language but not supported"},
		{"", "try flow"},
	} {
		_, err := r.Explain(c.word)
		if err == nil || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s: %v; want %q", c.word, err, c.hint)
		}
	}
	for _, word := range r.Topics() {
		topics, err := r.Explain(word)
		if err != nil {
			t.Errorf("%s: %v", word, err)
		}
		for _, topic := range topics {
			for line := range strings.Lines(topic.Text(60)) {
				if topic.Example == "" && len([]rune(line)) > 61 && len(strings.Fields(line)) > 6 && !strings.Contains(line, "<") {
					t.Errorf("%s: a line is too long: %q", word, line)
				}
			}
		}
	}
}
