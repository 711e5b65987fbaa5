package penstock

import (
	"fmt"
	"log/slog"
	"reflect"
	"sort"

	"penstock.dev/penstock/types"
)

// SettleMode is how a source wants to hear of fates.
type SettleMode string

// The settle modes.
const (
	Cumulative SettleMode = "cumulative" // in order, per stream: everything up to here (files, logs)
	Each       SettleMode = "each"       // one by one (queues)
)

// Replay is what of a source comes again after a crash.
type Replay string

// The replays.
const (
	// ReplayNone: what was read and not settled when the process died is gone (stdin).
	ReplayNone Replay = ""
	// ReplayAgain: what was not settled comes again, and perhaps more than that, with nothing of its own to know it by: a queue's
	// redelivery, a caller that got no answer. Servers are of this kind if they say nothing.
	ReplayAgain Replay = "again"
	// ReplayPosition: the source is [Positioned], and gives the same messages under the same positions whenever it is read. The
	// engine keeps the position, so that nothing that was done comes again.
	ReplayPosition Replay = "position"
)

// Rewrite is what becomes of a message that a sink is given once more after a crash, since its writing was not
// recorded.
type Rewrite string

// The rewrites.
const (
	RewriteTwice   Rewrite = ""        // it is there twice (a file that is appended to)
	RewriteSame    Rewrite = "same"    // it takes its own place: an upsert by key. The same content has no second effect
	RewriteNothing Rewrite = "nothing" // writing has no effect at all (drop)
)

// Spec describes a driver to the compiler, the engine and the reference pages.
type Spec struct {
	Name    string     // the key in the configuration: file, kafka
	Summary string     // one sentence for the reference
	Settle  SettleMode // sources
	Finite  bool       // sources: may end by itself (io.EOF)
	// Local says that a Caller answers from memory, so that the engine calls it on the lane
	// instead of waiting in a window.
	Local bool
	// Idempotent says that a Caller or Sink may be asked twice without a second effect, so that the
	// default retry applies to it.
	Idempotent bool
	// Headers says that a Sink carries a message's key and meta beside its body. Where it doesn't, a dead
	// letter is written as an object that holds all three.
	Headers bool
	// Loses says, for a sink, what its "durable" does not cover (stdout, drop); empty when nothing.
	Loses string
	// Replay says, for a source, what comes again after a crash; left out, nothing does. The delivery that a flow can
	// promise rests on it.
	Replay Replay
	// Rewrite says, for a sink, what becomes of a message that it is given once more after a crash; left out, it is
	// there twice.
	Rewrite Rewrite
	// Output is, for a source without a schema or codec, the type of its bodies, and for a caller the type
	// of its reply; for a codec the type of a record. Nil is dyn.
	Output *types.Type
	// Rows says of a codec that what it decodes as a whole (a decode step) is a list of records, even where there
	// is one or none.
	Rows bool
}

// Env is what the engine hands to a driver beside its own configuration. Its fields are set
// by the engine and read-only for the driver.
type Env struct {
	Name    string       // flow/step, for logs and errors
	Logger  *slog.Logger // never nil
	Clock   Clock        // never nil
	Runtime *Runtime     // for evaluating the configuration's programs
	Type    *types.Type  // the schema that stands beside the driver, or the type of what is sent; nil if none
	// Shared returns the value kept under key for this run, made by build at first use: how a source and
	// a sink share a connection or a channel in memory. The value is closed at the end of the run if it
	// has a Close() error method.
	Shared func(key string, build func() (any, error)) (any, error)
	// Stdin, Stdout are the process's streams (tests replace them).
	Stdin  interface{ Read([]byte) (int, error) }
	Stdout interface{ Write([]byte) (int, error) }
	// Concurrency is how many lanes the flow has.
	Concurrency int
	// Ordered says that the flow needs this source's order (order: total or per-key); a source may then
	// not read parts of it in parallel.
	Ordered bool
	// Resumes says that the run keeps state: the flow goes on where an earlier run stopped. A [Positioned] source is given
	// its positions back, and a sink must go on with what it has written, since nothing of it comes again.
	Resumes bool
	// Once says that the run is to end when what is there was read (penstock run --once): a source that waits for
	// more (a watched folder) then ends with io.EOF instead.
	Once bool
}

// Resolver is implemented by a driver's configuration that wants to check itself at compile time: the
// errors are reported at the driver's place in the file. It must not touch the outside world.
type Resolver interface {
	Validate() []error
}

// Stateful is implemented by a source's configuration that may need a run which keeps state: one that waits
// for what is new, and would find everything new again at each start.
type Stateful interface {
	// NeedsState says why, in words that fit behind "because": "the folder is watched"; empty where it does not need it.
	NeedsState() string
}

// Overlapper is implemented by a source's configuration that can tell whether a sink of the same technology writes
// where it reads, so that what is written would be read again. The compiler asks it for every such pair of a plan, also of
// different flows.
type Overlapper interface {
	// Overlaps says how, as an *Error with a Hint; nil where they keep apart, or where only the messages could tell. sink is the
	// sink's configuration, a pointer to the struct that was registered. Of env, Runtime.Params and Resumes are set. It must not
	// touch the outside world.
	Overlaps(sink any, env Env) error
}

// Typed is implemented by a driver's configuration whose reply or record type depends on it (a
// reference file's schema).
type Typed interface {
	OutputType() *types.Type
}

// ConnectionRef is a `connection:` field of a driver's configuration. Decoding fills Name and
// Pos, compiling Config with the decoded configuration of the Connection resource.
type ConnectionRef struct {
	Name   string
	Pos    Pos
	Config any // pointer to the type that was registered for this technology
}

// IsZero reports whether the field was left out.
func (c ConnectionRef) IsZero() bool { return c.Name == "" }

// Entry kinds of a Registry.
const (
	KindOfSource     = "source"
	KindOfSink       = "sink"
	KindOfCaller     = "caller"
	KindOfServer     = "server"
	KindOfCodec      = "codec"
	KindOfConnection = "connection"
)

// Driver is one registered driver: what the compiler decodes its configuration into, and how
// the engine builds it.
type Driver struct {
	Spec   Spec
	Kind   string       // KindOfSource …
	Config reflect.Type // a struct type
	build  func(config any, env Env) (any, error)
	codec  func(config any, o CodecOptions) (Codec, error)
}

// NewConfig makes a zero configuration: a pointer to the struct.
func (d *Driver) NewConfig() any { return reflect.New(d.Config).Interface() }

// Build makes the Source, Sink, Caller or Server from a pointer to its configuration.
func (d *Driver) Build(config any, env Env) (any, error) { return d.build(config, env) }

// BuildCodec makes the Codec from a pointer to its configuration.
func (d *Driver) BuildCodec(config any, o CodecOptions) (Codec, error) { return d.codec(config, o) }

// Registry is the list of drivers that a binary contains. It is filled by an edition at
// start and read-only afterwards.
type Registry struct{ drivers map[string]*Driver }

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{drivers: map[string]*Driver{}} }

func (r *Registry) add(kind string, d *Driver) {
	key := kind + "/" + d.Spec.Name
	if _, twice := r.drivers[key]; twice {
		panic(fmt.Sprintf("penstock: %s registered twice", key)) // a programming error in an edition
	}
	d.Kind = kind
	r.drivers[key] = d
}

// Lookup finds a driver by kind (KindOfSource …) and name.
func (r *Registry) Lookup(kind, name string) (*Driver, bool) {
	d, ok := r.drivers[kind+"/"+name]
	return d, ok
}

// Drivers lists all drivers of a kind, by name.
func (r *Registry) Drivers(kind string) []*Driver {
	var out []*Driver
	for _, d := range r.drivers {
		if d.Kind == kind {
			out = append(out, d)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Spec.Name < out[j].Spec.Name })
	return out
}

func register[C any, T any](r *Registry, kind string, s Spec, build func(C, Env) (T, error)) {
	r.add(kind, &Driver{Spec: s, Config: reflect.TypeFor[C](), build: func(config any, env Env) (any, error) {
		return build(*config.(*C), env)
	}})
}

// RegisterSource adds a source whose configuration is the struct C.
func RegisterSource[C any](r *Registry, s Spec, build func(C, Env) (Source, error)) {
	register(r, KindOfSource, s, build)
}

// RegisterSink adds a sink whose configuration is the struct C.
func RegisterSink[C any](r *Registry, s Spec, build func(C, Env) (Sink, error)) {
	register(r, KindOfSink, s, build)
}

// RegisterCaller adds a caller whose configuration is the struct C.
func RegisterCaller[C any](r *Registry, s Spec, build func(C, Env) (Caller, error)) {
	register(r, KindOfCaller, s, build)
}

// RegisterServer adds a server whose configuration is the struct C.
func RegisterServer[C any](r *Registry, s Spec, build func(C, Env) (Server, error)) {
	register(r, KindOfServer, s, build)
}

// RegisterCodec adds a codec whose configuration is the struct C.
func RegisterCodec[C any](r *Registry, s Spec, build func(C, CodecOptions) (Codec, error)) {
	r.add(KindOfCodec, &Driver{Spec: s, Config: reflect.TypeFor[C](), codec: func(config any, o CodecOptions) (Codec, error) {
		return build(*config.(*C), o)
	}})
}

// RegisterConnection adds the configuration of a technology's Connection resources. The drivers
// of the technology receive it in their ConnectionRef.
func RegisterConnection[C any](r *Registry, s Spec) {
	r.add(KindOfConnection, &Driver{Spec: s, Config: reflect.TypeFor[C]()})
}
