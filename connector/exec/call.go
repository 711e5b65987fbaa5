package exec

import (
	"context"
	"errors"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// NewCaller makes the caller. The formats must have their codecs.
func NewCaller(c CallConfig, env penstock.Env) (penstock.Caller, error) {
	if c.Format.Codec == nil || c.InputFormat.Codec == nil {
		return nil, errNoCodec
	}
	r, err := newRunner(c.Command, c.Process, c.Run, int64(c.MaxOutput), env)
	if err != nil {
		return nil, err
	}
	return &caller{config: c, runner: r}, nil
}

var (
	errNoCodec   = &penstock.Error{Code: penstock.Config, Op: "exec", Path: "format", Err: errors.New("no codec")}
	errNoProgram = &penstock.Error{Code: penstock.Config, Op: "exec", Path: "command", Err: errors.New("there is no program to run")}
)

func newRunner(templates []penstock.Template, p Process, limits Run, most int64, env penstock.Env) (*runner, error) {
	if len(templates) == 0 {
		return nil, errNoProgram
	}
	around, err := newSurroundings(p, env)
	if err != nil {
		return nil, err
	}
	return &runner{command: newCommand(templates), around: around, limits: limits, most: most}, nil
}

// caller is the caller. Each call runs a process of its own.
type caller struct {
	config CallConfig
	runner *runner
}

var _ penstock.Caller = (*caller)(nil)

// Open implements penstock.Caller.
func (c *caller) Open(context.Context) error { return c.runner.open() }

// Call implements penstock.Caller.
func (c *caller) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	argv, err := c.runner.command.arguments(f)
	if err != nil {
		return err
	}
	body := f.Msg.Body
	if c.config.Input.Mapping != nil {
		text, err := c.config.Input.Mapping.Append(nil, f)
		if err != nil {
			return err
		}
		body = new(jsonview.Doc)
		body.Reset(jsonview.JSON, text)
	}
	input, err := c.config.InputFormat.Codec.Encode(nil, body)
	if err != nil {
		return err
	}
	res, err := c.runner.run(ctx, argv, input)
	if err != nil {
		return err
	}
	full := c.config.Reply == "full"
	if !full {
		if err := c.runner.failure(argv[0], res); err != nil {
			return err
		}
	}
	text := []byte("null")
	if len(res.output) > 0 {
		if text, err = c.config.Format.Codec.Decode(nil, res.output); err != nil {
			if !full || res.exit == 0 {
				return &penstock.Error{Code: penstock.CodeOf(err), Op: "exec", Path: argv[0], Err: err, Hint: "what it writes is not in the format; see `format`"}
			}
			text = []byte("null") // a program that fails writes what it likes
		}
	}
	if full {
		whole := strconv.AppendInt([]byte(`{"exit":`), int64(res.exit), 10)
		whole = append(append(whole, `,"output":`...), text...)
		whole = jsonview.AppendString(append(whole, `,"errors":`...), res.errors)
		text = append(whole, '}')
	}
	into.Body.Reset(jsonview.JSON, text)
	return nil
}

// Close implements penstock.Caller: no process outlives its call.
func (*caller) Close(context.Context) error { return nil }
