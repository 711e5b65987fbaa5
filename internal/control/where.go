package control

import (
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/types"
)

// where compiles a condition over a dead letter: body, meta, key, now, and error, which is meta.dead with a count.
func (s *Service) where(expression string) (operate.Filter, error) {
	profile, err := expr.NewProfile(expr.Options{})
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "where", Err: err}
	}
	sc := &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: types.DynType},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		{Name: "error", Source: scope.Slot, Slot: 0, Type: types.DynType},
		{Name: "now", Source: scope.Now, Type: types.TimestampType},
	}}
	l := &diag.List{}
	prog := profile.Expr(expression, penstock.Pos{File: "--where", Line: 1, Col: 1}, sc, types.BoolType, l)
	var errs []error
	for _, d := range l.Sorted() {
		if d.Severity == diag.Error {
			errs = append(errs, &penstock.Error{Code: penstock.Invalid, Op: "--where", Err: errors.New(d.Message), Hint: d.Hint})
		}
	}
	if len(errs) > 0 || prog == nil {
		return nil, errors.Join(errs...)
	}
	rt := &penstock.Runtime{Clock: s.clock(), UUID: newUUID}
	b := &penstock.Batch{}
	return func(v record.View) (bool, error) {
		b.Reset()
		b.Runtime = rt
		m, err := v.Message(b, nil)
		if err != nil {
			return false, err
		}
		m.Vars = append(m.Vars[:0], run.ErrorOf(m))
		got := prog.Program.Eval(b.Frame(m))
		if got.Kind() == penstock.KindOptional {
			got = got.Optional()
		}
		if got = got.Load(b.Arena()); got.IsError() { // a field that this message lacks: it is not meant
			return false, nil
		}
		return got.Kind() == penstock.KindBool && got.Bool(), nil
	}, nil
}
