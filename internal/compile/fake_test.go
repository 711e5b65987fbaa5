package compile_test

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/avro"
	"penstock.dev/penstock/codec/protobuf"
	"penstock.dev/penstock/codec/xml"
	"penstock.dev/penstock/connector/http"
	"penstock.dev/penstock/connector/pulsar"
	"penstock.dev/penstock/connector/redis"
	"penstock.dev/penstock/connector/schemaregistry"
	"penstock.dev/penstock/connector/sql"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/test/bus"
	"penstock.dev/penstock/types"
)

// registry holds drivers that do nothing, with configurations that have a field of every sort.
func registry() *penstock.Registry {
	r := penstock.NewRegistry()
	penstock.RegisterSource(r, penstock.Spec{Name: "file", Settle: penstock.Cumulative, Finite: true, Replay: penstock.ReplayPosition},
		func(fileConfig, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "file"},
		func(fileConfig, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterCaller(r, penstock.Spec{Name: "file", Local: true, Idempotent: true},
		func(lookupConfig, penstock.Env) (penstock.Caller, error) { return fakeCaller{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "drop", Idempotent: true, Rewrite: penstock.RewriteNothing},
		func(struct{}, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterSource(r, penstock.Spec{Name: "ticks", Settle: penstock.Each, Output: &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "n", Type: types.IntType, Required: true}, {Name: "at", Type: types.TimestampType, Required: true}}}},
		func(ticksConfig, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSource(r, penstock.Spec{Name: "clock", Settle: penstock.Cumulative, Replay: penstock.ReplayPosition},
		func(clockConfig, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterCaller(r, penstock.Spec{Name: "exec"}, func(execConfig, penstock.Env) (penstock.Caller, error) { return fakeCaller{}, nil })
	penstock.RegisterSource(r, penstock.Spec{Name: "made", Settle: penstock.Each, Replay: penstock.ReplayPosition},
		func(ticksConfig, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSource(r, penstock.Spec{Name: "mail", Settle: penstock.Each, Replay: penstock.ReplayAgain},
		func(struct{}, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "table", Rewrite: penstock.RewriteSame},
		func(struct{}, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "screen", Loses: "what nobody looks at"},
		func(struct{}, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	bus.Register(r)
	avro.Register(r)
	xml.Register(r)
	protobuf.Register(r)
	schemaregistry.Register(r)
	sql.Register(r)
	pulsar.Register(r) // the real one: its configuration says what it is
	redis.Register(r)  // the real one: its configuration says what it is
	penstock.RegisterServer(r, penstock.Spec{Name: "web"}, func(struct{}, penstock.Env) (penstock.Server, error) { return nil, nil })
	penstock.RegisterServer(r, penstock.Spec{Name: "shop"}, func(shopConfig, penstock.Env) (penstock.Server, error) { return nil, nil })
	penstock.RegisterConnection[httpConnection](r, penstock.Spec{Name: "http"})
	penstock.RegisterConnection[struct{}](r, penstock.Spec{Name: "kafka"})
	penstock.RegisterSource(r, penstock.Spec{Name: "kafka", Settle: penstock.Cumulative, Replay: penstock.ReplayPosition, Keeps: true, Transacts: true},
		func(topicConfig, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "kafka", Headers: true, Transacts: true},
		func(topicConfig, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "stream", Headers: true},
		func(streamConfig, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterCaller(r, penstock.Spec{Name: "http"},
		func(httpConfig, penstock.Env) (penstock.Caller, error) { return fakeCaller{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "http"},
		func(httpConfig, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	http.RegisterServer(r)
	penstock.RegisterSecrets(r, penstock.Spec{Name: "env"}, func(environConfig, penstock.Env) (penstock.SecretProvider, error) { return nil, nil })
	penstock.RegisterSecrets(r, penstock.Spec{Name: "folder"}, func(folderConfig, penstock.Env) (penstock.SecretProvider, error) { return nil, nil })
	penstock.RegisterCodec(r, penstock.Spec{Name: "json"},
		func(struct{}, penstock.CodecOptions) (penstock.Codec, error) { return fakeCodec{}, nil })
	penstock.RegisterCodec(r, penstock.Spec{Name: "text", Output: types.StringType},
		func(struct{}, penstock.CodecOptions) (penstock.Codec, error) { return fakeCodec{}, nil })
	penstock.RegisterCodec(r, penstock.Spec{Name: "csv", Output: &types.Type{Kind: types.Object, Open: true, Rest: types.StringType}, Rows: true},
		func(c csvConfig, _ penstock.CodecOptions) (penstock.Codec, error) {
			if len(c.Separator) > 1 {
				return nil, errors.New("the separator is one character")
			}
			return fakeCodec{}, nil
		})
	return r
}

type environConfig struct {
	Prefix string `json:"prefix"`
}

type folderConfig struct {
	Path  penstock.Template `json:"path" penstock:"required"`
	Every penstock.Duration `json:"every" penstock:"min=100ms"`
}

type fileConfig struct {
	Path   penstock.Template `json:"path" penstock:"required"`
	Format penstock.Format   `json:"format"`
}

// Overlaps compares names and patterns, as far as they are constant. A file that ends in .old is not appended to where the run keeps no state.
func (c fileConfig) Overlaps(sink any, env penstock.Env) error {
	to, ok := sink.(*fileConfig)
	if !ok || !c.Path.Constant || !to.Path.Constant {
		return nil
	}
	f := &penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)}
	pattern, name := c.Path.Program.Eval(f), to.Path.Program.Eval(f)
	found, err := path.Match(path.Clean(pattern.Str()), path.Clean(name.Str()))
	if err != nil {
		return err
	}
	if !found || strings.HasSuffix(name.Str(), ".old") && !env.Resumes {
		return nil
	}
	return &penstock.Error{Code: penstock.Config, Err: errors.New(name.Str() + " is read again"), Hint: "write to another file"}
}

type lookupConfig struct {
	Path   penstock.Template `json:"path" penstock:"required"`
	Column string            `json:"column"`
	Value  penstock.Template `json:"value" penstock:"place=plain"`
}

// OutputType says that a look-up gives a row of a known type.
func (lookupConfig) OutputType() *types.Type {
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "code", Type: types.StringType, Required: true}, {Name: "currency", Type: types.StringType, Required: true}}}
}

// Validate refuses a configuration that no file could have.
func (c lookupConfig) Validate() []error {
	if c.Column == "none" {
		return []error{errors.New("column none is reserved")}
	}
	return nil
}

type shopConfig struct {
	Path string `json:"path" penstock:"literal"`
}

// RequestType says which names the path has.
func (c shopConfig) RequestType() *types.Type {
	path := &types.Type{Kind: types.Object}
	for _, part := range strings.Split(c.Path, "/") {
		if strings.HasPrefix(part, "{") {
			path.Fields = append(path.Fields, types.Field{Name: strings.Trim(part, "{}"), Type: types.StringType, Required: true})
		}
	}
	texts := &types.Type{Kind: types.Object, Open: true, Rest: types.StringType}
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "method", Type: types.StringType, Required: true}, {Name: "path", Type: path, Required: true},
		{Name: "query", Type: texts, Required: true}, {Name: "header", Type: texts, Required: true}}}
}

// execConfig is of something that must be allowed.
type execConfig struct {
	Command []penstock.Template `json:"command" penstock:"required,nonempty,place=plain"`
}

func (c execConfig) Needs() []penstock.Permission {
	if len(c.Command) == 0 {
		return nil
	}
	return []penstock.Permission{{Kind: "exec", What: c.Command[0].Source, Pos: c.Command[0].Pos}}
}

// clockConfig is of a source whose promise depends on a setting.
type clockConfig struct {
	CatchUp bool `json:"catchUp"`
}

func (c clockConfig) NeedsState() string {
	if c.CatchUp {
		return "it catches up"
	}
	return ""
}

func (c clockConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if !c.CatchUp {
		s.Replay = penstock.ReplayNone
	}
	return s
}

type ticksConfig struct {
	Count int               `json:"count"`
	Body  penstock.DataTree `json:"body"`
}

// topicConfig is of what has transactions.
type topicConfig struct {
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	Topic      string                 `json:"topic" penstock:"required"`
}

// streamConfig is of a sink that knows what it is given twice, as long as it is told to remember.
type streamConfig struct {
	Name     string            `json:"name"`
	Remember penstock.Duration `json:"remember"`
}

func (c streamConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if c.Remember > 0 {
		s.Rewrite, s.Known = penstock.RewriteKnown, penstock.Known{By: "its message id", Within: c.Remember.Std()}
	}
	return s
}

type httpConnection struct {
	URL   penstock.Template `json:"url" penstock:"required"`
	Token penstock.Secret   `json:"token"`
}

type httpConfig struct {
	Connection penstock.ConnectionRef       `json:"connection" penstock:"required"`
	Get        penstock.Template            `json:"get" penstock:"place=path"`
	Post       penstock.Template            `json:"post" penstock:"place=path"`
	Query      map[string]penstock.Template `json:"query" penstock:"place=query"`
	Headers    []httpHeader                 `json:"headers"`
	Body       penstock.DataTree            `json:"body"`
	Key        penstock.Expr                `json:"where"`
}

// Paginate asks page by page, with get.
func (c *httpConfig) Paginate(penstock.Pages) error {
	if c.Get.IsZero() {
		return errors.New("pages are asked for with get")
	}
	return nil
}

// SpecFor says that a GET may be asked twice, and depends on what the configuration computes.
func (c *httpConfig) SpecFor(s penstock.Spec) penstock.Spec {
	s.Idempotent = !c.Get.IsZero()
	s.Reads = s.Idempotent
	return s
}

type httpHeader struct {
	Name  string            `json:"name"`
	Value penstock.Template `json:"value" penstock:"place=header"`
}

type csvConfig struct {
	Separator string `json:"separator"`
}

type fake struct{}

func (fake) Open(context.Context) error                       { return nil }
func (fake) Read(context.Context, *penstock.Batch) error      { return io.EOF }
func (fake) Write(context.Context, *penstock.Batch) error     { return nil }
func (fake) Settle(context.Context, []penstock.Outcome) error { return nil }
func (fake) Close(context.Context) error                      { return nil }

type fakeCaller struct{}

func (fakeCaller) Open(context.Context) error                                     { return nil }
func (fakeCaller) Call(context.Context, *penstock.Frame, *penstock.Message) error { return nil }
func (fakeCaller) Close(context.Context) error                                    { return nil }

type fakeCodec struct{}

func (fakeCodec) NewFramer(string) penstock.Framer                   { return nil }
func (fakeCodec) NewEncoder() penstock.Encoder                       { return nil }
func (fakeCodec) Decode(dst, _ []byte) ([]byte, error)               { return dst, nil }
func (fakeCodec) Encode(dst []byte, _ *jsonview.Doc) ([]byte, error) { return dst, nil }
