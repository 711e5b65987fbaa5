package compile_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

const twoFlows = `apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: orders }
spec:
  from: { file: { path: "${params.drop}/*.csv", format: { csv: {} } }, schema: line }
  key: body.id
  order: per-key
  steps:
    - filter: body.quantity > 0
    - aggregate: { by: body.id, complete: { idle: 2s } }
      name: lines
    - call: { http: { connection: countries, get: "/countries" } }
      name: country
      into: vars.country
    - choice:
        - when: size(body) > 3
          steps: [ { log: { message: "large" } } ]
    - map: { id: "${key}", country: "${vars.country}" }
  to: { channel: out }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: reader }
spec:
  from: { channel: out }
  to: { drop: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: out }
spec: { durable: false }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: countries }
spec: { http: { url: "https://ref.example.com" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: line }
spec: { jsonSchema: { file: line.schema.json } }
---
apiVersion: penstock.dev/v1alpha1
kind: Policy
metadata: { name: careful }
spec: { targets: [ { kind: Connection, name: countries } ], timeout: 2s }
---
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: all }
spec: { params: { drop: { default: ./in }, other: { default: x } } }
`

const lineSchema = `{"type":"object","properties":{"id":{"type":"string"},"quantity":{"type":"integer"}},"required":["id","quantity"]}`

func planOf(t *testing.T, text, schema string, params map[string]string) *plan.Plan {
	t.Helper()
	reg := registry()
	files := fstest.MapFS{"a.yaml": {Data: []byte(text)}, "line.schema.json": {Data: []byte(schema)}}
	set, found := resource.Load(resource.Options{FS: files, Paths: []string{"."}, Registry: reg, Params: params})
	p, more := compile.Compile(set, reg, compile.Options{})
	found.Merge(more)
	if p == nil || found.HasErrors() {
		t.Fatalf("%v", found.Sorted())
	}
	return p
}

// TestWhatAChangeOfTheTextChanges changes the text of two flows, and holds the differences to what they are to be.
func TestWhatAChangeOfTheTextChanges(t *testing.T) {
	before := planOf(t, twoFlows, lineSchema, nil)
	for _, tc := range []struct {
		name     string
		old, new string
		schema   string
		params   map[string]string
		want     string
		source   bool // the instance of the source goes on
	}{
		{name: "nothing", source: true},
		{name: "a comment", old: "kind: Connection", new: "kind: Connection # here", source: true},
		{name: "lines", old: "kind: Flow\nmetadata: { name: orders }", new: "\n\n\nkind: Flow\nmetadata:\n  name: orders", source: true},
		{name: "a description", old: "name: orders }", new: "name: orders, annotations: { a: b } }", source: true},
		{name: "a unit of time", old: "idle: 2s", new: "idle: 5s", want: "orders: step lines: complete.idle 2s → 5s", source: true},
		{name: "a condition", old: "quantity > 0", new: "quantity > 1", want: "orders: step filter1: body.quantity > 0 → body.quantity > 1", source: true},
		{name: "a step more", old: "    - map:", new: "    - filter: size(body) > 1\n    - map:", want: "orders: step filter2 added", source: true},
		{name: "a step less", old: "    - filter: body.quantity > 0\n", new: "", want: "orders: step filter1 removed", source: true},
		{name: "a nested step", old: "large", new: "huge", want: "orders: step log1: message large → huge", source: true},
		{name: "a name", old: "name: country\n", new: "name: land\n", want: "orders: step land added; step country removed", source: true},
		{name: "a common key", old: "      name: country\n", new: "      name: country\n      timeout: 3s\n", want: "orders: step country: timeout 3s added", source: true},
		{name: "another order of keys", old: `{ id: "${key}", country: "${vars.country}" }`, new: `{ country: "${vars.country}", id: "${key}" }`,
			want: "orders: step map1: has its keys in another order | reader: the type of what comes from channel out changed", source: true},
		{name: "the source", old: "*.csv", new: "*.txt", want: "orders: from.file.path ${params.drop}/*.csv → ${params.drop}/*.txt"},
		{name: "the flow's own", old: "order: per-key", new: "order: per-key\n  concurrency: 3", want: "orders: concurrency 3 added", source: true},
		{name: "the connection", old: "ref.example.com", new: "ref.example.org", want: "orders: Connection countries: http.url changed", source: true},
		{name: "a policy", old: "timeout: 2s", new: "timeout: 3s", want: "orders: Policy careful: timeout 2s → 3s", source: true},
		{name: "the schema", schema: strings.Replace(lineSchema, "integer", "number", 1), want: "orders: Schema line: content changed"},
		{name: "a parameter", params: map[string]string{"drop": "/other"}, want: "orders: param drop: ./in → /other"},
		{name: "a parameter that nobody reads", params: map[string]string{"other": "y"}, source: true},
		{name: "a channel in memory", old: "{ durable: false }", new: "{ durable: false, capacity: 5 }", want: "orders: Channel out: capacity 5 added | reader: Channel out: capacity 5 added", source: true},
		{name: "the type of what is sent", old: `country: "${vars.country}" }`, new: `country: "${vars.country}", m: "${1}" }`,
			want: "orders: step map1: m ${1} added | reader: the type of what comes from channel out changed", source: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text, schema := strings.Replace(twoFlows, tc.old, tc.new, 1), lineSchema
			if tc.old != "" && text == twoFlows {
				t.Fatal("the case changes nothing")
			}
			if tc.schema != "" {
				schema = tc.schema
			}
			after := planOf(t, text, schema, tc.params)
			d := plan.Diff(before, after)
			var got []string
			for _, c := range d.Changed {
				got = append(got, c.Flow+": "+strings.Join(c.What, "; "))
			}
			if s := strings.Join(got, " | "); s != tc.want {
				t.Errorf("got  %s\nwant %s", s, tc.want)
			}
			if same := before.Flows[0].Sources[0].Hash == after.Flows[0].Sources[0].Hash; same != tc.source {
				t.Errorf("the source goes on: %v", same)
			}
		})
	}
}

func TestFlowsThatComeAndGo(t *testing.T) {
	one := planOf(t, twoFlows, lineSchema, nil)
	other := planOf(t, strings.ReplaceAll(twoFlows, "name: reader", "name: other"), lineSchema, nil)
	d := plan.Diff(one, other)
	if got := fmt.Sprint(d.Added, d.Removed, d.Unchanged); got != "[other] [reader] [orders]" {
		t.Error(got)
	}
	if d.Empty() || !plan.Diff(one, planOf(t, twoFlows, lineSchema, nil)).Empty() {
		t.Error("Empty")
	}
}
