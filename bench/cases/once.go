package cases

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
)

// ColdStart measures from the start of the process to the first message on standard output
// ([harness.Measurement.FirstLine]), with an input of one line.
func ColdStart(ctx context.Context, env Env, rounds int, say func(string)) ([]harness.Runs, error) {
	source := filepath.Join(env.Temp, "one.jsonl")
	if _, err := writeInput(source, benchdata.OrderLines, env.Seed, 1); err != nil {
		return nil, err
	}
	var sides []harness.Side
	add := func(name string, argv []string) {
		sides = append(sides, harness.Side{Name: name, Run: func(ctx context.Context) (harness.Measurement, error) {
			m, err := harness.Run(ctx, argv...)
			if err == nil && !strings.Contains(string(m.Stdout), `"id":"536365"`) {
				err = fmt.Errorf("the message did not arrive: %s", m.Stdout)
			}
			return m, err
		}})
	}
	if env.Penstock != "" {
		add("penstock", []string{env.Penstock, "run", filepath.Join(env.Flows, "cold-start"), "--param", "source=" + source})
	}
	if env.Peer != "" {
		argv, err := peerArgs(env, "cold-start.yaml", strings.NewReplacer("${SOURCE}", source))
		if err != nil {
			return nil, err
		}
		add("peer", argv)
	}
	return harness.Alternate(ctx, sides, rounds, true, say)
}

// Check measures `penstock check` of a folder with that many flows.
func Check(ctx context.Context, env Env, flows, rounds int, say func(string)) (harness.Runs, error) {
	folder := filepath.Join(env.Temp, "check")
	if err := WriteFlows(folder, flows); err != nil {
		return harness.Runs{}, err
	}
	runs, err := harness.Alternate(ctx, []harness.Side{{Name: "penstock check", Run: func(ctx context.Context) (harness.Measurement, error) {
		return harness.Run(ctx, env.Penstock, "check", folder)
	}}}, rounds, true, say)
	if err != nil {
		return harness.Runs{}, err
	}
	return runs[0], nil
}

// WriteFlows writes a sound configuration of n flows, ten to a file, every ten with a schema and
// a channel of their own that one flow fills and nine read: what `penstock check` has to
// prove is types through steps and across channels.
func WriteFlows(folder string, n int) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for from := 0; from < n; from += 10 {
		group := from / 10
		var b strings.Builder
		fmt.Fprintf(&b, checkHead, group, group, group, group, group, group, group)
		for i := from + 1; i < min(from+10, n); i++ {
			fmt.Fprintf(&b, checkFlow, i, group, i%7, i%5, i, i)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("group%d.yaml", group)), []byte(b.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

const checkHead = `apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: line-%d }
spec:
  jsonSchema:
    inline:
      type: object
      required: [id, country, amount, quantity]
      properties:
        id: { type: string }
        customer: { type: integer }
        country: { type: string }
        amount: { type: number, format: decimal }
        quantity: { type: integer }
        address:
          type: object
          properties: { city: { type: string }, zip: { type: string } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: lines-%d }
spec: { durable: false, schema: line-%d }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: feed-%d }
spec:
  from: { file: { path: "in-%d/*.csv", format: { csv: {} } }, schema: line-%d }
  steps:
    - filter: body.quantity != 0
  to: { channel: lines-%d }
`

const checkFlow = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: flow-%d }
spec:
  from: { channel: lines-%d }
  steps:
    - filter: body.quantity > %d && body.country in ["DE", "FR", "GB"]
    - set: { body.total: "${body.amount * body.quantity}", vars.city: "${body.?address.?city.orValue('?')}" }
    - choice:
        - when: body.total > decimal("%d00")
          steps: [ { set: { body.class: large } } ]
        - otherwise: [ { set: { body.class: small } } ]
    - map: { id: "${body.id}-%d", total: "${body.total}", class: "${body.class}", city: "${vars.city}" }
  to: { file: { path: "out-%d.jsonl", format: { json: {} } } }
`
