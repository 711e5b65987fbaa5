// Package script runs WebAssembly modules for the verb script: JSON in, JSON out, with nothing around them. docs/script.md describes what
// a module exports.
//
// Each message gets an instance of its own, so that nothing of one message is seen by another; what is kept between them is compiled code and
// the memory, cleared. A module reaches no file, network, clock or chance: where it imports WASI, as compilers for
// Go and C want it, it gets the same clock and the same random numbers every time.
package script

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"penstock.dev/penstock"
)

// Limits bound what a script may take for one message.
type Limits struct {
	Memory int64         // bytes of its linear memory; whole pages of 64 Ki
	Time   time.Duration // by the machine's clock
}

const (
	page = 64 << 10
	// MaxModule is the largest module, in bytes.
	MaxModule = 16 << 20
	// wasi is the one module that may be imported.
	wasi = "wasi_snapshot_preview1"
	// initialize is what a module of a language with a runtime exports, to be called first.
	initialize = "_initialize"
	// allocate is the export that gives memory for the input.
	allocate = "alloc"
	// memory is the export of the linear memory.
	memory = "memory"
)

// Module is a module that was found to be a script. It is immutable and safe for concurrent use.
type Module struct {
	code     []byte
	function string
	limits   Limits
	starts   bool // exports _initialize
	wasi     bool
}

// Sum tells modules apart.
func Sum(code []byte) [sha256.Size]byte { return sha256.Sum256(code) }

// Load checks that code is a script whose function of this name can be called, within limits. It does not run it.
func Load(code []byte, function string, limits Limits) (*Module, error) {
	if len(code) > MaxModule {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(code), MaxModule)
	}
	code, err := boundTables(code)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features)) // which is ready sooner
	defer func() { _ = r.Close(ctx) }()
	m, err := r.CompileModule(ctx, code)
	if err != nil {
		return nil, cause(err)
	}
	s := &Module{code: code, function: function, limits: limits}
	var errs []error
	var strange []string
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		if s.wasi = s.wasi || module == wasi; module != wasi {
			strange = append(strange, module+"."+name)
		}
	}
	for _, f := range m.ImportedMemories() {
		module, name, _ := f.Import()
		strange = append(strange, module+"."+name)
	}
	if len(strange) > 0 {
		slices.Sort(strange)
		errs = append(errs, fmt.Errorf("it imports %s; a script may import %s only", strings.Join(slices.Compact(strange), ", "), wasi))
	}
	mem := m.ExportedMemories()[memory]
	switch {
	case mem == nil:
		errs = append(errs, fmt.Errorf("it exports no memory called `%s`", memory))
	case int64(mem.Min())*page > limits.Memory:
		errs = append(errs, fmt.Errorf("it begins with %d KiB of memory, and `memory` allows %d KiB", mem.Min()*page>>10, limits.Memory>>10))
	}
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	exports := m.ExportedFunctions()
	for _, f := range []struct {
		name         string
		takes, gives []api.ValueType
	}{{allocate, []api.ValueType{i32}, []api.ValueType{i32}}, {function, []api.ValueType{i32, i32}, []api.ValueType{i64}}} {
		errs = append(errs, s.exports(exports, f.name, f.takes, f.gives))
	}
	if f := exports[initialize]; f != nil {
		s.starts = true
		errs = append(errs, s.exports(exports, initialize, nil, nil))
	} else if exports["_start"] != nil {
		errs = append(errs, errors.New("it is a program (it exports `_start`), and a script is a library: a reactor"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// exports checks the signature of an export.
func (s *Module) exports(exports map[string]api.FunctionDefinition, name string, takes, gives []api.ValueType) error {
	want := signature(takes, gives)
	f := exports[name]
	if f == nil {
		var names []string
		for n := range exports {
			names = append(names, n)
		}
		slices.Sort(names)
		return fmt.Errorf("it exports no function `%s` %s; it exports %s", name, want, orNone(names))
	}
	if have := signature(f.ParamTypes(), f.ResultTypes()); have != want {
		return fmt.Errorf("its function `%s` is %s, and must be %s", name, have, want)
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func signature(takes, gives []api.ValueType) string {
	words := func(types []api.ValueType) string {
		var out []string
		for _, t := range types {
			out = append(out, api.ValueTypeName(t))
		}
		return strings.Join(out, ", ")
	}
	return "(" + words(takes) + ") -> (" + words(gives) + ")"
}

// features are those of WebAssembly 2.0: no threads, no exceptions.
const features = api.CoreFeaturesV2

// cause is err without what wazero puts before it.
func cause(err error) error {
	text := err.Error()
	if first, _, more := strings.Cut(text, "\n"); more {
		text = first
	}
	return errors.New(text)
}

func runtimeConfig(c wazero.RuntimeConfig, limits Limits) wazero.RuntimeConfig {
	return c.WithCoreFeatures(features).WithMemoryLimitPages(uint32(limits.Memory / page)).WithCloseOnContextDone(true) //nolint:gosec // at most 4 GiB
}

// machine is a module that was compiled for this machine. It is safe for concurrent use. Its memory goes with it: wazero frees the
// code that nobody refers to.
type machine struct {
	*Module
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	memories sync.Pool // []byte, all zero
	// running has room for as many scripts as there are processors: more would not be faster, and each may take a call stack, which no limit of
	// the runtime's makes smaller.
	running chan struct{}
}

func (s *Module) compile() (*machine, error) {
	ctx := context.Background()
	m := &machine{Module: s, running: make(chan struct{}, runtime.GOMAXPROCS(0)), runtime: wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfig(), s.limits))}
	if s.wasi {
		if _, err := wasi_snapshot_preview1.Instantiate(ctx, m.runtime); err != nil {
			return nil, err
		}
	}
	var err error
	if m.compiled, err = m.runtime.CompileModule(ctx, s.code); err != nil {
		return nil, err
	}
	return m, nil
}

// Allocate implements experimental.MemoryAllocator.
func (m *machine) Allocate(_, most uint64) experimental.LinearMemory {
	b, _ := m.memories.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	return &linear{m: m, b: (*b)[:0], most: min(most, uint64(m.limits.Memory))} //nolint:gosec // not negative
}

// linear is the memory of an instance: it is zero where nobody has written.
type linear struct {
	m    *machine
	b    []byte
	most uint64
}

// Reallocate implements experimental.LinearMemory.
func (l *linear) Reallocate(size uint64) []byte {
	switch {
	case size > l.most:
		return nil
	case size <= uint64(cap(l.b)):
		l.b = l.b[:size]
	default:
		b := make([]byte, size, min(l.most, max(size, 2*uint64(cap(l.b)))))
		copy(b, l.b)
		l.b = b
	}
	return l.b
}

// keepMemory is how large a memory may be, in bytes, that waits for the next message.
const keepMemory = 4 << 20

// Free implements experimental.LinearMemory.
func (l *linear) Free() {
	if cap(l.b) > keepMemory || l.b == nil {
		l.b = nil
		return
	}
	clear(l.b)
	b := l.b[:0]
	l.b = nil
	l.m.memories.Put(&b)
}

// chance gives the same numbers to every instance.
type chance uint64

// Read implements io.Reader.
func (c *chance) Read(p []byte) (int, error) {
	for i := range p { // splitmix64, a byte of each number
		*c += 0x9e3779b97f4a7c15
		z := uint64(*c)
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		p[i] = byte(z >> 56)
	}
	return len(p), nil
}

// tail keeps the end of what a script writes to its standard error.
type tail struct{ b []byte }

const tailSize = 1 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, len(p)-tailSize):]
	t.b = append(t.b[max(0, min(len(t.b), len(t.b)+len(p)-tailSize)):], p...)
	return n, nil
}

func (t *tail) String() string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(t.b), "�"))), " ")
}

var errTime = errors.New("time is up")

// call runs the script with an input, and gives what it answers, appended to dst.
func (m *machine) call(ctx context.Context, dst, input []byte) ([]byte, error) {
	select {
	case m.running <- struct{}{}:
		defer func() { <-m.running }()
	case <-ctx.Done():
		return dst, &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Err: context.Cause(ctx)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.limits.Time, errTime)
	defer cancel()
	ctx = experimental.WithMemoryAllocator(ctx, m)
	errs, seed := &tail{}, chance(1)
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(&seed)
	if m.wasi {
		config = config.WithStderr(errs)
	}
	if m.starts {
		config = config.WithStartFunctions(initialize)
	}
	instance, err := m.runtime.InstantiateModule(ctx, m.compiled, config)
	if err != nil {
		return dst, m.trapped(ctx, nil, errs, err)
	}
	defer func() { _ = instance.Close(context.WithoutCancel(ctx)) }()
	at, err := m.invoke(ctx, instance, allocate, uint64(len(input)))
	if err != nil {
		return dst, m.trapped(ctx, instance, errs, err)
	}
	if len(input) > 0 && (uint32(at) == 0 || !instance.Memory().Write(uint32(at), input)) {
		return dst, &penstock.Error{Code: penstock.Internal, Err: fmt.Errorf("it gives no memory for an input of %d bytes", len(input)), Hint: "raise `memory` if it is meant"}
	}
	result, err := m.invoke(ctx, instance, m.function, at, uint64(len(input)))
	if err != nil {
		return dst, m.trapped(ctx, instance, errs, err)
	}
	failed, length := result&(1<<31) != 0, uint32(result)&^(1<<31)
	text, ok := instance.Memory().Read(uint32(result>>32), length)
	if !ok {
		return dst, penstock.E(penstock.Internal, "", "", fmt.Sprintf("its answer, %d bytes at %d, lies outside of its memory", length, uint32(result>>32)))
	}
	if failed {
		return dst, refusal(text)
	}
	return append(dst, text...), nil
}

// invoke calls an export that gives one value.
func (m *machine) invoke(ctx context.Context, instance api.Module, name string, args ...uint64) (uint64, error) {
	out, err := instance.ExportedFunction(name).Call(ctx, args...)
	if err != nil {
		return 0, err
	}
	return out[0], nil
}

// trapped says why a script did not end.
func (m *machine) trapped(ctx context.Context, instance api.Module, errs *tail, err error) error {
	switch why := context.Cause(ctx); {
	case errors.Is(why, errTime):
		return &penstock.Error{Code: penstock.Timeout, Err: fmt.Errorf("it did not end within %s", m.limits.Time), Hint: "raise `timeout` if it is meant"}
	case why != nil:
		return &penstock.Error{Code: penstock.CodeOf(why), Err: why}
	}
	e := &penstock.Error{Code: penstock.Internal, Err: cause(err)}
	if text := errs.String(); text != "" {
		e.Err = fmt.Errorf("%w: %s", e.Err, text)
	}
	if instance != nil && int64(instance.Memory().Size()) > m.limits.Memory/2 { // it may have wanted more
		e.Hint = fmt.Sprintf("it has %d KiB of memory, and may have %d; raise `memory` if it wants more", instance.Memory().Size()>>10, m.limits.Memory>>10)
	}
	return e
}
