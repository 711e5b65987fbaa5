package flowtest_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/flowtest"
)

const stateful = head + `kind: Integration
metadata: { name: i }
spec: { store: {} }
---
` + head + `kind: Channel
metadata: { name: in }
spec: {}
---
` + head + `kind: Channel
metadata: { name: out }
spec: {}
---
`

const head = "apiVersion: penstock.dev/v1alpha1\n"

const twoMessages = `---
` + head + `kind: Test
metadata: { name: t }
spec:
  flow: f
  script:
    - send: { bodies: [ { id: a, size: 1 }, { id: b, size: 2 } ] }
  expect: [ { dead: true, count: 0 } ]
`

func flowOf(spec string) string { return head + "kind: Flow\nmetadata: { name: f }\nspec:\n" + spec }

func explored(t *testing.T, text string) *flowtest.Report {
	t.Helper()
	r, err := flowtest.Run(context.Background(), flowtest.Options{Paths: []string{"f.yaml"}, FS: fstest.MapFS{"f.yaml": {Data: []byte(text)}}, Registry: edition.Standard(), Crash: true, Cover: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMishapsAreHeldToTheDelivery(t *testing.T) {
	for name, c := range map[string]struct {
		text, delivery string
		twice, lost    []string
		skipped        bool
	}{
		"store to store": {stateful + flowOf("  from: { channel: in }\n  steps: [ { set: { body.x: 1 } } ]\n  to: { channel: out }\n") + twoMessages, "effectively-once", nil, nil, false},
		"a durable step": {stateful + flowOf("  from: { channel: in }\n  steps: [ { dedupe: { key: body.id }, name: d }, { aggregate: { by: body.id, complete: { size: 1 } }, name: g } ]\n  to: { channel: out }\n") + twoMessages, "effectively-once", nil, nil, false},
		"file to store":  {stateful + flowOf("  from: { file: { path: in.jsonl } }\n  steps: [ { aggregate: { by: \"'all'\", complete: { size: 2 } }, name: g } ]\n  to: { channel: out }\n") + twoMessages, "effectively-once", nil, nil, false},
		"a file":         {stateful + flowOf("  from: { channel: in }\n  to: { file: { path: out.jsonl } }\n") + twoMessages, "at-least-once", []string{"file out.jsonl"}, nil, false},
		"settled early":  {stateful + flowOf("  from: { channel: in }\n  delivery: at-most-once\n  to: { file: { path: out.jsonl } }\n") + twoMessages, "at-most-once", nil, []string{"file out.jsonl"}, false},
		"standard input": {flowOf("  from: { stdin: { format: { json: {} } } }\n  to: { file: { path: out.jsonl } }\n") + twoMessages, "at-most-once", nil, []string{"file out.jsonl"}, false},
		"crashes of its own": {stateful + flowOf("  from: { channel: in }\n  to: { channel: out }\n") +
			strings.Replace(twoMessages, "  expect", "    - crash: true\n    - start: true\n  expect", 1), "effectively-once", nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := explored(t, c.text)
			got := r.Cases[0]
			if !got.Passed {
				t.Fatalf("%+v", got.Failures)
			}
			cr := got.Crashes
			if cr.Delivery != c.delivery || !slices.Equal(cr.Twice, c.twice) || !slices.Equal(cr.Lost, c.lost) {
				t.Errorf("%+v", cr)
			}
			if (cr.Skipped != "") != c.skipped || !c.skipped && cr.Runs < 4 {
				t.Errorf("%+v", cr)
			}
		})
	}
}

func TestCoverage(t *testing.T) {
	r := explored(t, flowOf(`  from: { stdin: { format: { json: {} } } }
  steps:
    - filter: body.size > 0
    - choice:
        - when: body.size > 5
          steps: [ { set: { body.kind: "${body.size > 7 ? 'huge' : 'large'}" } } ]
        - otherwise: [ { set: { body.kind: "small" } } ]
    - { log: { message: "got ${body.id}" }, when: body.id == "zz" }
  to: { file: { path: out.jsonl } }
`)+twoMessages)
	if len(r.Coverage) != 1 {
		t.Fatalf("%+v", r.Coverage)
	}
	c := r.Coverage[0]
	if c.Branches != (flowtest.Share{Reached: 3, Total: 6}) || c.Steps != (flowtest.Share{Reached: 4, Total: 6}) || c.Expressions != (flowtest.Share{Reached: 3, Total: 5}) {
		t.Errorf("%+v", c)
	}
	var missed []string
	for _, m := range c.Missed {
		missed = append(missed, m.What+" "+m.Text+" "+m.Want)
	}
	if want := "branch body.size > 0 false"; !slices.Contains(missed, want) {
		t.Errorf("no %q in %q", want, missed)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cover f: steps", "never false: body.size > 0", "never evaluated: body.id", "may be lost: file out.jsonl"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
