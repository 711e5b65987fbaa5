package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/script"
	"penstock.dev/penstock/types"
)

// lowerScript runs a WebAssembly module over each message.
func (b *builder) lowerScript(s *resource.Step, v *resource.Script) {
	step := &script.Step{Into: b.target(into(s))}
	if v.Wasm != nil && v.Memory >= 64<<10 { // else said when it was loaded
		if code := b.f.o.World.Neighbour(v.Wasm, "the module", b.diags()); code != nil {
			m, err := b.f.modules.load(code, v.Function, script.Limits{Memory: int64(v.Memory), Time: v.Timeout.Std()})
			if err != nil {
				b.diags().Errorf(v.Wasm.Pos, "bad-module", v.Wasm.File, "docs/script.md says what a module exports", "the module can't be used: %v", err)
			}
			step.Module = m
		}
	}
	if v.Input.Kind != penstock.TreeNone {
		in, _ := b.value(v.Input, b.state.sc)
		step.Mapping, step.Program = in.mapping, in.program
	}
	t := types.DynType
	if !v.Schema.IsZero() {
		if schema := b.f.o.World.Schema(v.Schema, b.diags()); schema != nil {
			t = schema.Type
		}
	}
	label := "module in place"
	if v.Wasm != nil && v.Wasm.File != "" {
		label = v.Wasm.File
	}
	if v.Function != "run" {
		label += " " + v.Function
	}
	b.leaf(s, step, label)
	b.state = b.put(b.state, into(s), t)
}

// modules are those that were checked: a step may be lowered more than once.
type modules map[moduleKey]moduleCheck

type moduleKey struct {
	sum      [32]byte
	function string
	limits   script.Limits
}

type moduleCheck struct {
	module *script.Module
	err    error
}

func (m *modules) load(code []byte, function string, l script.Limits) (*script.Module, error) {
	key := moduleKey{script.Sum(code), function, l}
	found, ok := (*m)[key]
	if !ok {
		found.module, found.err = script.Load(code, function, l)
		if *m == nil {
			*m = modules{}
		}
		(*m)[key] = found
	}
	return found.module, found.err
}
