package fast_test

import (
	"testing"

	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/jsonview"
)

// line is 300 bytes of JSON as the speed table of the project has it.
const line = `{"id":"0198c7f2-1d3c-7a55-9d0e-0a1b2c3d4e5f","customer":"customer-004711","country":"DE","amount":149.95,"currency":"EUR","items":3,` +
	`"paid":true,"created":"2024-05-06T07:08:09Z","channel":"web","address":{"street":"Hauptstr. 12","zip":"50667","city":"Koeln"},"note":"deliver in the morning"}`

func BenchmarkFilter(b *testing.B) {
	env := newEnv(b)
	for name, t := range schemas() {
		b.Run(name, func(b *testing.B) {
			p := compile(b, env, `body.amount > 100.0 && body.country in ["DE", "FR"]`, t)
			f := newFrame(line)
			src := []byte(line)
			b.ReportAllocs()
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				f.Msg.Body.Reset(jsonview.JSON, src)
				if !p.Eval(f).Bool() {
					b.Fatal("false")
				}
			}
		})
	}
}

func BenchmarkMapping(b *testing.B) {
	env := newEnv(b)
	for name, t := range schemas() {
		b.Run(name, func(b *testing.B) {
			leaf := func(src string) *fast.Node {
				return &fast.Node{Kind: fast.Leaf, Program: compile(b, env, src, t)}
			}
			m := fast.NewMapping(&fast.Node{Kind: fast.Object, Keys: []string{"id", "country", "total", "label"}, Elems: []*fast.Node{
				leaf("body.id"), leaf("body.country"), leaf("body.amount * 1.19"),
				{Kind: fast.Leaf, Program: fast.NewTemplate(fast.Part{Text: "order "}, fast.Part{Program: compile(b, env, "body.id", t)},
					fast.Part{Text: " from "}, fast.Part{Program: compile(b, env, "body.country", t)})},
			}})
			f := newFrame(line)
			if err := f.Msg.Body.Parse(jsonview.Limits{}); err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				out, err := m.Append(dst[:0], f)
				if err != nil || len(out) < 50 {
					b.Fatal(err, len(out))
				}
				f.Arena.Reset()
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	d, src := new(jsonview.Doc), []byte(line)
	b.ReportAllocs()
	for b.Loop() {
		d.Reset(jsonview.JSON, src)
		if d.Parse(jsonview.Limits{}) != nil {
			b.Fatal()
		}
	}
}
