// Package exprbench measures one expression on one message of 300 bytes of JSON: Penstock's
// evaluator, and beside it what one would write with the standard library and cel-go.
package exprbench

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"cel.dev/cel-go/cel"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
)

// Source is the expression.
const Source = `body.amount > 100.0 && body.country in ["DE", "FR"]`

// Message is what it is evaluated on: 300 bytes, for which it is true.
const Message = `{"id":"536365","customer":14561,"country":"DE","amount":175.53,"currency":"EUR","ts":"2010-12-01T08:26:00Z",` +
	`"items":[{"sku":"26718","qty":22,"price":1.95},{"sku":"24211","qty":7,"price":3.95}],` +
	`"address":{"street":"Park Lane 43","city":"Dublin","zip":"40556"},"note":"mug small white hanging spotty heart"}`

// Penstock returns a function that parses the message and evaluates the expression, as the
// engine does for each message of a batch: with a document, a frame and an arena that are used again.
func Penstock() (func() (bool, error), error) {
	profile, err := expr.NewProfile(expr.Options{})
	if err != nil {
		return nil, err
	}
	var found diag.List
	sc := &scope.Scope{Roots: []scope.Root{{Name: "body", Source: scope.Body}}}
	compiled := profile.Expr(Source, penstock.Pos{}, sc, nil, &found)
	if compiled == nil {
		return nil, fmt.Errorf("exprbench: %s is refused: %+v", Source, found)
	}
	if !compiled.Fast {
		return nil, fmt.Errorf("exprbench: the fast evaluator does not take %s", Source)
	}
	doc, msg := new(jsonview.Doc), &penstock.Message{}
	msg.Body = doc
	frame := &penstock.Frame{Msg: msg, Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}, Arena: new(penstock.Arena)}
	source := []byte(Message)
	return func() (bool, error) {
		frame.Arena.Reset()
		doc.Reset(jsonview.JSON, source)
		v := compiled.Program.Eval(frame)
		if v.Kind() != penstock.KindBool {
			return false, fmt.Errorf("exprbench: not a boolean: %v", v)
		}
		return v.Bool(), nil
	}, nil
}

// Ordinary returns the same with encoding/json and cel-go.
func Ordinary() (func() (bool, error), error) {
	env, err := cel.NewEnv(cel.Variable("body", cel.DynType))
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(Source)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	source := []byte(Message)
	return func() (bool, error) {
		var body map[string]any
		if err := json.Unmarshal(source, &body); err != nil {
			return false, err
		}
		v, _, err := program.Eval(map[string]any{"body": body})
		if err != nil {
			return false, err
		}
		b, ok := v.Value().(bool)
		if !ok {
			return false, fmt.Errorf("exprbench: not a boolean: %v", v)
		}
		return b, nil
	}, nil
}

// Result is one measurement.
type Result struct {
	Name   string
	Per    time.Duration // of one message
	Allocs int64         // of one message
}

// Measure runs both in turn, rounds times, and returns all results in the order they were made.
func Measure(rounds int) ([]Result, error) {
	sides := []struct {
		name string
		make func() (func() (bool, error), error)
	}{{"penstock", Penstock}, {"encoding/json + cel-go", Ordinary}}
	var out []Result
	for range rounds {
		for _, s := range sides {
			eval, err := s.make()
			if err != nil {
				return out, err
			}
			if ok, err := eval(); err != nil || !ok {
				return out, fmt.Errorf("exprbench: %s gives %t, %w", s.name, ok, err)
			}
			r := testing.Benchmark(func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := eval(); err != nil {
						b.Fatal(err)
					}
				}
			})
			out = append(out, Result{s.name, time.Duration(float64(r.T) / float64(r.N)), r.AllocsPerOp()})
		}
	}
	return out, nil
}
