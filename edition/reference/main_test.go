package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/reference"
	"penstock.dev/penstock/internal/resource"
)

const root = "../.."

func standard(t *testing.T) *reference.Reference {
	t.Helper()
	c, err := reference.CollectComments(root)
	if err != nil {
		t.Fatal(err)
	}
	return reference.New(c, edition.Standard())
}

func TestNoFieldOfADriverWithoutComment(t *testing.T) {
	if missing := standard(t).Uncommented(); len(missing) > 0 {
		t.Errorf("these have no comment: %s", strings.Join(missing, ", "))
	}
}

// The examples are right by the JSON Schema, too: an editor that checks with it has nothing to say.
func TestExamplesHoldToTheSchema(t *testing.T) {
	text, err := standard(t).JSONSchema()
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
	schema, err := c.Compile(reference.SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	err = filepath.WalkDir(filepath.Join(root, "examples"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" || strings.Contains(path, "testdata") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		l := &diag.List{}
		for _, n := range resource.ParseYAML(path, src, l) {
			if v := n.Get("apiVersion"); v == nil || v.Text != resource.APIVersion {
				continue
			}
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(n.JSON()))
			if err != nil {
				return err
			}
			if strings.Contains(path, "overlays") {
				v = withoutNulls(v) // a patch takes away by null
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: %v", n.Pos, err)
			}
			checked++
		}
		if l.Len() > 0 {
			t.Error(l.Sorted())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked == 0 {
		t.Error("no example was found")
	}
}

// What the verbs' pages show can be written as it stands, drivers' fields included.
func TestExamplesOfVerbsAreWholeFlows(t *testing.T) {
	registry := edition.Standard()
	for _, v := range resource.Verbs() {
		l := &diag.List{}
		d := &resource.Decoder{Diags: l, Registry: registry}
		for _, n := range resource.ParseYAML(v.Name+".yaml", []byte(v.Example), l) {
			var steps []resource.Step
			d.Decode(n, &steps)
			for i := range steps {
				drivers(d, registry, &steps[i])
			}
		}
		if l.Len() > 0 {
			t.Errorf("%s: %v", v.Name, l.Sorted())
		}
	}
}

// drivers decodes the configurations of the drivers in a step and those below it.
func drivers(d *resource.Decoder, r *penstock.Registry, s *resource.Step) {
	all := func(steps []resource.Step) {
		for i := range steps {
			drivers(d, r, &steps[i])
		}
	}
	one := func(kind string, t *resource.Target) {
		if t.Config != nil {
			d.DecodeConfig(r, kind, t.Connector, t.ConnectorPos, t.Config)
		}
	}
	switch v := s.Verb.(type) {
	case *resource.Call:
		one(penstock.KindOfCaller, &v.Target)
	case *resource.Send:
		one(penstock.KindOfSink, &v.Target)
	case *resource.Choice:
		for i := range v.Branches {
			all(v.Branches[i].Steps)
			all(v.Branches[i].Otherwise)
		}
	case *resource.Try:
		all(v.Steps)
		all(v.Catch)
	case *resource.ForEach:
		all(v.Steps)
	case *resource.Loop:
		all(v.Steps)
	case *resource.Parallel:
		for _, b := range v.Branches.Entries {
			all(b.Value)
		}
	}
}

// withoutNulls leaves out the members of objects that are null.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
				continue
			}
			v[k] = withoutNulls(x)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}
