package observe_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// ingest is a pipeline of Elasticsearch, as far as examples have its processors.
type ingest struct {
	Processors []map[string]processor `json:"processors"`
	OnFailure  []map[string]processor `json:"on_failure"`
}

type processor struct {
	Field         string   `json:"field"`
	TargetField   string   `json:"target_field"`
	Formats       []string `json:"formats"`
	IgnoreMissing bool     `json:"ignore_missing"`
	If            string   `json:"if"`
	Value         any      `json:"value"`
}

func ingestPipeline(t *testing.T, text string) *ingest {
	t.Helper()
	p := &ingest{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	if len(p.OnFailure) == 0 {
		t.Error("what fails is lost")
	}
	return p
}

// run does what Elasticsearch does with a document.
func (p *ingest) run(t *testing.T, doc map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	doc = map[string]any{}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, one := range p.Processors {
		for kind, c := range one {
			if path, ok := strings.CutPrefix(c.If, "ctx."); ok {
				path, ok = strings.CutSuffix(path, " != null")
				if !ok {
					t.Fatalf("the condition %q is not known here", c.If)
				}
				if at(doc, strings.ReplaceAll(path, "?", "")) == nil {
					continue
				}
			}
			v := at(doc, c.Field)
			if v == nil && kind != "set" {
				if !c.IgnoreMissing {
					t.Fatalf("%s of %s, which is not there", kind, c.Field)
				}
				continue
			}
			switch kind {
			case "date":
				put(doc, c.TargetField, v)
			case "rename":
				if at(doc, c.TargetField) != nil {
					t.Fatalf("%s is renamed to %s, which is there", c.Field, c.TargetField)
				}
				put(doc, c.Field, nil)
				put(doc, c.TargetField, v)
			case "remove":
				put(doc, c.Field, nil)
			case "lowercase":
				s, _ := v.(string)
				put(doc, c.Field, strings.ToLower(s))
			case "set":
				put(doc, c.Field, c.Value)
			default:
				t.Fatalf("the processor %s is not known here", kind)
			}
		}
	}
	return doc
}

// at is the value at a path; nil if nothing is there.
func at(doc map[string]any, path string) any {
	var v any = doc
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// put puts a value at a path; nil takes it away.
func put(doc map[string]any, path string, v any) {
	parts := strings.Split(path, ".")
	for _, name := range parts[:len(parts)-1] {
		next, ok := doc[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			doc[name] = next
		}
		doc = next
	}
	last := parts[len(parts)-1]
	if v == nil {
		delete(doc, last)
	} else {
		doc[last] = v
	}
}
