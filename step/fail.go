package step

import (
	"context"
	"errors"

	"penstock.dev/penstock"
)

// Fail fails every message with a code and a message of the configuration.
type Fail struct {
	Code penstock.Code
	// Message computes the text; nil, and an empty text, is the code itself. A text that can't be computed doesn't hide the failure: the code
	// stays, and the text says why.
	Message penstock.Program
}

// Process marks each message.
func (s *Fail) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		e := &penstock.Error{Code: s.Code, Op: "fail", Err: errors.New(string(s.Code))}
		if s.Message != nil {
			switch text, err := text(s.Message.Eval(b.Frame(m))); {
			case err != nil:
				e.Err, e.Hint = err, "the step's message could not be computed"
			case text != "":
				e.Err = errors.New(text)
			}
		}
		b.Fail(i, e)
	}
	return nil
}

// text is v as free text, in memory of its own.
func text(v penstock.Value) (string, error) {
	v = unwrap(v)
	switch v.Kind() {
	case penstock.KindNull, penstock.KindAbsent:
		return "", nil
	case penstock.KindNode:
		d, _ := v.Node()
		if err := read(d); err != nil {
			return "", err
		}
		if v = v.Load(nil); v.Kind() == penstock.KindNull {
			return "", nil
		}
	}
	b, err := v.AppendText(nil)
	return string(b), err
}
