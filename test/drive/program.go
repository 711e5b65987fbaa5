package drive

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Program is a penstock.Program that a test writes.
type Program func(f *penstock.Frame) penstock.Value

// Eval implements penstock.Program.
func (p Program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// Field is the Program of ${body.<name>}.
func Field(name string) Program {
	return func(f *penstock.Frame) penstock.Value {
		d := f.Msg.Body
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return penstock.ErrorValue(err)
		}
		return penstock.NodeValue(d, d.Field(0, name, nil)).Load(f.Arena)
	}
}

// Template makes the Template of a text with one ${body.x} in it, or with none.
func Template(source string) penstock.Template {
	before, rest, ok := strings.Cut(source, "${body.")
	if !ok {
		return penstock.Template{Source: source, Constant: true}
	}
	name, after, _ := strings.Cut(rest, "}")
	field := Field(name)
	if before == "" && after == "" {
		return penstock.Template{Source: source, Program: field}
	}
	return penstock.Template{Source: source, Program: Program(func(f *penstock.Frame) penstock.Value {
		v := field(f)
		if v.IsError() {
			return v
		}
		text, err := v.AppendText(nil)
		if err != nil {
			return penstock.ErrorValue(err)
		}
		return penstock.StringValue(before + string(text) + after)
	})}
}
