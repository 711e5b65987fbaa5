package control_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/schemaregistry"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// tills is an entity whose event Put has a schema and more, on a store at a path.
func tills(at, schema, more string) string {
	return strings.NewReplacer("$store", at, "$schema", schema, "$more", more).Replace(`apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec: { store: { path: "$store" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: money }
spec: { jsonSchema: $schema }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: till }
spec:
  state: { initial: { sum: 0 } }
  commands: { put: { emit: [ { event: Put } ] } }
  events: { Put: { schema: money, $more apply: { sum: "${int(state.sum) + int(body.amount)}" } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: act }
spec:
  from: { stdin: { format: { json: {} } } }
  steps: [ { command: { entity: till, name: put, key: "'a'" } }, { map: { version: "${body.version}" } } ]
  to: { stdout: { format: { json: {} } } }
`)
}

const (
	amountOnly = `{ type: object, required: [ amount ], properties: { amount: { type: integer } } }`
	amountNote = `{ type: object, required: [ amount ], properties: { amount: { type: integer }, note: { type: string } } }`
	amountOf   = `{ type: object, required: [ amount, currency ], properties: { amount: { type: integer }, currency: { type: string } } }`
	upcastOf   = `version: 2, upcast: [ { from: 1, map: { amount: "${body.amount}", currency: EUR } } ],`
)

// TestAChangedEventIsRefused changes the schema of an event whose kind is in the store: by a reload, before a start, and as `check --online` and `plan` look. What goes with
// what is there passes.
func TestAChangedEventIsRefused(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "store.db")
	const why = "events Put of entity till are in the store as version 1 with another schema: body.currency is required now, and was not there"
	s := &control.Service{Registry: edition.Standard()}
	look := func(text string) *control.Checked {
		t.Helper()
		c := s.Check(config(t, text), false)
		if !c.OK {
			t.Fatal(c.Findings)
		}
		if err := s.CheckHistory(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := look(tills(at, amountOf, "")); !c.OK { // there is no store, and none is made
		t.Error(c.Findings)
	}
	r := starts(t, dir, tills(at, amountOnly, ""))
	r.feed(`{"amount":1}` + "\n")
	r.reads(1)
	asked := func() { // the process that runs, too
		t.Helper()
		c := look(tills(at, amountOf, ""))
		if c.OK || c.Errors != 1 || len(c.Findings) != 1 || c.Findings[0].Code != "incompatible-schema" || c.Findings[0].Message != why || c.Findings[0].Pos.Line != 17 || !strings.Contains(c.Findings[0].Hint, "`version: 2`") {
			t.Errorf("%+v", c.Findings)
		}
		for _, good := range []string{tills(at, amountOnly, ""), tills(at, amountNote, ""), tills(at, amountOf, upcastOf)} {
			if c := look(good); !c.OK {
				t.Error(c.Findings)
			}
		}
	}
	_ = r.ops() // it listens
	asked()
	if got := r.becomes(tills(at, amountOf, "")); got.OK || got.Error != nil || got.Errors != 1 || len(got.Findings) != 1 || got.Findings[0].Message != why {
		t.Errorf("%+v", got)
	}
	r.feed(`{"amount":1}` + "\n") // it goes on as before
	r.reads(1)
	if got := r.becomes(tills(at, amountNote, "")); !got.OK {
		t.Errorf("%+v", got)
	}
	r.feed(`{"amount":1,"note":"x"}` + "\n")
	r.reads(1)
	if err := r.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-r.over; err != nil {
		t.Fatal(err)
	}
	asked()
	run := func(text, in string) (string, error) {
		t.Helper()
		var out strings.Builder
		_, err := s.Run(context.WithoutCancel(t.Context()), checkedOf(t, s, text), control.RunOptions{Stdin: strings.NewReader(in), Stdout: &out, DeadLetters: dir})
		return out.String(), err
	}
	if _, err := run(tills(at, amountOf, ""), `{"amount":1,"currency":"EUR"}`); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), why) {
		t.Errorf("%v", err)
	}
	if out, err := run(tills(at, amountOf, upcastOf), `{"amount":1,"currency":"EUR"}`); err != nil || out != `{"version":4}`+"\n" {
		t.Errorf("%q %v", out, err)
	}
}

func checkedOf(t *testing.T, s *control.Service, text string) *control.Checked {
	t.Helper()
	c := s.Check(config(t, text), false)
	if !c.OK {
		t.Fatal(c.Findings)
	}
	return c
}

// TestEventsAreHeldToTheirSubject has a flow write the events of an entity with a schema that a registry knows an older one of.
func TestEventsAreHeldToTheirSubject(t *testing.T) {
	server := service.NewRegistry(t)
	text := func(fields string) string {
		return strings.NewReplacer("$url", server.URL, "$fields", fields, "$store", filepath.Join(t.TempDir(), "store.db")).Replace(`apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec: { store: { path: "$store" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: registry }
spec: { schemaRegistry: { url: "$url" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: bus }
spec: { kafka: { brokers: ["127.0.0.1:9"] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: put }
spec: { avro: { type: record, name: Put, fields: [ $fields ] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: till }
spec:
  commands: { put: { schema: put, emit: [ { event: Put } ] } }
  events: { Put: { schema: put } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: out }
spec:
  from: { entity: till }
  to: { kafka: { connection: bus, topic: puts, format: { avro: { schema: put, registry: registry, subject: puts-value } } } }
`)
	}
	const amount = `{ name: amount, type: long }`
	client := &schemaregistry.Config{URL: server.URL, Timeout: penstock.Duration(5 * time.Second)}
	if _, err := client.ID(t.Context(), "puts-value", penstock.SchemaText{Language: penstock.Avro, Text: []byte(`{"type":"record","name":"Put","fields":[{"name":"amount","type":"long"}]}`)}, true); err != nil {
		t.Fatal(err)
	}
	s := &control.Service{Registry: edition.Standard()}
	for fields, want := range map[string]string{
		amount: "",
		amount + `, { name: note, type: string, default: "" }`: "",
		amount + `, { name: currency, type: string }`:          "the schema is not compatible with subject puts-value",
	} {
		c := checkedOf(t, s, text(fields))
		if err := s.CheckOnline(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		switch {
		case want == "" && !c.OK:
			t.Errorf("%s: %v", fields, c.Findings)
		case want != "" && (c.OK || len(c.Findings) != 1 || !strings.Contains(c.Findings[0].Message, want) || c.Findings[0].Pos.Line != 33):
			t.Errorf("%s: %+v", fields, c.Findings)
		}
	}
}
