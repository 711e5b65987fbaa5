package cli_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

const devFlow = `apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: person }
spec:
  jsonSchema:
    type: object
    additionalProperties: true
    properties:
      name: { type: string, x-class: pii }
      age: { type: integer }
    required: [ name, age ]
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: people }
spec:
  from: { file: { path: in.jsonl, format: { json: {} } }, schema: person }
  steps:
    - fail: { code: unprocessable, message: nobody is that old }
      name: check
      when: body.age > 150
    - map: { age: "${body.age}", name: "${body.name}" }
  to: { file: { path: out.jsonl, format: { json: {} } } }
`

// TestDev follows somebody who writes a flow: wrong at first, then right, then with a message that fails.
func TestDev(t *testing.T) {
	here(t, strings.Replace(devFlow, "map:", "mop:", 1))
	if err := os.WriteFile("in.jsonl", []byte("{\"name\":\"Ada\",\"age\":36}\n{\"name\":\"Methuselah\",\"age\":969}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop, code := make(chan os.Signal), make(chan int, 1)
	out, log := watch(""), watch("")
	p := program(strings.NewReader(""), out, log)
	p.Signals = func() (<-chan os.Signal, func()) { return stop, func() {} }
	go func() { code <- p.Run([]string{"dev"}) }()
	log.wait("did you mean `map`?")
	log.wait("nothing runs; the next save is waited for")
	write(t, devFlow)
	log.wait("running people")
	for _, want := range []string{
		"flow.yaml:19:7: error: people/check: message in.jsonl:2 was dead-lettered: fail: nobody is that old [unprocessable]",
		"   19 |     - fail: { code: unprocessable", `message: {"name":"[pii]","age":969} (penstock samples 'people#2')`, "sample people#1: message in.jsonl:1, done",
	} {
		log.wait(want)
	}
	write(t, strings.Replace(devFlow, "body.age > 150", "body.age >", 1))
	log.wait("what runs goes on as it was")
	write(t, devFlow)
	log.wait("reloaded: nothing has changed for the flows that run")
	write(t, strings.Replace(devFlow, "body.age > 150", "body.age > 1000", 1))
	for _, want := range []string{"step check: when body.age > 150 → body.age > 1000", "note: people: it had ended, and begins anew", "sample people#4: message in.jsonl:2, done"} {
		log.wait(want)
	}
	wanted := "{\"age\":36,\"name\":\"Ada\"}\n{\"age\":969,\"name\":\"Methuselah\"}\n"
	for {
		if text, err := os.ReadFile("out.jsonl"); err == nil && string(text) == wanted { // replaced, since the flow began anew
			break
		}
	}
	// A flow that keeps state can't begin to do so while it runs.
	write(t, strings.Replace(devFlow, "    - map:", "    - dedupe: { key: body.age, window: 1h }\n      name: once\n    - map:", 1))
	log.wait("everything is started anew")
	log.wait("sample people#5: message in.jsonl@")
	stop <- os.Interrupt
	if c := <-code; c != 0 {
		t.Errorf("dev ended with %d:\n%s", c, log)
	}
	if got := command(t, 0, "samples"); !strings.Contains(got, "people#1") || !strings.Contains(got, `{"name":"[pii]","age":36}`) || strings.Contains(got, "Ada") {
		t.Error(got)
	}
	got := command(t, 0, "samples", "people#2")
	for _, want := range []string{"people#2: message in.jsonl:2 of flow people", `came in as {"name":"[pii]","age":969}`, "→ check", "dead at check", "error: fail: nobody is that old"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not said in\n%s", want, got)
		}
	}
	if got := command(t, 0, "samples", "people#1", "-o", "json"); !json.Valid([]byte(got)) || strings.Contains(got, "Ada") {
		t.Error(got)
	}
	// What was seen becomes a test.
	command(t, 0, "test", "--from", "people#2", "-w", "people.test.yaml")
	if got := command(t, 0, "test"); !strings.Contains(got, "ok    people-2 (people)") {
		t.Error(got)
	}
	if got := command(t, 1, "samples", "people#99"); !strings.Contains(got, "there is no such sample") {
		t.Error(got)
	}
}

func TestDevInJSON(t *testing.T) {
	here(t, "not: [yaml\napiVersion: penstock.dev/v1alpha1\n")
	if err := os.WriteFile("in.jsonl", []byte("{\"name\":\"Methuselah\",\"age\":969}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop, code := make(chan os.Signal), make(chan int, 1)
	out := watch("")
	p := program(strings.NewReader(""), out, watch(""))
	p.Signals = func() (<-chan os.Signal, func()) { return stop, func() {} }
	go func() { code <- p.Run([]string{"dev", "-o", "json"}) }()
	out.wait(`"type":"broken"`)
	write(t, devFlow)
	out.wait(`"type":"started"`)
	out.wait(`"type":"problem"`)
	out.wait(`"sample":"people#1"`)
	stop <- os.Interrupt
	if c := <-code; c != 0 {
		t.Errorf("dev ended with %d:\n%s", c, out)
	}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}
