package flowtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/flowtest"
)

const draftFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: it }
spec: { params: { limit: { type: int }, name: { type: string, default: x } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: other }
spec: { remote: { url: nowhere } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: small }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: big }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: sort }
spec:
  sources:
    - stdin: {}
    - channel: small
  steps:
    - forEach:
        each: body.items
        as: item
        steps:
          - map: { item: "${item}", at: 1 }
          - call: { remote: { connection: other, get: "/${item}" } }
            name: price
      into: vars.prices
      when: body.items.size() > 0
    - choice:
        - when: body.items.size() > params.limit
          steps: [ { to: { channel: big } } ]
        - otherwise:
            - set: { body.by: "${meta.by}" }
            - to: { file: { path: "out/${body.id}.jsonl" } }
    - map: { id: "${body.id}", prices: "${vars.?prices.orValue([])}", when: "${now}", ref: "${uuid()}" }
  onError: { retry: { attempts: 1 } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: hello }
spec:
  from: { web: { post: "/hello/{name}/{rest...}" } }
  steps: [ { set: { body.name: "${request.path.name} ${request.path.rest} ${request.query.a}" } } ]
`

// TestDrafts holds tests that are made of messages to what they say; each was run before it was given out.
func TestDrafts(t *testing.T) {
	ok := func(step, asked, reply string) flowtest.SeenAnswer {
		return flowtest.SeenAnswer{Step: step, Asked: []byte(asked), Reply: []byte(reply)}
	}
	for name, c := range map[string]struct {
		draft flowtest.Draft
		want  []string // lines, in order
		not   []string
		notes []string
	}{
		"answers that differ by a field": {
			flowtest.Draft{Flow: "sort", Seen: []flowtest.Seen{{ID: "sort#1", Source: 1, Body: []byte(`{"id":"a","items":["x'y","z\\"]}`), Meta: []byte(`{"by":"me","traceparent":"00-1"}`), Answers: []flowtest.SeenAnswer{
				ok("price", `{"item":"x'y","at":1}`, `1.50`), ok("price", `{"item":"z\\","at":1}`, `{"n":null}`),
			}}}},
			[]string{
				"  params: { limit: 5 }",
				`    - { step: price, when: "body.item == 'x\\'y'", reply: 1.50 }`,
				`    - { step: price, when: "body.item == 'z\\\\'", reply: { "n": null } }`,
				`    - send: { meta: { by: me }, body: { id: a, items: [ "x'y", "z\\" ] } }`,
				"    - channel: big", "      count: 0",
				`    - file: "out/a.jsonl"`, `        - { id: a, items: [ "x'y", "z\\" ], by: me }`,
				"    - reply: true", `2000-01-01T00:00:00Z`,
				"    - dead: true", "      count: 0",
			}, []string{"traceparent"}, nil,
		},
		"the same answer to all, another source": {
			flowtest.Draft{Flow: "sort", Seen: []flowtest.Seen{{ID: "sort#1", Source: 2, Body: []byte(`{"id":"a","items":[1,2,3,4,5,6]}`), Answers: []flowtest.SeenAnswer{
				ok("price", `{"item":1}`, `7`), ok("price", `{"item":2}`, `7`),
			}}}},
			[]string{"    - { step: price, reply: 7 }", "    - send: { source: 2, body:", "    - channel: big", "      exactly:"}, []string{"when: \"body"}, nil,
		},
		"a failure, and what is dead": {
			flowtest.Draft{Flow: "sort", Seen: []flowtest.Seen{{ID: "sort#1", Source: 3, Failed: true, Step: "price", Code: penstock.Unavailable, Body: []byte(`{"id":"a","items":[1]}`), Answers: []flowtest.SeenAnswer{
				{Step: "price", Asked: []byte(`{"item":1}`), Code: penstock.Unavailable, Text: "down: ${x}"},
			}}}},
			[]string{`    - { step: price, fail: { code: unavailable, message: "down: {x}" } }`, "    - dead: true", `      when: "meta.dead.step == 'price' && meta.dead.code == 'unavailable'"`, "      exactly:"}, nil,
			[]string{"sort#1 came from source 3 of flow sort, which it no longer has; the first is taken"},
		},
		"answers that are not known, and that contradict": {
			flowtest.Draft{Flow: "sort", Seen: []flowtest.Seen{{ID: "sort#1", Meta: []byte(`{"by":1}`), Body: []byte(`{"id":"a","items":[1,2]}`), Answers: []flowtest.SeenAnswer{
				ok("price", `{"item":1}`, `7`), ok("price", `{"item":1}`, `8`), {Step: "price", Code: penstock.Cancelled, Text: "stopped"},
			}}}},
			[]string{"    - { step: price, reply: 8 }"}, nil,
			[]string{"step price was given different answers to the same message; its mock gives the last of them"},
		},
		"not seen": {
			flowtest.Draft{Flow: "sort", Seen: []flowtest.Seen{{ID: "sort#1", Meta: []byte(`{"by":1}`), Body: []byte(`{"id":"a","items":[1,2]}`)}}},
			[]string{"    - { step: price, reply: {} }"}, nil,
			[]string{"what step price is answered was not seen; its mock answers {}: write what it should be"},
		},
		"a request": {
			flowtest.Draft{Flow: "hello", Seen: []flowtest.Seen{{ID: "hello#1", Source: 1, Body: []byte(`{"b":1}`), Request: []byte(`{"method":"POST","path":{"name":"a/b c","rest":"d/e%"},"query":{"a":"1"},"header":{"user-agent":"x"}}`)}}},
			[]string{`    - send: { request: { method: POST, path: "/hello/a%2Fb%20c/d/e%25", query: { a: "1" }, body: { b: 1 } } }`, "    - reply: true", "      exactly:", `        - { b: 1, name: "a/b c d/e% 1" }`}, []string{"user-agent"}, nil,
		},
		"a request of which little is known fails": {
			flowtest.Draft{Flow: "hello", Seen: []flowtest.Seen{{ID: "hello#1", Source: 1, Body: []byte(`null`)}}},
			[]string{`    - send: { request: { method: POST, path: "/hello/x/x" } }`, "    - reply: true", "      status: 422"}, nil,
			[]string{"in the test a message fails (unprocessable), which it did not when it was seen"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(draftFlow), 0o644); err != nil {
				t.Fatal(err)
			}
			c.draft.Name = "made"
			o := flowtest.Options{Paths: []string{dir}, Registry: registry(), Params: map[string]string{"limit": "5"}}
			got, err := c.draft.Write(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			rest := got.Text
			for _, want := range c.want {
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("%q is not in, or not where it should be:\n%s", want, got.Text)
				}
				rest = rest[i+len(want):]
			}
			for _, not := range c.not {
				if strings.Contains(got.Text, not) {
					t.Errorf("%q is in\n%s", not, got.Text)
				}
			}
			if strings.Join(got.Notes, "\n") != strings.Join(c.notes, "\n") {
				t.Errorf("notes %q, want %q", got.Notes, c.notes)
			}
			// It stands for itself: without the parameters of the command line, and it finds a mistake.
			if err := os.WriteFile(filepath.Join(dir, "made.yaml"), []byte(got.Text), 0o644); err != nil {
				t.Fatal(err)
			}
			o.Params = nil
			report, err := flowtest.Run(context.Background(), o)
			if err != nil || !report.Passed() || len(report.Cases) != 1 {
				t.Fatalf("%v, %+v\n%s", err, report, got.Text)
			}
			if _, err = c.draft.Write(context.Background(), o); err == nil && strings.Contains(got.Text, "params:") {
				t.Error("a parameter without a value is not missed")
			}
		})
	}
}

func TestDraftsThatCanNotBe(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(draftFlow), 0o644); err != nil {
		t.Fatal(err)
	}
	o := flowtest.Options{Paths: []string{dir}, Registry: registry(), Params: map[string]string{"limit": "5"}}
	for name, c := range map[string]struct {
		draft flowtest.Draft
		code  penstock.Code
	}{
		"no flow":       {flowtest.Draft{Name: "a", Flow: "gone"}, penstock.NotFound},
		"no document":   {flowtest.Draft{Name: "a", Flow: "sort", Seen: []flowtest.Seen{{Body: []byte("{")}}}, penstock.Internal},
		"no answer":     {flowtest.Draft{Name: "a", Flow: "sort", Seen: []flowtest.Seen{{Body: []byte("{}"), Answers: []flowtest.SeenAnswer{{Step: "price", Reply: []byte("{")}}}}}, penstock.Internal},
		"nothing seen":  {flowtest.Draft{Name: "a", Flow: "sort"}, penstock.Internal},
		"a wrong world": {flowtest.Draft{Name: "a", Flow: "sort"}, penstock.Config},
	} {
		t.Run(name, func(t *testing.T) {
			o := o
			if c.code == penstock.Config {
				o.Params = map[string]string{"nosuch": "1"}
			}
			_, err := c.draft.Write(context.Background(), o)
			if penstock.CodeOf(err) != c.code {
				t.Errorf("%v: %s, want %s", err, penstock.CodeOf(err), c.code)
			}
			var invalid *flowtest.Invalid
			if c.code == penstock.Config && !errors.As(err, &invalid) {
				t.Error(err)
			}
		})
	}
}
