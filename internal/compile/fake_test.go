package compile_test

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
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
	penstock.RegisterSource(r, penstock.Spec{Name: "made", Settle: penstock.Each, Replay: penstock.ReplayPosition},
		func(ticksConfig, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSource(r, penstock.Spec{Name: "mail", Settle: penstock.Each, Replay: penstock.ReplayAgain},
		func(struct{}, penstock.Env) (penstock.Source, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "table", Rewrite: penstock.RewriteSame},
		func(struct{}, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "screen", Loses: "what nobody looks at"},
		func(struct{}, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
	penstock.RegisterServer(r, penstock.Spec{Name: "web"}, func(struct{}, penstock.Env) (penstock.Server, error) { return nil, nil })
	penstock.RegisterConnection[httpConnection](r, penstock.Spec{Name: "http"})
	penstock.RegisterConnection[struct{}](r, penstock.Spec{Name: "kafka"})
	penstock.RegisterCaller(r, penstock.Spec{Name: "http"},
		func(httpConfig, penstock.Env) (penstock.Caller, error) { return fakeCaller{}, nil })
	penstock.RegisterSink(r, penstock.Spec{Name: "http"},
		func(httpConfig, penstock.Env) (penstock.Sink, error) { return fake{}, nil })
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

type ticksConfig struct {
	Count int               `json:"count"`
	Body  penstock.DataTree `json:"body"`
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
