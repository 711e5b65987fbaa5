package exec

import (
	"context"

	"penstock.dev/penstock"
)

// NewSink makes the sink. The format must have its codec.
func NewSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	if c.InputFormat.Codec == nil {
		return nil, errNoCodec
	}
	r, err := newRunner(c.Command, c.Process, c.Run, 0, env)
	if err != nil {
		return nil, err
	}
	r.discard = true
	return &sink{config: c, runner: r, env: env}, nil
}

// sink is the sink: one process after the other.
type sink struct {
	config SinkConfig
	runner *runner
	env    penstock.Env
}

var _ penstock.Sink = (*sink)(nil)

// Open implements penstock.Sink.
func (s *sink) Open(context.Context) error { return s.runner.open() }

// Write implements penstock.Sink.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	errs := map[int]error{}
	waits := map[string]error{} // keys of which a message is to be tried again
	for i, m := range b.Msgs {
		err := waits[m.Key]
		if err == nil || m.Key == "" {
			err = s.write(ctx, b.Frame(m))
		}
		if err == nil {
			continue
		}
		errs[i] = err
		if penstock.CodeOf(err).Transient() {
			waits[m.Key] = err
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &penstock.BatchError{Errs: errs}
}

func (s *sink) write(ctx context.Context, f *penstock.Frame) error {
	argv, err := s.runner.command.arguments(f)
	if err != nil {
		return err
	}
	input, err := s.config.InputFormat.Codec.Encode(nil, f.Msg.Body)
	if err != nil {
		return err
	}
	res, err := s.runner.run(ctx, argv, input)
	if err != nil {
		return err
	}
	return s.runner.failure(argv[0], res)
}

// Close implements penstock.Sink: no process outlives its message.
func (*sink) Close(context.Context) error { return nil }
