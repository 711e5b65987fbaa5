package penstock

import (
	"fmt"
	"log/slog"
	"reflect"
	"sort"
	"time"

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
	// redelivery, a caller that got no answer. Servers are of this kind if they say nothing. A source of this kind may be [Positioned], too: it
	// goes on behind the last position before which everything was settled, under streams of new names.
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
	// RewriteKnown: the target knows it by its identity ([Env.AppendIdentity]), and drops it, for as long as Spec.Known says. What it is made of
	// the second time does not matter where that is the same message; `check` refuses steps that may make another of it.
	RewriteKnown Rewrite = "known"
)

// Known is how the target of a sink knows a message that it is given once more.
type Known struct {
	// By says it in words that fit behind "is known by": "its Nats-Msg-Id to stream ORDERS".
	By string
	// Within is how long the target remembers; a message that comes again later is there twice. 0: for good.
	Within time.Duration
}

// Spec describes a driver to the compiler, the engine and the reference pages.
type Spec struct {
	Name string // the key in the configuration: file, kafka
	// Connection is the kind of Connection that the driver uses, where that is not called as the driver is: a source `cdc` on a Connection of `sql`.
	Connection string
	Summary    string     // one sentence for the reference
	Settle     SettleMode // sources
	Finite     bool       // sources: may end by itself (io.EOF)
	// Local says that a Caller answers from memory, so that the engine calls it on the lane
	// instead of waiting in a window.
	Local bool
	// Idempotent says that a Caller or Sink may be asked twice without a second effect, so that the
	// default retry applies to it.
	Idempotent bool
	// Reads says of a Caller that asking changes nothing, and that the answer depends on nothing of the message but what the expressions
	// of its configuration make of it: `cache` beside the call then needs no key of its own.
	Reads bool
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
	// Known says, for a sink with RewriteKnown, how its target knows a message and for how long. It mostly comes from the configuration: see
	// [Specific].
	Known Known
	// Remedy says, for a sink with RewriteTwice, what in its configuration would mend that, in words that ask for it: "say `inbox: {}`".
	// `check` gives it as a hint.
	Remedy string
	// Transacts says of a sink that it is a [Transactor], and of a source that a transaction of such a sink takes up its positions: both of the
	// same Name, on the same Connection.
	Transacts bool
	// Keeps says of a source with ReplayPosition that what it reads from keeps how far it was settled (a consumer group), so
	// that a run without state goes on there, and does not begin at the beginning.
	Keeps bool
	// Keyed says of a source that its messages come with keys of their own (Message.Key), so that `order: per-key` has what to go by.
	Keyed bool
	// Reorders says of a Sink that it writes messages of different keys at once, so that only those of one key keep their order; and of a source
	// that its messages are shared out among readers, so that there is no order in what one of them gets.
	Reorders bool
	// Batch is, for a sink, how many messages at a time are best: where a Write costs much by itself (a transaction, a request), whatever it
	// writes. Sources that have the messages at hand then read so many at a time (Env.Batch). 0 is what sources do by themselves.
	Batch int
	// Output is, for a source without a schema or codec, the type of its bodies, and for a caller the type
	// of its reply; for a codec the type of a record. Nil is dyn.
	Output *types.Type
	// Retains says, for a channel on a broker, that its Topology asks the broker to keep messages as long as the Channel's `retention` says.
	Retains bool
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
	// State keeps entries of this endpoint beyond messages. Never nil where a driver is built for a flow.
	State State
	// Stdin, Stdout are the process's streams (tests replace them).
	Stdin  interface{ Read([]byte) (int, error) }
	Stdout interface{ Write([]byte) (int, error) }
	// Concurrency is how many lanes the flow has.
	Concurrency int
	// Ordered says that the flow needs this source's order (order: total or per-key); a source may then
	// not read parts of it in parallel.
	Ordered bool
	// Total says that the flow promises the order of all its messages (order: total); a sink that would change it if left to itself
	// keeps it then.
	Total bool
	// Batch is how many messages a source may read at a time, where there are as many: what the flow's sinks are best given. 0 is the source's
	// own measure.
	Batch int
	// Resumes says that the run keeps state: the flow goes on where an earlier run stopped. A [Positioned] source is given
	// its positions back, and a sink must go on with what it has written, since nothing of it comes again.
	Resumes bool
	// Anew says that the run begins anew (penstock run --from start): a [Positioned] source is given no positions, and what State keeps of earlier runs does not
	// count.
	Anew bool
	// Transaction is set where the flow runs in transactions of the target (see [Transactor]), and this endpoint is part of them: the name of the
	// flow. What a source and the sinks of a transaction share (a client) is kept under it with Shared. A sink is then written by Tx.Write
	// only, and a source not told fates. "" elsewhere.
	Transaction string
	// Once says that the run is to end when what is there was read (penstock run --once): a source that waits for
	// more (a watched folder) then ends with io.EOF instead.
	Once bool
	// Listener is the process's HTTP listener, for servers that speak HTTP; never nil where a Server is built.
	Listener Listener
	// Replies says, for a Server, that the flow sends nowhere at its end, so that what its messages have become is the reply. Where
	// it is false a message that went through is answered with an acceptance only.
	Replies bool
	// RequestSlot is, for a Server, the slot of Message.Vars where the flow's expressions find `request`: a JSON object with
	// method (text), path, query and header (objects of text; names of headers in lower case). -1 says that no expression reads it.
	RequestSlot int
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

// Exclusive is implemented by a source's configuration that may take something for itself alone, which two flows can't both have: a replication slot, a
// subscription that has one consumer. The compiler refuses two sources of a plan that take the same.
type Exclusive interface {
	// Takes names what it takes, with its Connection ("slot orders of connection shop"), and says what another flow would do instead; what is "" where
	// it takes nothing alone, or where only the run could tell. Of env, Runtime.Params is set. It must not touch the outside world.
	Takes(env Env) (what, hint string)
}

// Typed is implemented by a driver's configuration whose reply or record type depends on it (a
// reference file's schema).
type Typed interface {
	OutputType() *types.Type
}

// Specific is implemented by a driver's configuration by which the driver is more, or less, than what it is registered as: a
// query that may be asked twice where a statement may not, a table that is written to by a key.
type Specific interface {
	// SpecFor gives the Spec of this use of the driver, from the one that it is registered with. The compiler asks once the
	// configuration is complete, connections included. Name and Summary must stay. It must not touch the outside world.
	SpecFor(registered Spec) Spec
}

// Rowed is implemented by a caller's configuration whose reply is made of rows: the schema beside the call is that of one row, and
// not of the whole reply.
type Rowed interface {
	// ReplyType is the type of the reply, for rows of type row (dyn where there is no schema): the row itself, an optional of it where
	// there may be none, a list of them.
	ReplyType(row *types.Type) *types.Type
}

// Requested is implemented by a server's configuration that knows what `request` holds beside its general form: which names
// stand in its path.
type Requested interface {
	// RequestType is the type of `request`: an object of method, path, query and header, as Env.RequestSlot has it. Nil is the
	// general form, in which path, query and header may hold any names.
	RequestType() *types.Type
}

// Identified is implemented by a server's configuration that demands of each request what tells it from all others. Where the flow sends its
// messages elsewhere and says nothing of their identity (`id`), that is it. So may the configuration of a source, as a [BrokerChannel] has
// filled it: all who write to the channel give their messages an identity.
type Identified interface {
	// Identity names the header of meta that holds it, and says how long identities are remembered; "" if there is none.
	Identity() (meta string, remember time.Duration)
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
	KindOfChannel    = "channel"
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

// WithSpec is d with another Spec; d stays as it is.
func (d *Driver) WithSpec(s Spec) *Driver {
	c := *d
	c.Spec = s
	return &c
}

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

// RegisterChannel adds the configuration of channels on a broker, under the name of the source that reads them and the sink that writes
// them: both must be registered, too.
func RegisterChannel[C any, P interface {
	*C
	BrokerChannel
}](r *Registry, s Spec) {
	r.add(KindOfChannel, &Driver{Spec: s, Config: reflect.TypeFor[C]()})
}

// Restricted is implemented by a driver's configuration that does what is off unless whoever runs the program allows it: to start other
// programs.
type Restricted interface {
	// Needs lists what must be allowed. The compiler refuses what the Integration's `allow` and the command line don't name.
	Needs() []Permission
}

// Permission is one thing that must be allowed.
type Permission struct {
	Kind string // exec
	What string // of this kind: the program
	Pos  Pos
}
