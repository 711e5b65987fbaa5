package compile_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/resource"
)

const benchFlow = `---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: out%[1]d }
spec: { durable: false }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: write%[1]d }
spec:
  from: { file: { path: in/%[1]d.json, format: { json: {} } }, schema: order }
  key: body.id
  steps:
    - filter: body.total > 10 && body.lines.size() > 0
    - set: { vars.name: "${body.buyer.name}", body.net: "${body.total / decimal('1.19')}" }
    - call: { file: { path: ref.csv, value: '${vars.name}' } }
      into: vars.country
    - map:
        id: "${body.id}"
        country: "${vars.?country.code.orValue('?')}"
        net: "${body.net}"
        lines: "${body.lines.map(l, {'sku': l.sku, 'sum': l.price * decimal(l.quantity)})}"
    - choice:
        - when: body.net > 1000
          steps: [ { log: { message: "large: ${body.id} ${body.net}" } } ]
        - otherwise: [ { set: { body.small: true } } ]
  to: { channel: out%[1]d }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: read%[1]d }
spec:
  from: { channel: out%[1]d }
  steps:
    - aggregate: { by: body.country, complete: { size: 100, atEnd: true } }
      name: countries
    - map: { country: "${key}", net: "${body.map(o, o.net).sum()}", count: "${body.size()}" }
  to: { drop: {} }
`

// flows makes a configuration of n flows.
func flows(n int) fstest.MapFS {
	var b strings.Builder
	b.WriteString(`apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: order }
spec:
  jsonSchema:
    type: object
    required: [id, buyer, total, lines]
    properties:
      id: { type: string }
      buyer: { type: object, required: [name], properties: { name: { type: string } } }
      total: { type: number, format: decimal }
      lines:
        type: array
        items: { type: object, required: [sku, quantity, price], properties: { sku: { type: string }, quantity: { type: integer }, price: { type: number, format: decimal } } }
`)
	for i := range n / 2 {
		fmt.Fprintf(&b, benchFlow, i)
	}
	return fstest.MapFS{"main.yaml": &fstest.MapFile{Data: []byte(b.String())}}
}

// BenchmarkCompile500Flows is what `penstock check` does beside reading the files; loading is
// measured apart.
func BenchmarkCompile500Flows(b *testing.B) {
	reg := registry()
	set, found := resource.Load(resource.Options{FS: flows(500), Paths: []string{"."}, Registry: reg})
	if found.HasErrors() {
		b.Fatal(found.Sorted())
	}
	b.ResetTimer()
	for b.Loop() {
		p, l := compile.Compile(set, reg, compile.Options{})
		if p == nil || len(p.Flows) != 500 {
			b.Fatal(l.Sorted())
		}
	}
}

// BenchmarkLoad500Flows reads the same files.
func BenchmarkLoad500Flows(b *testing.B) {
	reg := registry()
	files := flows(500)
	for b.Loop() {
		resource.Load(resource.Options{FS: files, Paths: []string{"."}, Registry: reg})
	}
}
