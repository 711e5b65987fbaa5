package script

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// Step is the leaf step of the verb. It compiles the module when it is bound to a run for the first time, and is then safe for
// concurrent use.
type Step struct {
	Module *Module
	// Mapping or Program is the input; where both are nil, it is the body.
	Mapping penstock.Mapping
	Program penstock.Program
	Into    step.Target

	once    sync.Once
	machine *machine
	err     error
}

var (
	_ penstock.Step = (*Step)(nil)
	_ step.Binder   = (*Step)(nil)
)

// Bind implements step.Binder: it makes the code ready, so that the first message does not wait for it.
func (s *Step) Bind(penstock.Env) penstock.Step {
	s.ready()
	return s
}

func (s *Step) ready() {
	s.once.Do(func() { s.machine, s.err = s.Module.compile() })
}

// Process implements penstock.Step.
func (s *Step) Process(ctx context.Context, b *penstock.Batch) error {
	if s.ready(); s.err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "script", Err: s.err}
	}
	for i, m := range b.Msgs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.one(ctx, b, m); err != nil {
			b.Fail(i, named(err))
		}
	}
	return nil
}

func named(err error) error {
	var e *penstock.Error
	if errors.As(err, &e) && e.Op == "" {
		return &penstock.Error{Code: e.Code, Op: "script", Path: e.Path, Hint: e.Hint, Err: e.Err}
	}
	return err
}

func (s *Step) one(ctx context.Context, b *penstock.Batch, m *penstock.Message) error {
	input, err := s.input(b, m)
	if err != nil {
		return err
	}
	arena := b.Arena()
	out, err := s.machine.call(ctx, arena.Tail(len(input)+256), input)
	if err != nil {
		return err
	}
	d := b.NewDoc()
	d.Reset(jsonview.JSON, arena.Keep(out))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Internal, Err: fmt.Errorf("its answer is no JSON: %w", err)}
	}
	if s.Into.Root == step.Body && len(s.Into.Steps) == 0 {
		m.Body = d
		return nil
	}
	return step.Assign(b, m, s.Into, penstock.NodeValue(d, 0))
}

// input is the JSON that the script gets.
func (s *Step) input(b *penstock.Batch, m *penstock.Message) ([]byte, error) {
	f := b.Frame(m)
	switch {
	case s.Mapping != nil:
		return s.Mapping.Append(nil, f)
	case s.Program != nil:
		v := s.Program.Eval(f)
		if v.IsError() {
			return nil, v.Err()
		}
		if v.IsAbsent() {
			return []byte("null"), nil
		}
		return v.AppendJSON(nil)
	}
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return nil, &penstock.Error{Code: penstock.CodeOf(err), Path: "body", Err: err}
	}
	return m.Body.AppendJSON(nil, 0), nil
}
